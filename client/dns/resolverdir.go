package dns

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"mipvpn/detect/resolve/query"
)

// ResolverDirPath is where darwin looks for a resolver of its own for a domain (resolver(5)): one file for each, named as the domain.
const ResolverDirPath = "/etc/resolver"

// resolverMark is the first line of a file that is this program's.
const resolverMark = "# Written by mipvpn, which takes it away again.\n"

// ResolverDir has darwin ask the Forwarder about the enterprise's domains, by a file for each in a directory. Files of others stay,
// and are an error where they stand for a domain of the enterprise. What it does with all names (Plan.Full) darwin does not do by
// such files: an error that wraps ErrUnsupported.
type ResolverDir struct {
	// Files are the file system.
	Files Files
	// Path is ResolverDirPath when empty.
	Path string
	// List returns the names of the files in a directory, none where it is not there.
	List func(path string) ([]string, error)
}

var _ Settings = (*ResolverDir)(nil)

func (r *ResolverDir) path(name string) string {
	if r.Path == "" {
		return filepath.Join(ResolverDirPath, name)
	}
	return filepath.Join(r.Path, name)
}

// Name implements Settings.
func (*ResolverDir) Name() string { return ResolverDirPath }

// Set implements Settings.
func (r *ResolverDir) Set(p Plan) (changed bool, err error) {
	if p.Full {
		return false, fmt.Errorf("dns: ask inside about all names by %s: %w: leave tunnel.full out, or set dns.mode to %q", ResolverDirPath, ErrUnsupported, ModeOff)
	}
	want := make(map[string]bool)
	for _, d := range append(append(query.Domains(nil), p.Domains...), p.Reverse...) {
		name := strings.TrimSuffix(d, ".")
		if name == "" || strings.ContainsAny(name, "/\x00") || name[0] == '.' {
			return changed, fmt.Errorf("dns: domain %q cannot be the name of a file in %s", d, r.path(""))
		}
		want[name] = true
		text := []byte(resolverMark + "nameserver " + p.Server.String() + "\n")
		now, _, err := r.Files.Read(r.path(name))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return changed, err
		case bytes.Equal(now, text):
			continue
		case err == nil && !strings.HasPrefix(string(now), resolverMark):
			return changed, fmt.Errorf("%w: %s is there already: take it away, or set dns.mode to %q", ErrManaged, r.path(name), ModeOff)
		}
		if err := r.Files.Replace(r.path(name), text, 0o644); err != nil {
			return changed, err
		}
		changed = true
	}
	gone, err := r.remove(func(name string) bool { return !want[name] })
	return changed || gone, err
}

// remove takes away this program's files that are chosen.
func (r *ResolverDir) remove(chosen func(name string) bool) (removed bool, err error) {
	ours, err := r.ours()
	if err != nil {
		return false, err
	}
	for _, name := range ours {
		if !chosen(name) {
			continue
		}
		if err := r.Files.Remove(r.path(name)); err != nil {
			return removed, err
		}
		removed = true
	}
	return removed, nil
}

// ours returns the names of the files that are this program's.
func (r *ResolverDir) ours() (names []string, err error) {
	all, err := r.List(r.path(""))
	if err != nil {
		return nil, fmt.Errorf("dns: list %s: %w", r.path(""), err)
	}
	for _, name := range all {
		if b, _, err := r.Files.Read(r.path(name)); err == nil && strings.HasPrefix(string(b), resolverMark) {
			names = append(names, name)
		}
	}
	return names, nil
}

// Standing implements Settings.
func (r *ResolverDir) Standing() (bool, error) {
	names, err := r.ours()
	return len(names) > 0, err
}

// Clear implements Settings.
func (r *ResolverDir) Clear() error {
	_, err := r.remove(func(string) bool { return true })
	return err
}
