package debian

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrUnavailable tells that the packages cannot be had here: the system is not Debian's, there is no network, or no right.
var ErrUnavailable = errors.New("debian: packages of another release cannot be had here")

// Folder names packages of a release.
type Folder struct {
	// Release is the codename, such as trixie.
	Release string
	// Packages are unpacked with what they depend on.
	Packages []string
}

// complete is the name of the file that says that a folder is complete.
const complete = "complete"

// Prepare returns the path of the folder, which has a file system with the packages below "root". It is made when it is not
// there: that takes the network and some ten seconds. Errors wrap ErrUnavailable.
func (f Folder) Prepare() (string, error) {
	fail := func(err error) (string, error) {
		return "", fmt.Errorf("%w: %s of %s: %w", ErrUnavailable, strings.Join(f.Packages, " "), f.Release, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return fail(err)
	}
	name := sha256.Sum256([]byte(strings.Join(f.Packages, " ")))
	dir := filepath.Join(cache, "mipvpn", fmt.Sprintf("%s-%x", f.Release, name[:4]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fail(err)
	}
	lock, err := os.Create(filepath.Join(dir, "lock"))
	if err != nil {
		return fail(err)
	}
	defer lock.Close() // unlocks
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return fail(err)
	}
	root := filepath.Join(dir, "root")
	if _, err := os.Stat(filepath.Join(dir, complete)); err == nil {
		return root, nil
	}
	// What an earlier attempt has left.
	for _, sub := range []string{"root", "apt"} {
		if err := os.RemoveAll(filepath.Join(dir, sub)); err != nil {
			return fail(err)
		}
	}
	if err := f.fetch(filepath.Join(dir, "apt")); err != nil {
		return fail(err)
	}
	if err := unpack(filepath.Join(dir, "apt/cache/archives"), root); err != nil {
		return fail(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "apt")); err != nil {
		return fail(err)
	}
	if err := os.WriteFile(filepath.Join(dir, complete), nil, 0o644); err != nil {
		return fail(err)
	}
	return root, nil
}

// keyring has the keys that sign Debian's releases (package debian-archive-keyring).
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// fetch downloads the packages and what they depend on, as if nothing were installed.
func (f Folder) fetch(dir string) error {
	mirror, err := mirror()
	if err != nil {
		return err
	}
	for _, sub := range []string{"state/lists/partial", "cache/archives/partial", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", keyring, mirror, f.Release)
	for name, text := range map[string]string{"etc/sources.list": source, "state/status": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	options := []string{"-q"}
	for _, o := range []string{
		"Dir::Etc::SourceList=" + dir + "/etc/sources.list", "Dir::Etc::SourceParts=/dev/null", "Dir::Etc::PreferencesParts=/dev/null",
		"Dir::State=" + dir + "/state", "Dir::State::status=" + dir + "/state/status", "Dir::Cache=" + dir + "/cache",
		"APT::Install-Recommends=false", "APT::Sandbox::User=root", "Acquire::Languages=none", "Acquire::Retries=2",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
	} {
		options = append(options, "-o", o)
	}
	if err := run("apt-get", append(options, "update", "--error-on=any")...); err != nil {
		return err
	}
	return run("apt-get", append(append(options, "install", "-y", "--download-only"), f.Packages...)...)
}

// mirror returns where the machine has Debian from.
func mirror() (string, error) {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(LABEL)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		uri, label, _ := strings.Cut(strings.TrimSpace(line), " ")
		// Without package lists there is no label yet.
		if label == "Debian" || strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian") {
			found = append(found, uri)
		}
	}
	if len(found) == 0 {
		return "", errors.New("want a Debian mirror among apt's sources, found none")
	}
	return found[0], nil
}

// unpack unpacks all archives of the folder into root. Packages since bookworm have nothing in /bin, /lib and the like; the
// links to /usr are made by a package's script, so here by hand.
func unpack(archives, root string) error {
	debs, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	slices.Sort(debs)
	for _, dir := range []string{"usr", "run", "dev", "proc", "tmp", "var", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	links := map[string]string{"var/run": "/run"}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		links[dir] = "usr/" + dir
		if err := os.MkdirAll(filepath.Join(root, "usr", dir), 0o755); err != nil {
			return err
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			return err
		}
	}
	for _, deb := range debs {
		// Through tar, for dpkg-deb -x replaces links to folders by folders.
		if err := run("/bin/sh", "-c", `dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --keep-directory-symlink`, "sh", deb, root); err != nil {
			return err
		}
	}
	return nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
	if out, err := cmd.CombinedOutput(); err != nil {
		out = bytes.TrimSpace(out)
		return fmt.Errorf("%s: %w: %s", name, err, out[bytes.LastIndexByte(out, '\n')+1:])
	}
	return nil
}
