//go:build unix

package hook

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
)

// executable reports whether anybody may execute the file.
func executable(info fs.FileInfo) bool { return info.Mode().Perm()&0o111 != 0 }

// unsafe returns why a file or directory must not decide what the daemon runs, empty when it may: others than root and the
// daemon's user could change it.
func unsafe(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Sprintf("it has mode %04o, so that others can change it (chmod go-w %s mends it)", mode, path)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
		return fmt.Sprintf("it belongs to user %d, expected root (chown root %s mends it)", s.Uid, path)
	}
	return ""
}

// own puts the program into a process group of its own, which is ended as a whole when its time is up.
func own(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
