package dns

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// Where the files are.
const (
	// ResolvConfPath is the file that the C library reads.
	ResolvConfPath = "/etc/resolv.conf"
	// SavedPath is where it is kept while another stands in its place.
	SavedPath = "/var/lib/mipvpn/resolv.conf.saved"
)

// ResolvConf changes a resolv.conf that is a file and no other program's. What was there is kept beside the daemon's state
// before the first change and put back by Clear, of this process or a later one. A file that somebody else has written
// meanwhile, such as a DHCP client, is what is kept from then on.
type ResolvConf struct {
	// Files are the file system.
	Files Files
	// Path and Saved are ResolvConfPath and SavedPath when empty.
	Path, Saved string
}

var _ Settings = (*ResolvConf)(nil)

func (r *ResolvConf) path() string {
	if r.Path == "" {
		return ResolvConfPath
	}
	return r.Path
}

func (r *ResolvConf) saved() string {
	if r.Saved == "" {
		return SavedPath
	}
	return r.Saved
}

// Name implements Settings.
func (r *ResolvConf) Name() string { return "resolv.conf" }

// Set implements Settings. A resolv.conf that is a symbolic link is another program's: an error that wraps ErrManaged.
func (r *ResolvConf) Set(p Plan) (changed bool, err error) {
	target, err := r.Files.Link(r.path())
	if err != nil {
		return false, fmt.Errorf("dns: %s: %w", r.path(), err)
	}
	if target != "" {
		return false, fmt.Errorf("%w: %s is a link to %s, of %s", ErrManaged, r.path(), target, owner(target))
	}
	want := resolvConfText(p)
	now, mode, err := r.Files.Read(r.path())
	existed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("dns: %w", err)
	}
	if existed && bytes.Equal(now, want) {
		return false, nil
	}
	if !existed || !isOurs(now) { // what is kept already is older
		if !existed {
			mode = 0o644
		}
		b, err := json.Marshal(saved{Version: savedVersion, Existed: existed, Mode: mode, Content: string(now)})
		if err != nil {
			return false, fmt.Errorf("dns: keep %s: %w", r.path(), err)
		}
		if err := r.Files.Replace(r.saved(), b, 0o600); err != nil {
			return false, fmt.Errorf("dns: keep %s: %w", r.path(), err)
		}
	}
	if err := r.Files.Replace(r.path(), want, mode|0o444); err != nil {
		return false, err
	}
	return true, nil
}

// Standing implements Settings.
func (r *ResolvConf) Standing() (bool, error) {
	_, _, err := r.Files.Read(r.saved())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("dns: %w", err)
	}
	now, _, err := r.Files.Read(r.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("dns: %w", err)
	}
	return isOurs(now), nil
}

// Clear implements Settings: it puts back what was kept, unless somebody else has written the file since.
func (r *ResolvConf) Clear() error {
	b, _, err := r.Files.Read(r.saved())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dns: restore %s: %w", r.path(), err)
	}
	target, err := r.Files.Link(r.path())
	if err != nil {
		return fmt.Errorf("dns: restore %s: %w", r.path(), err)
	}
	now, _, err := r.Files.Read(r.path())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dns: restore %s: %w", r.path(), err)
	}
	if target == "" && isOurs(now) {
		s, err := parseSaved(b)
		switch {
		case err != nil: // the next network configuration writes it; a server that is gone would be worse
			return fmt.Errorf("dns: restore %s: %w: write the file by hand and remove %s", r.path(), err, r.saved())
		case s.Existed:
			err = r.Files.Replace(r.path(), []byte(s.Content), s.Mode)
		default:
			err = r.Files.Remove(r.path())
		}
		if err != nil {
			return fmt.Errorf("dns: restore %s: %w", r.path(), err)
		}
	}
	if err := r.Files.Remove(r.saved()); err != nil {
		return fmt.Errorf("dns: forget %s: %w", r.saved(), err)
	}
	return nil
}

// Original returns the resolv.conf as it is without this package. Errors wrap fs.ErrNotExist.
func (r *ResolvConf) Original() ([]byte, error) {
	now, _, err := r.Files.Read(r.path())
	if err != nil || !isOurs(now) {
		return now, err
	}
	b, _, err := r.Files.Read(r.saved())
	if err != nil {
		return nil, err
	}
	s, err := parseSaved(b)
	return []byte(s.Content), err
}

// owner names the program that a resolv.conf of that place belongs to, as far as the place tells.
func owner(target string) string {
	for _, o := range []struct{ part, name string }{
		{"systemd/resolve", resolvedName}, {"resolvconf", "resolvconf"}, {"NetworkManager", "NetworkManager"}, {"connman", "connman"}, {"netconfig", "netconfig"},
	} {
		if strings.Contains(filepath.ToSlash(target), o.part) {
			return o.name
		}
	}
	return "another program"
}

// resolvedName is what people call it.
const resolvedName = "systemd-resolved"
