package hook

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
)

// DefaultDirectory is where the programs are looked for.
const DefaultDirectory = `C:\ProgramData\mipvpn\hooks.d`

// executable reports whether the file's name says that it is a program.
func executable(info fs.FileInfo) bool {
	switch strings.ToLower(filepath.Ext(info.Name())) {
	case ".exe", ".cmd", ".bat":
		return true
	}
	return false
}

// own leaves the program as it is: it is ended alone when its time is up.
func own(*exec.Cmd) {}
