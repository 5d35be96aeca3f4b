package simnet

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: HST-2 (the simulated kernel's line is as strict as the real one: unmarked packets to the enterprise, or from a home address,
// leave by the device alone, whatever sends them)
func TestLineHoldsDestinationsAndSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		p.an.SetAddress(netip.MustParsePrefix("10.1.0.1/24"), addrB)
		d, err := p.a.OpenDevice("tun0", 1400)
		if err != nil {
			t.Fatal(err)
		}
		home, shielded := netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("10.8.0.2")
		enterprise := netip.MustParsePrefix("10.7.0.0/16")
		err = p.a.Apply(link.Settings{
			Device: "tun0", Address: home, Routes: []netip.Prefix{enterprise}, Shielded: []netip.Addr{shielded}, KillSwitch: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		inside, elsewhere := netip.MustParseAddr("10.7.0.1"), netip.MustParseAddr("192.0.2.1")
		var seen []string
		defer p.wire.Tap(func(f Frame) {
			ip := packet.IPv4(f.Packet)
			seen = append(seen, ip.Src().String()+" "+ip.Dst().String())
		})()
		for _, closed := range []bool{false, true} {
			if closed { // as when the process has been killed
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []struct {
				src, dst netip.Addr
				leaves   bool
			}{
				{addrA, elsewhere, true}, {addrA, addrB, true},
				{addrA, inside, false}, {home, inside, false}, {home, elsewhere, false}, {shielded, elsewhere, false}, {shielded, addrB, false},
				{home, limitedBroadcast, false}, {home, netip.MustParseAddr("224.0.0.251"), false}, {addrA, limitedBroadcast, true},
			} {
				pkt := p.a.build(packet.IPv4Fields{Protocol: 99, Src: c.src, Dst: c.dst}, nil)
				for _, way := range []string{"application", "packet socket"} {
					seen = nil
					if way == "application" {
						_ = p.a.SendPacket(pkt) // some have no route
					} else if err := p.a.SendFrame(p.an, p.bn.hw, pkt); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Millisecond)
					synctest.Wait()
					if got := slices.Contains(seen, c.src.String()+" "+c.dst.String()); got != c.leaves {
						t.Errorf("%s, device closed %v: %v to %v leaves: %v, want %v", way, closed, c.src, c.dst, got, c.leaves)
					}
				}
			}
		}
		// What the process's own flow sends is marked.
		u, err := p.a.Underlay(1, addrA)
		if err != nil {
			t.Fatal(err)
		}
		f, err := u.Open(link.FlowSpec{Protocol: 98}, (*packet.Batch).Release)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		seen = nil
		if err := f.Send(netip.AddrPortFrom(inside, 0), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(seen) != 1 {
			t.Errorf("the process's own packet to the enterprise: %v", seen)
		}
		p.an.Detach()
		if err := p.a.SendFrame(p.an, p.bn.hw, nil); !errors.Is(err, ErrLinkDown) {
			t.Errorf("got %v, want %v", err, ErrLinkDown)
		}
	})
}
