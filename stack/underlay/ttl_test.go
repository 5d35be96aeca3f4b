//go:build linux

package underlay

import (
	"fmt"
	"net/netip"
	"testing"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Requests to a foreign agent with the T bit have a time to live of 255 (RFC 3024 §3.2), signalling and data alike; what a
// flow is opened without one has the kernel's usual one.
func TestTTL(t *testing.T) {
	for _, spec := range []link.FlowSpec{
		{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(addrB.Addr(), 434)},
		{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(addrB.Addr(), 0)},
	} {
		for _, ttl := range []uint8{0, 1, 64, 255} {
			t.Run(fmt.Sprintf("protocol %d, TTL %d", spec.Protocol, ttl), func(t *testing.T) {
				p := newPair(t)
				atB := newInbox()
				openTestFrames(t, p.b, p.indexB, atB.receive)
				spec := spec
				spec.TTL = ttl
				f := open(t, p.linkA, spec, func(b *packet.Batch) { b.Release() })
				if err := f.Send(netip.AddrPort{}, make([]byte, 40)); err != nil {
					t.Fatal(err)
				}
				for _, c := range []link.Class{link.Protected, link.Plaintext} {
					batch := packet.GetBatch()
					for range 3 { // a train, where there is segmentation offload
						batch.Append(numbered(0, 100))
					}
					if err := f.Path(c).Send(batch); err != nil {
						t.Fatal(err)
					}
				}
				want := ttl
				if want == 0 {
					want = 64 // net.ipv4.ip_default_ttl of a new namespace (RFC 1700)
				}
				for i, b := range atB.take(t, 7) {
					if ip := packet.IPv4(b.Bytes()); ip.Protocol() != spec.Protocol || ip.TTL() != want {
						t.Errorf("packet %d is of protocol %d with TTL %d, want %d and %d", i, ip.Protocol(), ip.TTL(), spec.Protocol, want)
					}
				}
			})
		}
	}
}
