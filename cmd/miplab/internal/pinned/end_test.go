package pinned

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// sample returns an end of each kind.
func sample(t testing.TB) []End {
	t.Helper()
	near, far := netip.MustParsePrefix("10.0.9.200/32"), netip.MustParsePrefix("10.0.9.201/32")
	gateway, route := netip.MustParseAddr("192.0.2.10"), netip.MustParsePrefix("10.0.1.20/32")
	endpoint := netip.AddrPortFrom(gateway, 51900)
	a, b := NullPair(near, far, endpoint, route)
	c, d, err := VCPair(near, far, gateway, netip.MustParseAddr("10.0.9.202"), route)
	if err != nil {
		t.Fatal(err)
	}
	return []End{a, b, RelayEnd(endpoint, netip.MustParseAddrPort("192.0.2.20:51900")), c, d}
}

func TestSavedEndsAreRead(t *testing.T) {
	for _, e := range sample(t) {
		file := filepath.Join(t.TempDir(), "end.json")
		if err := e.Save(file); err != nil {
			t.Fatal(err)
		}
		if got, err := Load(file); err != nil || !reflect.DeepEqual(got, e) {
			t.Errorf("%v read as %v, %v", e, got, err)
		}
	}
}

// What cannot be run is refused with what is wrong.
func TestUnusableEnds(t *testing.T) {
	of := func(k Kind, change func(*End)) End {
		for _, e := range sample(t) {
			if e.Kind == k {
				change(&e)
				return e
			}
		}
		panic(k)
	}
	for _, c := range []struct {
		end  End
		want string
	}{
		{of(Null, func(e *End) { e.Kind = "cvc" }), `kind "cvc": expected "null"`},
		{of(Null, func(e *End) { e.Local = e.Remote }), "either a local or a remote"},
		{of(Null, func(e *End) { e.Remote = netip.AddrPort{} }), "either a local or a remote"},
		{of(Null, func(e *End) { e.Remote = netip.MustParseAddrPort("[2001:db8::1]:5") }), "expected IPv4 addresses"},
		{of(Null, func(e *End) { e.Device = "" }), "no name"},
		{of(Null, func(e *End) { e.Address = netip.Prefix{} }), "expected IPv4"},
		{of(Null, func(e *End) { e.Routes = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")} }), "expected IPv4"},
		{of(Relay, func(e *End) { e.Local = netip.AddrPort{} }), "both a local and a remote"},
		{of(VCNear, func(e *End) { e.Kind = VCFar }), "the far end the local one"},
		{of(VCFar, func(e *End) { e.Local = netip.MustParseAddrPort("192.0.2.10:4501") }), "port 4501"},
		{of(VCNear, func(e *End) { e.VC = nil }), "missing"},
		{of(VCNear, func(e *End) { e.VC.Inner = netip.IPv4Unspecified() }), "address 0.0.0.0"},
		{of(VCNear, func(e *End) { e.VC.In.SPI = 255 }), "SPI 255"},
		{of(VCFar, func(e *End) { e.VC.Out.Key = e.VC.Out.Key[:16] }), "a key of 16 octets"},
	} {
		b, err := json.Marshal(c.end)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(b); !errors.Is(err, ErrEnd) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", b, err, c.want)
		}
	}
	if _, err := Parse([]byte(`{"kind":"null","devise":"pin0"}`)); !errors.Is(err, ErrEnd) {
		t.Errorf("an unknown key: %v", err)
	}
}

// The ends of a pair fit each other and share no key with another pair.
func TestPairsHaveFreshKeys(t *testing.T) {
	a, b := sample(t), sample(t)
	near, far, other := a[3].VC, a[4].VC, b[3].VC
	if !reflect.DeepEqual(near.In, far.Out) || !reflect.DeepEqual(near.Out, far.In) {
		t.Error("the ends do not fit each other")
	}
	if reflect.DeepEqual(near.In.Key, near.Out.Key) || reflect.DeepEqual(near.In.Key, other.In.Key) || reflect.DeepEqual(near.Out.Key, other.Out.Key) {
		t.Error("a key is used twice")
	}
	for _, e := range a {
		if s := e.String(); len(s) > 100 {
			t.Errorf("%q says too much", s)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range sample(f) {
		b, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Parse(b)
		if err != nil {
			if !errors.Is(err, ErrEnd) {
				t.Errorf("%v", err)
			}
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(again)
		if err != nil {
			t.Fatalf("%s read again: %v", again, err)
		}
		// An empty list and none are written alike.
		if back, err := json.Marshal(got); err != nil || !bytes.Equal(back, again) {
			t.Errorf("%s read again: %s, %v", again, back, err)
		}
	})
}
