package esp

import (
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Shows: MEC-C, IKE-8. The source of an SA is that of the packet with the highest sequence number: not of an older one that
// comes late, of a replayed one or of a forged one, one by one or in a batch.
func TestSource(t *testing.T) {
	out, in := pair(t, suite.AESGCM128, true, nil)
	var table Table
	table.Add(in)
	if s := in.Source(); s != (Source{}) {
		t.Fatalf("before any packet: %+v", s)
	}
	var sealed [][]byte
	for range 6 {
		p := seal(out, ping(client, server, 100))
		sealed = append(sealed, append([]byte(nil), p.Bytes()...))
		p.Release()
	}
	from := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), uint16(1000+i))
	}
	arrive := func(batch ...int) {
		b := packet.GetBatch()
		for _, i := range batch {
			octets := append([]byte(nil), sealed[i%10]...)
			if i >= 10 {
				octets[len(octets)-1] ^= 1 // forged
			}
			p := packet.From(octets)
			p.Peer = from(i)
			b.Append(p)
		}
		table.Open(b, nil)
		b.Release()
	}
	for _, step := range []struct {
		batch []int
		want  int
	}{
		{[]int{1}, 1}, {[]int{0}, 1}, {[]int{1}, 1}, {[]int{13}, 1}, {[]int{3, 2}, 3}, {[]int{2, 3, 15}, 3}, {[]int{4, 15, 5, 4}, 5},
	} {
		arrive(step.batch...)
		if s := in.Source(); s.From() != from(step.want) || s.SPI() != in.SPI() || s.Sequence() != uint64(step.want+1) {
			t.Errorf("after %v: %+v, want the source of %d", step.batch, s, step.want)
		}
	}
}
