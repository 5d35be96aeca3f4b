package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// An application on the laptop hears broadcasts of its home link wherever it is, and is heard there, when that was asked for; else it
// hears none.
//
// Shows: MIP-11 (B bit by configuration; co-located, through a foreign agent, and through the VPN)
func TestBroadcasts(t *testing.T) {
	t.Parallel()
	const port = 9999
	for _, asked := range []bool{true, false} {
		t.Run(fmt.Sprintf("asked %t", asked), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h := newHomeWorld(t, 71, func(c *config.Config) {
					if c.Internal.Broadcasts = asked; asked {
						c.Internal.Groups = []netip.Prefix{netip.MustParsePrefix("239.192.0.0/14")}
					}
				})
				socket, err := h.Laptop.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = socket.Close() }()
				// broadcast sends one datagram to all from a host, by the link layer, and returns what the application hears of it.
				broadcast := func(host *simnet.Host, iface int, src, dst netip.Addr) string {
					t.Helper()
					frames, err := host.OpenFrames(iface, func(b *packet.Batch) { b.Release() })
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = frames.Close() }()
					p := packet.Get(4)
					copy(p.Extend(4), "here")
					packet.PushUDP(p, netip.AddrPortFrom(src, 5000), netip.AddrPortFrom(dst, port))
					packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolUDP, Src: src, Dst: dst})
					p.Hardware = packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
					if err := frames.Out(link.Protected).Send(packet.One(p)); err != nil {
						t.Fatal(err)
					}
					if err := socket.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
						t.Fatal(err)
					}
					buf := make([]byte, 100)
					n, from, err := socket.ReadFromAddrPort(buf)
					if err != nil {
						return ""
					}
					return from.String() + " " + string(buf[:n])
				}
				there, err := h.Neighbour.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = there.Close() }()
				// sends has the application send to all, and returns what a neighbour's hears of it.
				sends := func(dst string) string {
					t.Helper()
					if _, err := socket.WriteToAddrPort([]byte("away"), netip.AddrPortFrom(netip.MustParseAddr(dst), port)); err != nil {
						t.Fatal(err)
					}
					if err := there.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
						t.Fatal(err)
					}
					buf := make([]byte, 100)
					for {
						n, from, err := there.ReadFromAddrPort(buf)
						if err != nil {
							return ""
						}
						if string(buf[:n]) == "away" {
							return from.String()
						}
					}
				}
				want := ""
				if asked {
					want = "10.0.8.7:5000 here"
				}
				for _, at := range []struct {
					wire *simnet.Wire
					mode string
				}{{h.Office, "c"}, {h.OfficeFA, "f"}, {h.Cafe, "cvc"}} {
					h.Plug(h.Wlan0, at.wire)
					if _, err := h.UntilMode(60*time.Second, at.mode); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					for _, dst := range []string{"255.255.255.255", "224.0.0.251"} {
						if got := broadcast(h.Neighbour, h.Neighbour.NICs()[0].Index(), homeNeighbour, netip.MustParseAddr(dst)); got != want {
							t.Errorf("mode %s, to %s: the application heard %q, want %q", at.mode, dst, got, want)
						}
					}
					if !asked {
						continue
					}
					for _, dst := range []string{"255.255.255.255", "10.0.8.255", "239.193.1.2"} {
						if got, want := sends(dst), netip.AddrPortFrom(simnet.LabHomeAddress, port).String(); got != want {
							t.Errorf("mode %s: a neighbour heard what was sent to %s from %q, want it from %s", at.mode, dst, got, want)
						}
					}
				}
			})
		})
	}
}
