//go:build unix

package permission

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Private returns nil where the owner of the open file alone may read or write it: mode 0600 or less. The error wraps ErrOthers
// otherwise.
func Private(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %04o (chmod 600 %s mends it)", ErrOthers, f.Name(), mode, f.Name())
	}
	return nil
}

// Unchangeable returns nil where nobody but root and this process's user can change the file or directory, or put another one in its
// place through a directory above it, or through one that a link on the way lies in. The error wraps ErrOthers otherwise.
func Unchangeable(path string) error {
	written, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	if path, err = filepath.EvalSymlinks(written); err != nil {
		return err
	}
	if path != written {
		if err := Unchangeable(filepath.Dir(written)); err != nil {
			return err
		}
	}
	for at := path; ; at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		// In a directory with the sticky bit others cannot replace what is not theirs.
		if mode := info.Mode(); mode.Perm()&0o022 != 0 && (at == path || mode&fs.ModeSticky == 0) {
			return fmt.Errorf("%w: %s has mode %04o (chmod go-w %s mends it)", ErrOthers, at, mode.Perm(), at)
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid != 0 && int(s.Uid) != os.Geteuid() {
			return fmt.Errorf("%w: %s belongs to user %d, expected root (chown root %s mends it)", ErrOthers, at, s.Uid, at)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

// Protect has nobody but its owner read or write the open file, whatever the umask and the directory's defaults.
func Protect(f *os.File) error { return f.Chmod(0o600) }
