package tunnel

import (
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/mipv4/internal/dissect"
	"mipvpn/tun/packet"
)

// What the encapsulator of GRE makes is to tshark what it is meant to be: protocol, key, right checksum, and the packet within. tshark
// does not know protocol 55; its octets are those of TestAlternativeGolden.
//
// Shows: MIP-6 (GRE, as a third party decodes it)
func TestGREInTshark(t *testing.T) {
	for _, c := range []struct {
		name   string
		e      Encapsulator
		fields []string
		want   []string
	}{
		{"GRE", Encapsulator{Encapsulation: GRE},
			[]string{"gre.proto", "gre.key", "ip.src", "ip.dst", "udp.dstport"},
			[]string{"0x0800", "", "192.0.2.20," + correspondent.String(), "192.0.2.1," + home.String(), "4711"}},
		{"GRE with key and checksum", Encapsulator{Encapsulation: GRE, GRE: GREOptions{Keyed: true, Key: 0x12345678, Checksum: true}},
			[]string{"gre.proto", "gre.key", "gre.checksum.status", "ip.dst", "udp.dstport"},
			[]string{"0x0800", "0x12345678", "1", "192.0.2.1," + home.String(), "4711"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fields()
			f.Protocol = packet.ProtocolUDP
			p := ipv4(t, f, []byte{0x10, 0x00, 0x12, 0x67, 0, 12, 0, 0, 1, 2, 3, 4}) // to port 4711, without a checksum
			defer p.Release()
			if r := c.e.Encapsulate(p); r != packet.NotDropped {
				t.Fatal(r)
			}
			transport := dissect.Transport{"-4", "192.0.2.20,192.0.2.1", "-i", strconv.Itoa(int(c.e.Encapsulation.Protocol()))}
			got := dissect.Fields(t, transport, [][]byte{p.Bytes()}, c.fields...)[0]
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
