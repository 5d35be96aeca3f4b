package newcomer

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// release is the Debian that is made, with what a laptop has beyond the least: an init system, its resolver, D-Bus and the tools by
// which a person looks at the network.
const (
	release = "bookworm"
	include = "systemd,systemd-sysv,systemd-resolved,dbus,iproute2,iputils-ping,libpam-systemd,polkitd"
	mirror  = "http://deb.debian.org/debian"
)

// cleanRoot returns the folder with the clean Debian, making it when it is not there, or skips the test with the reason.
func cleanRoot(t *testing.T) string {
	t.Helper()
	root, err := makeRoot()
	if err != nil {
		t.Skipf("needs a clean Debian: %v", err)
	}
	return root
}

var makeRoot = sync.OnceValues(func() (string, error) {
	if _, err := exec.LookPath("debootstrap"); err != nil {
		return "", errors.New("debootstrap is not installed")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := sha256.Sum256([]byte(include + runtime.GOARCH))
	dir := filepath.Join(cache, "mipvpn", fmt.Sprintf("clean-%s-%x", release, name[:4]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return "", err
	}
	defer lock.Close() // unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	root := filepath.Join(dir, "root")
	if _, err := os.Stat(root); err == nil {
		return root, nil
	}
	making := filepath.Join(dir, "making")
	if err := os.RemoveAll(making); err != nil { // of an attempt that was interrupted
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+include, release, making, mirror).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("debootstrap: %w: %s", err, lines[len(lines)-1])
	}
	return root, os.Rename(making, root)
})

// built is what the newcomer gets: the folder with the packages, the archive of static programs, a folder with what is in it, and the
// client as an extension of the system.
type built struct{ packages, archive, programs, extension string }

// build makes the packages as `make packages` does, for this machine alone.
var build = sync.OnceValues(func() (built, error) {
	dir, err := os.MkdirTemp("", "newcomer")
	if err != nil {
		return built{}, err
	}
	scratch = dir
	b := built{packages: filepath.Join(dir, "dist"), programs: filepath.Join(dir, "bin")}
	formats := "deb"
	if _, err := exec.LookPath("rpm"); err == nil {
		formats = "deb,rpm"
	}
	cmd := exec.Command("go", "run", "./scripts/packages", "-arch", runtime.GOARCH, "-format", formats, "-version", "0.9", "-o", b.packages)
	cmd.Dir = repository
	if out, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("making the packages: %w\n%s", err, out)
	}
	if err := os.MkdirAll(b.programs, 0o755); err != nil {
		return b, err
	}
	archives, err := filepath.Glob(filepath.Join(b.packages, "mipvpn_*_linux_*.tar.gz"))
	if err != nil || len(archives) != 1 {
		return b, fmt.Errorf("want one archive of programs, found %q: %w", archives, err)
	}
	extensions, err := filepath.Glob(filepath.Join(b.packages, "mipvpn_*.sysext.tar.gz"))
	if err != nil || len(extensions) != 1 {
		return b, fmt.Errorf("want one extension, found %q: %w", extensions, err)
	}
	b.archive, b.extension = archives[0], extensions[0]
	if out, err := exec.Command("tar", "--extract", "--file", b.archive, "--directory", b.programs).CombinedOutput(); err != nil {
		return b, fmt.Errorf("unpacking %s: %w\n%s", b.archive, err, out)
	}
	return b, nil
})

// scratch is the folder that build has made, if it was called.
var scratch string

func TestMain(m *testing.M) {
	if slices.Equal(os.Args[1:], []string{hotelArgument}) {
		fmt.Fprintln(os.Stderr, serveHotel())
		os.Exit(1)
	}
	code := m.Run()
	if scratch != "" {
		os.RemoveAll(scratch)
	}
	os.Exit(code)
}

// products returns what is built, or ends the test.
func products(t *testing.T) built {
	t.Helper()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}
