package bustest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// resolvedPackage is the Debian package of systemd-resolved. It is not installed for tests: it would take charge of the machine's own
// resolv.conf.
const resolvedPackage = "systemd-resolved"

// ResolvedProgram returns the path of the program systemd-resolved: that in the variable SYSTEMD_RESOLVED, or the one that is installed, or
// that of Debian's package in the machine's version of systemd, unpacked in the user's cache directory. The test is skipped where none can
// be had.
func ResolvedProgram(t testing.TB) string {
	t.Helper()
	for _, p := range []string{os.Getenv("SYSTEMD_RESOLVED"), "/usr/lib/systemd/systemd-resolved"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			return p
		}
	}
	p, err := unpackResolved()
	if err != nil {
		t.Skipf("there is no systemd-resolved, and its package cannot be unpacked here: %v", err)
	}
	return p
}

// unpackResolved downloads and unpacks the package, once for each version, and returns the program's path.
func unpackResolved() (string, error) {
	version, err := exec.Command("dpkg-query", "--show", "--showformat", "${Version}", "systemd").Output()
	if err != nil {
		return "", fmt.Errorf("dpkg-query: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "mipvpn", resolvedPackage+"-"+string(version))
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
	// Where /lib is a link to /usr/lib packages may have their files in either.
	found := func() (string, bool) {
		paths := []string{filepath.Join(dir, "root/usr/lib/systemd/systemd-resolved"), filepath.Join(dir, "root/lib/systemd/systemd-resolved")}
		i := slices.IndexFunc(paths, func(p string) bool {
			_, err := os.Stat(p)
			return err == nil
		})
		return paths[max(i, 0)], i >= 0
	}
	if p, ok := found(); ok {
		return p, nil
	}
	download := exec.Command("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", resolvedPackage+"="+string(version))
	download.Dir = dir
	for _, c := range []*exec.Cmd{download, exec.Command("/bin/sh", "-c", `rm -rf "$1/new" && dpkg-deb -x "$1"/*.deb "$1/new" && mv "$1/new" "$1/root"`, "sh", dir)} {
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, bytes.TrimSpace(out))
		}
	}
	if p, ok := found(); ok {
		return p, nil
	}
	return "", fmt.Errorf("the package %s %s has no program systemd-resolved", resolvedPackage, version)
}
