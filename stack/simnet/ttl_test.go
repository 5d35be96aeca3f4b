package simnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// What a flow sends has the TTL that it was opened with, signalling and data alike, and 64 without one. A router takes one
// off, which shows a foreign agent that a request comes from further away (RFC 3024 §4.2.1), and lets none with 1 through.
func TestFlowTTL(t *testing.T) {
	for _, spec := range []link.FlowSpec{
		{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(right, 434)},
		{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(right, 0)},
	} {
		for _, ttl := range []uint8{0, 1, 255} {
			synctest.Test(t, func(t *testing.T) {
				c := newChain(1)
				defer c.Close()
				var sent, forwarded []uint8
				record := func(to *[]uint8) func(Frame) {
					return func(f Frame) {
						if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == spec.Protocol {
							*to = append(*to, ip.TTL())
						}
					}
				}
				defer c.lw.Tap(record(&sent))()
				defer c.rw.Tap(record(&forwarded))()
				spec := spec
				spec.TTL = ttl
				f, _ := collect(t, c.left, 1, c.ln.Address().Addr(), spec)
				mustSend(t, f, netip.AddrPort{}, "signalling")
				for _, class := range []link.Class{link.Protected, link.Plaintext} {
					if err := f.Path(class).Send(packet.One(packet.From([]byte("data")))); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				want := ttl
				if want == 0 {
					want = 64
				}
				through := 3
				if want == 1 {
					through = 0
				}
				if len(sent) != 3 || len(forwarded) != through {
					t.Errorf("protocol %d, TTL %d: %d packets sent and %d forwarded, want 3 and %d", spec.Protocol, ttl, len(sent), len(forwarded), through)
				}
				for _, got := range sent {
					if got != want {
						t.Errorf("protocol %d, opened with TTL %d: sent with %d, want %d", spec.Protocol, ttl, got, want)
					}
				}
				for _, got := range forwarded {
					if got != want-1 {
						t.Errorf("protocol %d, opened with TTL %d: forwarded with %d, want %d", spec.Protocol, ttl, got, want-1)
					}
				}
			})
		}
	}
}
