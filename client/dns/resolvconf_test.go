package dns

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mipvpn/detect/resolve/query"
)

const original = "# of the network\nsearch hotel.example\nnameserver 192.168.1.1\n"

func newFile(t *testing.T) *ResolvConf {
	t.Helper()
	dir := t.TempDir()
	return &ResolvConf{Files: OSFiles{}, Path: filepath.Join(dir, "etc/resolv.conf"), Saved: filepath.Join(dir, "var/resolv.conf.saved")}
}

func write(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// content returns what is in the file, "absent" without one.
func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "absent"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func plan() Plan {
	return Plan{Device: "mip0", Server: forwarderAddr, Domains: query.Domains{"corp.example.", "lab.example."}, Search: true}
}

const managed = marker + "nameserver 127.0.77.53\nsearch corp.example lab.example\noptions edns0\n"

// Shows: HST-3 (a managed resolv.conf: written, kept up against others, put back as it was)
func TestResolvConf(t *testing.T) {
	r := newFile(t)
	if err := r.Clear(); err != nil {
		t.Fatalf("with nothing to clear: %v", err)
	}
	write(t, r.Path, original, 0o600)
	set := func(want bool) {
		t.Helper()
		if changed, err := r.Set(plan()); err != nil || changed != want {
			t.Fatalf("Set: changed %v, %v", changed, err)
		}
		if got := content(t, r.Path); got != managed {
			t.Errorf("the file is\n%s", got)
		}
		if standing, err := r.Standing(); err != nil || !standing {
			t.Errorf("standing %v, %v", standing, err)
		}
	}
	if standing, err := r.Standing(); err != nil || standing {
		t.Errorf("before: standing %v, %v", standing, err)
	}
	set(true)
	set(false)
	if b, err := r.Original(); err != nil || string(b) != original {
		t.Errorf("the original is %q, %v", b, err)
	}
	// A DHCP client writes the file anew.
	renewed := "nameserver 192.168.1.2\n"
	write(t, r.Path, renewed, 0o644)
	set(true)
	if b, err := r.Original(); err != nil || string(b) != renewed {
		t.Errorf("the original is %q, %v", b, err)
	}
	// Another plan does not make our own file the original.
	other := plan()
	other.Search = false
	if _, err := r.Set(other); err != nil {
		t.Fatal(err)
	}
	if got := content(t, r.Path); !strings.Contains(got, "search .\n") {
		t.Errorf("without a search list:\n%s", got)
	}
	next := &ResolvConf{Files: OSFiles{}, Path: r.Path, Saved: r.Saved} // after kill -9
	if err := next.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, r.Path); got != renewed {
		t.Errorf("restored as\n%s", got)
	}
	if got := content(t, r.Saved); got != "absent" {
		t.Errorf("still kept: %s", got)
	}
	if standing, err := r.Standing(); err != nil || standing {
		t.Errorf("after Clear: standing %v, %v", standing, err)
	}
	info, err := os.Stat(r.Path)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if b, err := r.Original(); err != nil || string(b) != renewed {
		t.Errorf("the original is %q, %v", b, err)
	}

	// There was none.
	if err := os.Remove(r.Path); err != nil {
		t.Fatal(err)
	}
	set(true)
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, r.Path); got != "absent" {
		t.Errorf("made of nothing:\n%s", got)
	}

	// Somebody else has written it last: it stays.
	write(t, r.Path, original, 0o644)
	set(true)
	write(t, r.Path, renewed, 0o644)
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	if got := content(t, r.Path); got != renewed {
		t.Errorf("what another wrote became\n%s", got)
	}

	// What is kept cannot be read: nothing is made worse, and a person is told.
	set(true)
	write(t, r.Saved, `{"version":99}`, 0o600)
	if err := r.Clear(); !errors.Is(err, errSaved) {
		t.Errorf("Clear: %v", err)
	}
	if got := content(t, r.Path); got != managed {
		t.Errorf("the file is\n%s", got)
	}
}

