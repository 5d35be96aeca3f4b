package hint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A pipe in the place of a state has nobody wait for who writes to it.
func TestFileIsNoPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (File{Path: path}).Load(); err == nil || errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "is no file") {
		t.Errorf("a pipe: %v", err)
	}
	if err := (File{Path: path}).Save([]byte("state")); err != nil {
		t.Fatal(err)
	}
	if got, err := (File{Path: path}).Load(); err != nil || string(got) != "state" {
		t.Errorf("in its place: %q, %v", got, err)
	}
}
