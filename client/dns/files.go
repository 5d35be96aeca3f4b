package dns

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mipvpn/detect/resolve/query"
)

// Files are what ResolvConf does to the file system. A failure between two of them, and the end of the process, may come at
// any point.
type Files interface {
	// Read returns the content of a file, at most 64 KiB of it. Errors wrap fs.ErrNotExist.
	Read(path string) ([]byte, fs.FileMode, error)
	// Link returns where a symbolic link leads, empty for what is none or is not there.
	Link(path string) (string, error)
	// Replace writes a file whole or not at all, also when the power goes.
	Replace(path string, content []byte, mode fs.FileMode) error
	// Remove takes a file away. One that is not there is no error.
	Remove(path string) error
}

// maxFile is how much of a file is read, in octets.
const maxFile = 64 << 10

// OSFiles are this machine's files.
type OSFiles struct{}

var _ Files = OSFiles{}

// Read implements Files.
func (OSFiles) Read(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, 0, fmt.Errorf("dns: read %s: expected a file of at most %d octets, found %v of %d", path, maxFile, info.Mode().Type(), info.Size())
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n < len(b) && err != nil {
		return nil, 0, fmt.Errorf("dns: read %s: %w", path, err)
	}
	return b, info.Mode().Perm(), nil
}

// Link implements Files.
func (OSFiles) Link(path string) (string, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return "", err
	}
	return os.Readlink(path)
}

// Replace implements Files: a temporary file beside it, synced, renamed, the directory synced.
func (OSFiles) Replace(path string, content []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("dns: replace %s: %w", path, err)
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".mipvpn-*")
	if err != nil {
		return fmt.Errorf("dns: replace %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("dns: replace %s: %w", path, errors.Join(err, os.Remove(f.Name())))
		}
	}()
	_, err = f.Write(content)
	if err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir has a rename survive a loss of power, where the system can do that.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil // a system without directories that open: the rename stands all the same
	}
	_ = d.Sync()
	return d.Close()
}

// Remove implements Files.
func (OSFiles) Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// savedVersion is the version of the saved file's form.
const savedVersion = 1

// saved is what the resolv.conf was, as it is kept: JSON.
type saved struct {
	Version int         `json:"version"`
	Existed bool        `json:"existed"`
	Mode    fs.FileMode `json:"mode"`
	Content string      `json:"content"`
}

// errSaved means that what was kept cannot be read.
var errSaved = errors.New("dns: the saved resolv.conf cannot be used")

// parseSaved reads what is kept. It is a total function.
func parseSaved(b []byte) (saved, error) {
	var s saved
	if err := json.Unmarshal(b, &s); err != nil {
		return saved{}, fmt.Errorf("%w: %w", errSaved, err)
	}
	if s.Version != savedVersion {
		return saved{}, fmt.Errorf("%w: its version is %d, expected %d", errSaved, s.Version, savedVersion)
	}
	s.Mode &= 0o777
	return s, nil
}

// marker is the first line of a resolv.conf that this package has written.
const marker = "# mipvpn has written this file and puts the one before back: do not edit\n"

// isOurs reports whether this package has written the content.
func isOurs(content []byte) bool { return strings.HasPrefix(string(content), marker) }

// resolvConfText returns the resolv.conf of a plan. The C library reads at most six domains and 256 octets of them in a
// search list before version 2.26; the rest is left out.
func resolvConfText(p Plan) []byte {
	var b strings.Builder
	b.WriteString(marker)
	fmt.Fprintf(&b, "nameserver %v\n", p.Server)
	list := "search ."
	if p.Search {
		list = searchList(p.Domains)
	}
	// Without a line of its own the C library would search the domain of the host's name.
	fmt.Fprintf(&b, "%s\noptions edns0\n", list)
	return []byte(b.String())
}

func searchList(domains query.Domains) string {
	list := "search"
	for _, d := range domains[:min(len(domains), 6)] {
		if d = strings.TrimSuffix(d, "."); len(list)+1+len(d) <= 256 {
			list += " " + d
		}
	}
	if list == "search" {
		return "search ."
	}
	return list
}

// OSList returns the names of the files in a directory of this machine, none where it is not there.
func OSList(path string) (names []string, err error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
