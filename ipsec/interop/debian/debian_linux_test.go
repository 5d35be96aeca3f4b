package debian

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Archives are unpacked through the links that stand for /lib and the like, and a program of one runs in its folder.
func TestUnpack(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for _, sub := range []string{"pkg/DEBIAN", "pkg/lib", "pkg/usr/lib", "archives"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"pkg/DEBIAN/control": "Package: some\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.net>\nDescription: a test\n",
		"pkg/lib/one":        "1", "pkg/usr/lib/two": "2",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := run("dpkg-deb", "--build", "--root-owner-group", filepath.Join(dir, "pkg"), filepath.Join(dir, "archives/some.deb")); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(dir, "root")
	if err := unpack(filepath.Join(dir, "archives"), root); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"usr/lib/one": "1", "usr/lib/two": "2", "lib/two": "2"} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v; want %q", name, got, err, want)
		}
	}
	if target, err := os.Readlink(filepath.Join(root, "lib")); err != nil || target != "usr/lib" {
		t.Errorf("lib is a link to %q, %v", target, err)
	}
}

// A release that does not exist is an error that says why, each time.
func TestUnknownRelease(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip(err)
	}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for range 2 {
		_, err := Folder{Release: "no-such-release", Packages: []string{"hello"}}.Prepare()
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "no-such-release") {
			t.Fatalf("the error is %v", err)
		}
	}
}
