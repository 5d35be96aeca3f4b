package profile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Default is the name of the profile that is the base itself.
const Default = "default"

// Directory is the name of the folder of the other profiles, beside the base.
const Directory = "profiles.d"

// DefaultState is where the choice is kept.
const DefaultState = "/var/lib/mipvpn/profile.json"

// extension is that of profiles.
const extension = ".toml"

// Errors of this package.
var (
	// ErrUnknown is wrapped where there is no profile of a name.
	ErrUnknown = errors.New("no such profile")
	// ErrState is wrapped where the file of the choice cannot be understood.
	ErrState = errors.New("the choice of the profile cannot be read")
)

const (
	// maxState is the greatest length of the file of the choice in octets.
	maxState = 64 << 10
	// maxName is the greatest length of a name in octets.
	maxName = 64
	schema  = 1
)

// Set are the profiles around a base.
type Set struct {
	// Base is the absolute path of the profile Default, such as config.DefaultPath.
	Base string
	// State is the path of the file of the choice.
	State string
}

// Profile is one profile.
type Profile struct {
	// Name is its name, File the path of its configuration.
	Name, File string
}

// state is what is in the file of the choice.
type state struct {
	Schema int               `json:"schema"`
	Chosen map[string]string `json:"chosen"`
}

// List returns the profiles, Default first, the others by name. Files whose names cannot be those of profiles are left out.
func (s Set) List() ([]Profile, error) {
	all := []Profile{{Default, s.Base}}
	entries, err := os.ReadDir(filepath.Join(filepath.Dir(s.Base), Directory))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("profile: %w", err)
	}
	for _, e := range entries { // by name
		if name, ok := strings.CutSuffix(e.Name(), extension); ok && !e.IsDir() && valid(name) && name != Default {
			all = append(all, Profile{name, s.file(name)})
		}
	}
	return all, nil
}

// Find returns the profile of that name. The error wraps ErrUnknown and names those that there are.
func (s Set) Find(name string) (Profile, error) {
	all, err := s.List()
	if err != nil {
		return Profile{}, err
	}
	var names []string
	for _, p := range all {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("profile: %w as %.80q: there are %s; %s is where others belong", ErrUnknown, name, strings.Join(names, ", "),
		filepath.Join(filepath.Dir(s.Base), Directory))
}

// Chosen returns the profile that is chosen, Default where none is. The error wraps ErrUnknown where its file is gone, and ErrState where
// the choice cannot be read.
func (s Set) Chosen() (Profile, error) {
	st, err := s.load()
	if err != nil {
		return Profile{}, fmt.Errorf("%w: `mipvpn profile use NAME` makes it anew", err)
	}
	name := st.Chosen[s.Base]
	if name == "" {
		return Profile{Default, s.Base}, nil
	}
	p, err := s.Find(name)
	if err != nil {
		return Profile{}, fmt.Errorf("%w; it was chosen, so put it back, or choose another one with `mipvpn profile use NAME`", err)
	}
	return p, nil
}

// Choose chooses a profile, whole or not at all. The error wraps ErrUnknown where there is none of that name. A choice that could not be
// read is made anew.
func (s Set) Choose(name string) error {
	if _, err := s.Find(name); err != nil {
		return err
	}
	st, err := s.load()
	if err != nil && !errors.Is(err, ErrState) {
		return err
	}
	if err == nil && st.Chosen[s.Base] == name || err == nil && name == Default && st.Chosen[s.Base] == "" {
		return nil // it is kept already: a full disk is no reason to complain
	}
	if st.Chosen == nil {
		st.Chosen = map[string]string{}
	}
	st.Schema, st.Chosen[s.Base] = schema, name
	if name == Default {
		delete(st.Chosen, s.Base)
	}
	data, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	return s.save(append(data, '\n'))
}

// load reads the choice; one that is not there is empty.
func (s Set) load() (state, error) {
	f, err := os.Open(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("profile: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return state{}, fmt.Errorf("profile: %w", err)
	}
	st, err := parse(data)
	if err != nil {
		return state{}, fmt.Errorf("profile: %s: %w", s.State, err)
	}
	return st, nil
}

// parse reads what is in the file of the choice.
func parse(data []byte) (state, error) {
	var st state
	if len(data) > maxState {
		return state{}, fmt.Errorf("%w: it is longer than %d octets", ErrState, maxState)
	}
	if err := json.Unmarshal(data, &st); err != nil {
		return state{}, fmt.Errorf("%w: %w", ErrState, err)
	}
	if st.Schema != schema {
		return state{}, fmt.Errorf("%w: its schema is %d, and this program knows %d", ErrState, st.Schema, schema)
	}
	for _, name := range st.Chosen {
		if !valid(name) {
			return state{}, fmt.Errorf("%w: %.80q cannot be a profile's name", ErrState, name)
		}
	}
	return st, nil
}

// save writes the choice, for everybody to read.
func (s Set) save(data []byte) (err error) {
	dir := filepath.Dir(s.State)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	t, err := os.CreateTemp(dir, ".profile-*")
	if err != nil {
		return fmt.Errorf("profile: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("profile: keep the choice: %w", errors.Join(err, os.Remove(t.Name())))
		}
	}()
	_, err = t.Write(data)
	if err = errors.Join(err, t.Chmod(0o644), t.Sync(), t.Close()); err != nil {
		return err
	}
	return os.Rename(t.Name(), s.State)
}

// file returns the path of a profile other than Default.
func (s Set) file(name string) string {
	return filepath.Join(filepath.Dir(s.Base), Directory, name+extension)
}

// valid reports whether a profile can have that name: letters, digits, '-', '_' and '.', which is not the first.
func valid(name string) bool {
	return name != "" && len(name) <= maxName && name[0] != '.' && !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || slices.Contains([]rune("-_."), r))
	})
}
