//go:build unix

package permission

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrivate holds that any right of others makes a file open, and that Protect takes such rights away.
func TestPrivate(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for mode := range fs.FileMode(0o1000) {
		if mode&0o400 == 0 {
			continue
		}
		if err := f.Chmod(mode); err != nil {
			t.Fatal(err)
		}
		err := Private(f)
		if open := mode&0o077 != 0; errors.Is(err, ErrOthers) != open || err != nil && !strings.Contains(err.Error(), "chmod 600 "+f.Name()) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	if err := f.Chmod(0o644); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(Protect(f), Private(f)); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Private(f); err == nil {
		t.Error("a closed file is private")
	}
}

// TestUnchangeable holds that others' rights to the file and to each directory above it count, and where a link leads.
func TestUnchangeable(t *testing.T) {
	top := t.TempDir()
	middle := filepath.Join(top, "middle")
	file := filepath.Join(middle, "file")
	link := filepath.Join(top, "link")
	if err := errors.Join(os.Chmod(top, 0o755), os.Mkdir(middle, 0o755), os.WriteFile(file, nil, 0o755), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	if err := Unchangeable(file); err != nil {
		t.Skipf("a file of one's own below %s: %v", os.TempDir(), err)
	}
	for _, tc := range []struct {
		path string
		mode fs.FileMode
		ok   bool
	}{
		{file, 0o775, false},
		{file, 0o757, false},
		{file, 0o755, true},
		{middle, 0o775, false},
		{middle, 0o777 | fs.ModeSticky, true},
		{middle, 0o755, true},
		{top, 0o757, false},
		{top, 0o755, true},
	} {
		if err := os.Chmod(tc.path, tc.mode); err != nil {
			t.Fatal(err)
		}
		for _, by := range []string{file, link} {
			err := Unchangeable(by)
			if (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrOthers) {
				t.Errorf("%s with %s %v: %v", by, tc.path, tc.mode, err)
			}
			if err != nil && !strings.Contains(err.Error(), "chmod go-w "+tc.path) {
				t.Errorf("does not say what to do about %s: %v", tc.path, err)
			}
		}
	}
	if err := os.Chmod(middle, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	if err := Unchangeable(middle); !errors.Is(err, ErrOthers) {
		t.Errorf("a directory into which others may put files: %v", err)
	}
	// Who may replace a link decides what it leads to.
	if err := errors.Join(os.Chmod(middle, 0o755), os.Mkdir(filepath.Join(top, "open"), 0o755), os.Chmod(filepath.Join(top, "open"), 0o777),
		os.Symlink(middle, filepath.Join(top, "open", "link"))); err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"link", "link/file"} {
		if err := Unchangeable(filepath.Join(top, "open", by)); !errors.Is(err, ErrOthers) || !strings.Contains(err.Error(), filepath.Join(top, "open")) {
			t.Errorf("open/%s, whose link others may replace: %v", by, err)
		}
	}
	if err := Unchangeable(filepath.Join(top, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away: owners are not tried")
	}
	if err := errors.Join(os.Chmod(middle, 0o755), os.Chown(middle, 12345, 12345)); err != nil {
		t.Fatal(err)
	}
	if err := Unchangeable(file); !errors.Is(err, ErrOthers) || !strings.Contains(err.Error(), "chown root "+middle) {
		t.Errorf("in a directory of somebody else's: %v", err)
	}
}
