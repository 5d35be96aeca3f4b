package wire

import (
	"errors"
	"net/netip"
	"testing"
)

// Shows: MIP-9 (dynamic home agent)
func TestDynamicHomeAgent(t *testing.T) {
	a := netip.MustParseAddr("192.0.2.20")
	e, err := DynamicHomeAgent(RedirectedHomeAgent, a)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseDynamicHomeAgent(e, RedirectedHomeAgent); err != nil || got != a {
		t.Errorf("%v, %v", got, err)
	}
	requested, err := DynamicHomeAgent(RequestedHomeAgent, netip.MustParseAddr("192.0.2.21"))
	if err != nil {
		t.Fatal(err)
	}
	x := Extensions{{Type: ExtDynamicHomeAgent, Data: []byte{1}}, requested, e}
	if got, ok := x.DynamicHomeAgentOf(RedirectedHomeAgent); !ok || got != a {
		t.Errorf("%v, %t", got, ok)
	}
	if _, ok := x[:1].DynamicHomeAgentOf(RequestedHomeAgent); ok {
		t.Error("an extension without an address was taken")
	}
	for _, bad := range []Extension{{Type: ExtMobileNodeNAI, Data: e.Data}, {Type: e.Type, Data: e.Data[:4]}, {Type: e.Type}, requested} {
		if _, err := ParseDynamicHomeAgent(bad, RedirectedHomeAgent); !errors.Is(err, ErrExtension) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := DynamicHomeAgent(RequestedHomeAgent, netip.MustParseAddr("2001:db8::1")); !errors.Is(err, ErrNotIPv4) {
		t.Errorf("an IPv6 address: %v", err)
	}
	for a, any := range map[string]bool{"0.0.0.0": true, "255.255.255.255": true, "192.0.2.255": false, "192.0.2.1": false} {
		if AnyHomeAgent(netip.MustParseAddr(a)) != any {
			t.Errorf("%s", a)
		}
	}
}
