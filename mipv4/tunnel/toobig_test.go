package tunnel

import (
	"net/netip"
	"testing"
)

// Shows: HST-4, MIP-12 (soft state of a tunnel's MTU: the entry reads what the exit tells)
func TestTooBigIsRead(t *testing.T) {
	entry, exit := netip.MustParseAddrPort("10.0.1.10:434"), netip.MustParseAddrPort("10.0.9.1:49152")
	for _, e := range []Encapsulation{IPIP, UDP, GRE} {
		want := TunnelError{Remote: exit, Encapsulation: e, Type: ICMPUnreachable, Code: CodeFragmentNeeded, Relay: true, MTU: 1231}
		from, to := entry, exit
		if e != UDP {
			from, to = netip.AddrPortFrom(entry.Addr(), 0), netip.AddrPortFrom(exit.Addr(), 0)
			want.Remote = to
		}
		m := AppendTooBig([]byte("before"), e, GREOptions{}, from, to, 1231)[6:]
		got, ok := ParseICMPError(m, entry.Addr(), 434)
		if !ok || got.Remote != want.Remote || got.Encapsulation != e || got.MTU != 1231 || got.Code != CodeFragmentNeeded || got.Inner != nil {
			t.Errorf("%v: %+v, %t, want %+v", e, got, ok, want)
		}
	}
}

// The age of an MTU counts from when it was last heard of (RFC 1191 §6.3), which a larger one does not change.
func TestPathMTUIsRefreshed(t *testing.T) {
	var m PathMTU
	if !m.Learn(0, 1231) || m.Learn(PathMTUAge/2, 1231) || m.Learn(PathMTUAge*3/4, 1300) {
		t.Fatal("an MTU that did not become smaller counts as smaller")
	}
	if got := m.Of(PathMTUAge, 1480); got != 1231 {
		t.Errorf("%d octets after having been told again", got)
	}
	if got := m.Of(PathMTUAge*3/2, 1480); got != 1480 {
		t.Errorf("%d octets after its age", got)
	}
}
