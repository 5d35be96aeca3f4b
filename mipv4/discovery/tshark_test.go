package discovery

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
)

// Advertisements and solicitations are to tshark what they are meant to be.
//
// Shows: MIP-5 (formats)
func TestInTshark(t *testing.T) {
	full, err := advertisement().Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	small := advertisement()
	small.Routers, small.PrefixLengths, small.Flags, small.CareOfAddresses = nil, nil, FlagHomeAgent|FlagUDPTunnel, nil
	home, err := small.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := dissect.Fields(t, dissect.ICMP, [][]byte{full, home, AppendSolicitation(nil)},
		"icmp.type", "icmp.code", "icmp.checksum.status", "icmp.num_addrs", "icmp.router_address", "icmp.mip.type", "icmp.mip.seq",
		"icmp.mip.life", "icmp.mip.flags", "icmp.mip.coa", "icmp.mip.prefixlength")
	want := [][]string{
		{"9", "16", "1", "1", "172.16.5.1", "16,19,0", "258", "1800", "0x9100", "192.0.2.40,192.0.2.41", "24"},
		{"9", "16", "1", "0", "", "16", "258", "1800", "0x2080", "", ""},
		{"10", "0", "1", "", "", "", "", "", "", "", ""},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
