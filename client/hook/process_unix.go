//go:build unix

package hook

import (
	"io/fs"
	"os/exec"
	"syscall"
)

// DefaultDirectory is where the programs are looked for.
const DefaultDirectory = "/etc/mipvpn/hooks.d"

// executable reports whether anybody may execute the file.
func executable(info fs.FileInfo) bool { return info.Mode().Perm()&0o111 != 0 }

// own puts the program into a process group of its own, which is ended as a whole when its time is up.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
