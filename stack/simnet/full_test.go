package simnet

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: HST-1, HST-2 (the simulated kernel's full tunnel: everything goes into the device, and nothing leaves beside it but
// what flows send and, with the exception, what goes to neighbours at private addresses that are not the enterprise's; a
// network that claims other addresses gets none)
func TestFullTunnel(t *testing.T) {
	for _, c := range []struct {
		name      string
		network   string // of the interface
		local     bool
		neighbour string
		leaves    bool
	}{
		{"without the exception", "192.168.1.2/24", false, "192.168.1.9", false},
		{"with the exception", "192.168.1.2/24", true, "192.168.1.9", true},
		{"a private address beyond the network", "192.168.1.2/24", true, "192.168.2.9", false},
		{"a network that claims the Internet", "192.0.2.2/24", true, "192.0.2.9", false},
		{"a network that claims half of it", "10.1.0.1/1", true, "10.1.0.9", false},
		{"a network that claims the enterprise", "10.7.0.2/24", true, "10.7.0.9", false},
		{"the enterprise within the network", "10.0.0.2/8", true, "10.7.0.9", false},
		{"beside the enterprise within the network", "10.0.0.2/8", true, "10.6.0.9", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(1, WireConfig{})
			defer p.Close()
			network := netip.MustParsePrefix(c.network)
			p.an.SetAddress(network, network.Masked().Addr().Next())
			d, err := p.a.OpenDevice("tun0", 1400)
			if err != nil {
				t.Fatal(err)
			}
			home, elsewhere, neighbour := netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr(c.neighbour)
			err = p.a.Apply(link.Settings{
				Device: "tun0", Address: home, Routes: []netip.Prefix{netip.MustParsePrefix("10.7.0.0/16")}, KillSwitch: true, Full: true, Local: c.local,
			})
			if err != nil {
				t.Fatal(err)
			}
			var seen []netip.Addr
			defer p.wire.Tap(func(f Frame) { seen = append(seen, packet.IPv4(f.Packet).Dst()) })()
			for _, closed := range []bool{false, true} {
				if closed {
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
				}
				for _, dst := range []netip.Addr{elsewhere, neighbour} {
					pkt := p.a.build(packet.IPv4Fields{Protocol: 99, Src: network.Addr(), Dst: dst}, nil)
					seen = nil
					if err := p.a.SendFrame(p.an, p.bn.hw, pkt); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
					synctest.Wait()
					if got, want := slices.Contains(seen, dst), dst == neighbour && c.leaves; got != want {
						t.Errorf("%s, device closed %v: a frame to %v leaves: %v, want %v", c.name, closed, dst, got, want)
					}
					p.a.net.mu.Lock()
					via, ok := p.a.route(dst, nil, false)
					p.a.net.mu.Unlock()
					if byDevice, want := ok && via.dev != nil, !closed && !(dst == neighbour && c.leaves); byDevice != want {
						t.Errorf("%s, device closed %v: %v is routed into the device: %v, want %v", c.name, closed, dst, byDevice, want)
					}
				}
			}
		})
	}
	t.Run("needs a kill switch", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(1, WireConfig{})
			defer p.Close()
			if err := p.a.Apply(link.Settings{Full: true}); err == nil {
				t.Error("a full tunnel without a kill switch is accepted")
			}
		})
	})
}
