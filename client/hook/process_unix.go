//go:build unix

package hook

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// executable reports whether anybody may execute the file.
func executable(info fs.FileInfo) bool { return info.Mode().Perm()&0o111 != 0 }

// unsafe returns why a file or directory must not decide what the daemon runs, empty when it may: others than root and the
// daemon's user could change it, or put another one in its place through a directory above it.
func unsafe(path string) string {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err.Error()
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err.Error()
		}
		// In a directory with the sticky bit others cannot replace what is not theirs.
		if mode := info.Mode(); mode.Perm()&0o022 != 0 && (at == path || mode&fs.ModeSticky == 0) {
			return fmt.Sprintf("%s has mode %04o, so that others can change it (chmod go-w %s mends it)", at, mode.Perm(), at)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
			return fmt.Sprintf("%s belongs to user %d, expected root (chown root %s mends it)", at, s.Uid, at)
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// own puts the program into a process group of its own, which is ended as a whole when its time is up.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
