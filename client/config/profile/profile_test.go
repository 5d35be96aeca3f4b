package profile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// set returns a base with two profiles, and what is none.
func set(t *testing.T) Set {
	t.Helper()
	dir := t.TempDir()
	s := Set{Base: filepath.Join(dir, "mipvpn.toml"), State: filepath.Join(dir, "state", "profile.json")}
	if err := os.MkdirAll(filepath.Join(dir, Directory, "folder.toml"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mipvpn.toml", "profiles.d/home.toml", "profiles.d/Lab-2.toml", "profiles.d/default.toml", "profiles.d/.x.toml", "profiles.d/a b.toml", "profiles.d/notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func chosen(t *testing.T, s Set, want string) {
	t.Helper()
	if p, err := s.Chosen(); err != nil || p.Name != want {
		t.Errorf("%+v, %v, want %s", p, err, want)
	}
}

// A choice is kept, for its base alone, and taken back.
func TestChoose(t *testing.T) {
	s := set(t)
	all, err := s.List()
	if err != nil || len(all) != 3 || all[0] != (Profile{"default", s.Base}) || all[1].Name != "Lab-2" || all[2].File != filepath.Join(filepath.Dir(s.Base), "profiles.d", "home.toml") {
		t.Errorf("%+v, %v", all, err)
	}
	chosen(t, s, Default)
	if err := s.Choose(Default); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.State); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was chosen already was written: %v", err)
	}
	if err := s.Choose("home"); err != nil {
		t.Fatal(err)
	}
	chosen(t, s, "home")
	if info, err := os.Stat(s.State); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	other := set(t)
	other.State = s.State
	chosen(t, other, Default)
	if err := other.Choose("Lab-2"); err != nil {
		t.Fatal(err)
	}
	chosen(t, s, "home")
	for _, bad := range []string{"nothing", "", "../mipvpn", ".x", "a b", strings.Repeat("x", 100)} {
		if err := s.Choose(bad); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "there are default, Lab-2, home") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	chosen(t, s, "home")
	if err := s.Choose(Default); err != nil {
		t.Fatal(err)
	}
	chosen(t, s, Default)
	chosen(t, other, "Lab-2")
}

// A profile that is gone, or a choice that cannot be read, is never another profile.
func TestNoOtherProfile(t *testing.T) {
	s := set(t)
	if err := s.Choose("home"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.file("home")); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Chosen(); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "mipvpn profile use") {
		t.Errorf("%+v, %v", p, err)
	}
	for _, bad := range []string{"", "{", `{"schema":2}`, `{"schema":1,"chosen":{"x":"../y"}}`, strings.Repeat(" ", maxState+1)} {
		if err := os.WriteFile(s.State, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := s.Chosen(); !errors.Is(err, ErrState) {
			t.Errorf("%.20q: %+v, %v", bad, p, err)
		}
	}
	if err := s.Choose("Lab-2"); err != nil {
		t.Fatal(err)
	}
	chosen(t, s, "Lab-2")
	lost := Set{Base: filepath.Join(t.TempDir(), "nothing.toml"), State: filepath.Join(s.State, "below a file")}
	if err := lost.Choose(Default); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"schema":1,"chosen":{"/etc/mipvpn/mipvpn.toml":"home"}}`))
	f.Add([]byte(`{"schema":1,"chosen":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := parse(data)
		if err != nil && !errors.Is(err, ErrState) {
			t.Error(err)
		}
		for _, name := range st.Chosen {
			if strings.ContainsAny(name, "/\\") || strings.HasPrefix(name, ".") {
				t.Errorf("%q", name)
			}
		}
	})
}
