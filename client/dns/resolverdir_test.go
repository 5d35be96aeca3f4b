package dns

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mipvpn/detect/resolve/query"
)

// A file for each of the enterprise's domains, kept up and taken back; those of others stay, and stand in the way only of their own
// domain.
func TestResolverDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "resolver")
	r := &ResolverDir{Files: OSFiles{}, Path: dir, List: OSList}
	files := func(want ...string) {
		t.Helper()
		got, err := OSList(dir)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("files %v (%v), want %v", got, err, want)
		}
	}
	set := func(p Plan, want bool) {
		t.Helper()
		if changed, err := r.Set(p); changed != want || err != nil {
			t.Errorf("changed %v, %v, want %v", changed, err, want)
		}
	}
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	p := plan()
	p.Reverse = query.Domains{"0.10.in-addr.arpa."}
	set(p, true)
	files("0.10.in-addr.arpa", "corp.example", "lab.example")
	if got := content(t, filepath.Join(dir, "corp.example")); got != resolverMark+"nameserver 127.0.77.53\n" {
		t.Errorf("%q", got)
	}
	set(p, false)
	write(t, filepath.Join(dir, "corp.example"), resolverMark+"nameserver 192.0.2.1\n", 0o644)
	set(p, true)
	// One domain fewer, and a file of somebody else's.
	write(t, filepath.Join(dir, "vm.example"), "nameserver 127.0.0.1\n", 0o644)
	p.Domains = p.Domains[:1]
	set(p, true)
	files("0.10.in-addr.arpa", "corp.example", "vm.example")
	if stands, err := r.Standing(); !stands || err != nil {
		t.Errorf("stands %v, %v", stands, err)
	}
	p.Domains = query.Domains{"vm.example."}
	if _, err := r.Set(p); !errors.Is(err, ErrManaged) {
		t.Errorf("another program's file: %v", err)
	}
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	files("vm.example")
	if stands, err := r.Standing(); stands || err != nil {
		t.Errorf("stands %v, %v", stands, err)
	}
	p = plan()
	p.Full = true
	if _, err := r.Set(p); !errors.Is(err, ErrUnsupported) {
		t.Errorf("all names: %v", err)
	}
	for _, bad := range []string{"../evil.", ".", ".hidden."} {
		p := plan()
		p.Domains = query.Domains{bad}
		if _, err := r.Set(p); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "../evil")); err == nil {
		t.Error("a file outside was written")
	}
}

// Rules of the policy table stand for a domain and all below it, or for all names.
func TestPolicyNames(t *testing.T) {
	p := plan()
	p.Reverse = query.Domains{"0.10.in-addr.arpa."}
	if got := policyNames(p); !slices.Equal(got, []string{".corp.example", ".lab.example", ".0.10.in-addr.arpa"}) {
		t.Error(got)
	}
	p.Full = true
	if got := policyNames(p); !slices.Equal(got, []string{"."}) {
		t.Error(got)
	}
}
