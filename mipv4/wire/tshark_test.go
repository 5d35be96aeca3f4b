package wire

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
)

// The golden messages are to tshark what their comments say. One-byte padding is left out: tshark 4.0 looks for a length
// behind it.
func TestGoldenInTshark(t *testing.T) {
	m := request()
	m.Extensions = slices.DeleteFunc(m.Extensions, func(e Extension) bool { return e.Type == ExtPadding })
	p, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := dissect.Fields(t, dissect.MobileIP, [][]byte{p},
		"mip.type", "mip.flags", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.coa", "mip.ext.type", "mip.auth.spi",
		"mip.ext.utrq.f", "mip.ext.utrq.r", "mip.ext.utrq.encaptype")
	want := [][]string{{"1", "0xa2", "1800", "198.51.100.100", "192.0.2.20", "192.168.1.50", "144,200,32,130,33",
		"0x00000400,0x00000500", "1", "1", "4"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	got = dissect.Fields(t, dissect.MobileIPReply, [][]byte{octets(t, goldenReply)},
		"mip.type", "mip.code", "mip.life", "mip.homeaddr", "mip.haaddr", "mip.ext.type", "mip.auth.spi",
		"mip.ext.utrp.code", "mip.ext.utrp.f", "mip.ext.utrp.keepalive")
	want = [][]string{{"3", "0", "600", "10.0.8.100", "10.0.1.10", "149,44,32,45", "0x00000400", "0", "1", "110"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// UDP-tunnelled data is an IPv4 packet in the tunnel to tshark.
func TestTunnelDataInTshark(t *testing.T) {
	p := make([]byte, TunnelDataLen, TunnelDataLen+28)
	PutTunnelData(p, 4)
	// An empty UDP datagram from 10.0.8.100 to 10.0.1.20, checksum of the header by another program.
	p = append(p, octets(t, "4500001c 00000000 4011 5D4C 0a000864 0a000114 0035 0035 0008 0000")...)
	got := dissect.Fields(t, dissect.MobileIP, [][]byte{p}, "mip.type", "mip.nattt.nexthdr", "ip.src", "ip.dst")
	want := [][]string{{"4", "4", "192.0.2.1,10.0.8.100", "192.0.2.20,10.0.1.20"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// Both extensions of zero-overhead tunnelling are to tshark what their comments say.
//
// Shows: MEC-D
func TestZeroOverheadInTshark(t *testing.T) {
	m := request()
	m.Extensions = Extensions{ZeroOverheadRequest(testVendor, testDestination)}
	p, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := dissect.Fields(t, dissect.MobileIP, [][]byte{p}, "mip.ext.type", "mip.ext.len", "mip.ext.nvse.vendor_id", "mip.ext.nvse.vendor_type", "mip.ext.nvse.vendor_value")
	if d := cmp.Diff([][]string{{"134", "12", "32473", "1", "c0000204"}}, got); d != "" {
		t.Errorf("request (-want +got):\n%s", d)
	}
	reply, err := ParseRegistrationReply(octets(t, goldenReply)[:ReplyLen])
	if err != nil {
		t.Fatal(err)
	}
	reply.Extensions = Extensions{ZeroOverheadReply(testVendor, testDestination), TrustedNetworksConfigured()}
	if p, err = reply.Append(nil); err != nil {
		t.Fatal(err)
	}
	got = dissect.Fields(t, dissect.MobileIPReply, [][]byte{p}, "mip.ext.type", "mip.ext.cvse.vendor_id", "mip.ext.cvse.vendor_type", "mip.ext.cvse.vendor_value")
	if d := cmp.Diff([][]string{{"38,149", "32473", "0x0001", "c0000204"}}, got); d != "" {
		t.Errorf("reply (-want +got):\n%s", d)
	}
}
