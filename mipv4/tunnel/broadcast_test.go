package tunnel

import (
	"net/netip"
	"testing"
)

// Shows: MIP-11 (which destinations are for all on a link: RFC 1122 §3.2.1.3, RFC 5771 §4)
func TestBroadcast(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/22"), netip.MustParsePrefix("10.9.0.0/31"), netip.MustParsePrefix("10.9.0.9/32")}
	for dst, want := range map[string]bool{
		"255.255.255.255": true, "224.0.0.1": true, "224.0.0.251": true, "10.1.3.255": true,
		"224.0.1.1": false, "239.255.255.250": false, "10.1.0.255": false, "10.1.3.254": false, "10.1.7.255": false,
		"10.9.0.1": false, "10.9.0.9": false, "10.1.0.0": false, "ff02::1": false,
	} {
		if got := Broadcast(netip.MustParseAddr(dst), networks); got != want {
			t.Errorf("%s: %t, want %t", dst, got, want)
		}
	}
	if !Broadcast(netip.MustParseAddr("255.255.255.255"), []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}) {
		t.Error("a network of all addresses hides the limited broadcast")
	}
	if Broadcast(netip.Addr{}, networks) {
		t.Error("no address is a broadcast")
	}
}