// Shows: HST-3 (a resolv.conf that is another program's is left alone)
func TestResolvConfOfOthers(t *testing.T) {
	for target, name := range map[string]string{
		"../run/systemd/resolve/stub-resolv.conf": resolvedName, "/run/resolvconf/resolv.conf": "resolvconf", "/somewhere/else": "another program",
		"../run/NetworkManager/resolv.conf": "NetworkManager",
	} {
		r := newFile(t)
		if err := os.MkdirAll(filepath.Dir(r.Path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, r.Path); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Set(plan()); !errors.Is(err, ErrManaged) || !strings.HasSuffix(err.Error(), "of "+name) {
			t.Errorf("%s: %v", target, err)
		}
		if got, err := os.Readlink(r.Path); err != nil || got != target {
			t.Errorf("%s became %s, %v", target, got, err)
		}
		resolved := &ResolvConf{} // stands for the other way
		got, err := Choose(ModeAuto, r, resolved)
		if name == resolvedName && (got != Settings(resolved) || err != nil) || name != resolvedName && !errors.Is(err, ErrManaged) {
			t.Errorf("%s: chosen %v, %v", target, got, err)
		}
	}
}

func TestChoose(t *testing.T) {
	r, resolved := newFile(t), &ResolvConf{Path: "resolved"}
	for _, tc := range []struct {
		mode Mode
		text string
		want Settings
	}{
		{ModeAuto, original, r}, {ModeAuto, "# ours\nnameserver 127.0.0.53\n", resolved}, {ModeAuto, marker + "nameserver 127.0.0.53\n", r},
		{ModeResolved, original, resolved}, {ModeResolvConf, "nameserver 127.0.0.53\n", r}, {ModeOff, original, nil},
	} {
		write(t, r.Path, tc.text, 0o644)
		if got, err := Choose(tc.mode, r, resolved); got != tc.want || err != nil {
			t.Errorf("%s with %q: %v, %v", tc.mode, tc.text, got, err)
		}
	}
	if got, err := Choose(ModeResolved, r, nil); err != nil {
		t.Error(err)
	} else if _, err := got.Set(plan()); !errors.Is(err, ErrUnsupported) || got.Clear() != nil || got.Name() != resolvedName {
		t.Errorf("where there is no systemd-resolved: %v", err)
	} else if standing, err := got.Standing(); standing || err != nil {
		t.Errorf("standing %v, %v", standing, err)
	}
	if err := os.Remove(r.Path); err != nil {
		t.Fatal(err)
	}
	if got, err := Choose(ModeAuto, r, resolved); got != Settings(r) || err != nil {
		t.Errorf("without a file: %v, %v", got, err)
	}
}

// dying is a file system whose user dies after some changes.
type dying struct {
	OSFiles
	left int
}

var errDead = errors.New("killed")

func (d *dying) step() error {
	if d.left == 0 {
		return errDead
	}
	d.left--
	return nil
}

func (d *dying) Replace(path string, content []byte, mode fs.FileMode) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OSFiles.Replace(path, content, mode)
}

func (d *dying) Remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.OSFiles.Remove(path)
}

// Shows: HST-3 (killed between any two changes to the file system, in Set, in Clear, or in a second Set after another
// program's change: what was there before is put back by the next process, and while the file is ours it names the forwarder)
func TestResolvConfKilledAnywhere(t *testing.T) {
	renewed := "nameserver 192.168.1.2\n"
	for _, existed := range []bool{true, false} {
		runs := 0
		for left := 0; ; left++ {
			r := newFile(t)
			want := "absent"
			if existed {
				want = original
				write(t, r.Path, original, 0o644)
			}
			d := &dying{left: left}
			first := &ResolvConf{Files: d, Path: r.Path, Saved: r.Saved}
			_, err := first.Set(plan())
			if err == nil && existed {
				want = renewed
				write(t, r.Path, renewed, 0o644)
				_, err = first.Set(plan())
			}
			if err == nil {
				err = first.Clear()
			}
			if err != nil && !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			if now := content(t, r.Path); now != managed && now != want {
				t.Errorf("killed after %d changes: the file is\n%s", left, now)
			}
			if again := (&ResolvConf{Files: OSFiles{}, Path: r.Path, Saved: r.Saved}); left%2 == 0 { // a daemon that comes up again first
				if _, err := again.Set(plan()); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Clear(); err != nil {
				t.Fatal(err)
			}
			if got := content(t, r.Path); got != want {
				t.Errorf("killed after %d changes: restored as\n%s", left, got)
			}
			if got := content(t, r.Saved); got != "absent" {
				t.Errorf("killed after %d changes: still kept: %s", left, got)
			}
			if entries, err := filepath.Glob(filepath.Join(filepath.Dir(r.Path), ".*")); err != nil || len(entries) != 0 {
				t.Errorf("killed after %d changes: left %v, %v", left, entries, err)
			}
			if runs++; err == nil {
				break
			}
		}
		if runs < 4 {
			t.Errorf("only %d places to die at", runs)
		}
	}
}

// TestReplaceFails shows that a failure leaves the old file and nothing beside it.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.Mkdir(path, 0o755); err != nil { // cannot be renamed over
		t.Fatal(err)
	}
	if err := (OSFiles{}).Replace(path, []byte("new"), 0o644); err == nil {
		t.Error("a directory was replaced")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left %v, %v", entries, err)
	}
	if _, _, err := (OSFiles{}).Read(path); err == nil {
		t.Error("a directory was read")
	}
	write(t, filepath.Join(dir, "big"), strings.Repeat("#", maxFile+1), 0o644)
	if _, _, err := (OSFiles{}).Read(filepath.Join(dir, "big")); err == nil {
		t.Error("a file without end was read")
	}
}

// FuzzSaved shows that whatever is kept is read or refused, and a search list never outgrows what the C library takes.
func FuzzSaved(f *testing.F) {
	f.Add([]byte(`{"version":1,"existed":true,"mode":420,"content":"nameserver 192.0.2.1\n"}`), "corp.example.")
	f.Add([]byte(`{"version":2}`), "")
	f.Add([]byte(`{`), strings.Repeat("a.", 127))
	f.Fuzz(func(t *testing.T, b []byte, domain string) {
		if s, err := parseSaved(b); err == nil && (s.Version != savedVersion || s.Mode > 0o777) || err != nil && !errors.Is(err, errSaved) {
			t.Fatalf("%+v, %v", s, err)
		}
		if name, err := query.Canonical(domain); err == nil {
			if list := searchList(query.Domains{name, name, name, name, name, name, name, name}); len(list) > 256 || strings.Count(list, " ") > 6 {
				t.Fatalf("%q", list)
			}
		}
	})
}
