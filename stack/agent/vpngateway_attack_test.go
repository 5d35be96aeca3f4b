package agent

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// Shows: MEC-C. A client that has nothing to send shows by a dummy packet where it is now (RFC 4303 §2.6): the gateway follows it.
func TestGatewayFollowsDummies(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		g := startGateway(t, l.Gateway, gatewayConfig(t))
		plug(l, l.Cafe)
		c := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, nil)
		inner := c.up()
		before := g.Sessions()[0].Remote
		l.CafeNAT.SetNAT(simnet.NATConfig{Outside: l.CafeOutside, Filtering: simnet.AddressAndPortDependent})
		r := c.out.Load()
		if err := r.path.Send(packet.One(r.out.Dummy(1))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if after := g.Sessions()[0].Remote; after == before || after.Addr() != simnet.LabCafeNAT {
			t.Errorf("the client is at %v, was at %v", after, before)
		}
		d := startDownlink(t, l, inner, 10*time.Millisecond)
		time.Sleep(time.Second)
		if sent, lost := d.end(); lost > 0 || sent < 50 {
			t.Errorf("%d of %d packets to the client are lost", lost, sent)
		}
	})
}

// thief is somebody who sees what a client sends, and has a host on the Internet: he sends copies of ESP packets from there. He counts
// the octets of IP datagrams between there and the gateway.
type thief struct {
	l  *simnet.Lab
	at netip.AddrPort

	mu        sync.Mutex
	active    bool
	sent, got int     // since the first copy
	peak      float64 // the most that he has got for what he has sent
}

var thiefAddress = netip.MustParseAddr("203.0.113.66")

// newThief begins to listen. first is set when his copies come before the packets themselves, which are held back.
func newThief(l *simnet.Lab, gateway netip.Addr, first bool) *thief {
	h := &thief{l: l, at: netip.AddrPortFrom(thiefAddress, 4500)}
	l.Internet.Tap(func(f simnet.Frame) {
		ip := packet.IPv4(f.Packet)
		if !ip.Valid() || ip.Dst() != h.at.Addr() {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got += ip.TotalLen()
		if h.sent > 0 {
			h.peak = max(h.peak, float64(h.got)/float64(h.sent))
		}
	})
	l.Internet.Intercept(func(f simnet.Frame) []simnet.Relay {
		ip := packet.IPv4(f.Packet)
		if !ip.Valid() || ip.Protocol() != packet.ProtocolUDP || ip.Dst() != gateway || ip.Src() == h.at.Addr() {
			return []simnet.Relay{f.Relay()}
		}
		u := packet.UDP(ip.Payload())
		if !u.Valid() || u.DstPort() != esp.PortNATT || esp.Classify(u.Payload()) != esp.KindESP {
			return []simnet.Relay{f.Relay()}
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.active {
			return []simnet.Relay{f.Relay()}
		}
		own, copied := f.Relay(), f.Relay()
		copied.Packet = resent(u, h.at, netip.AddrPortFrom(gateway, esp.PortNATT))
		h.sent += len(copied.Packet)
		if first {
			own.Delay += 30 * time.Millisecond
			return []simnet.Relay{copied, own}
		}
		copied.Delay += 30 * time.Millisecond
		return []simnet.Relay{own, copied}
	})
	return h
}

// resent returns the datagram as one from another endpoint.
func resent(u packet.UDP, from, to netip.AddrPort) []byte {
	b := packet.GetSmall()
	defer b.Release()
	copy(b.Extend(len(u.Payload())), u.Payload())
	packet.PushUDPUnsummed(b, from, to)
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 60, Protocol: packet.ProtocolUDP, Src: from.Addr(), Dst: to.Addr()})
	return slices.Clone(b.Bytes())
}

func (h *thief) set(active bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.active = active
}

func (h *thief) counts() (sent, got int, peak float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent, h.got, h.peak
}

// Shows: MEC-C (draft C.4). Somebody on the way copies each ESP packet of a client and sends it from elsewhere. Copies that come after
// the packets move nothing, and he gets nothing. Copies that come first draw packets to him, never more than three times the octets
// that he has sent, IKE included, and he is never taken for the client. When he stops, the client's next packet, or the one after,
// brings all back; a client that sends nothing has what comes for it a while later. With MOBIKE demanded he achieves nothing either way.
func TestGatewayUnderAttack(t *testing.T) {
	for _, c := range []struct{ first, demanded, silent bool }{
		{first: false}, {first: true}, {first: true, silent: true}, {first: true, demanded: true},
	} {
		inside(t, func(t *testing.T, l *simnet.Lab) {
			cfg := gatewayConfig(t)
			cfg.IKE.NoFollowing = c.demanded
			g := startGateway(t, l.Gateway, cfg)
			plug(l, l.Cafe)
			client := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, nil)
			inner := client.up()
			echo(t, l.Correspondent, service)
			if !exchange(t, l.Laptop, inner, service, 100) {
				t.Fatal("nothing passes")
			}
			h := newThief(l, simnet.LabGateway, c.first)
			home := g.Sessions()[0].Remote
			d := startDownlink(t, l, inner, 10*time.Millisecond) // a hundred times what the client sends
			h.set(true)
			for range 20 {
				exchange(t, l.Laptop, inner, service, 20)
				time.Sleep(200 * time.Millisecond)
			}
			h.set(false)
			sent, got, peak := h.counts()
			t.Logf("%+v: he sent %d octets and got %d, %.2f times that at most", c, sent, got, peak)
			switch moves := c.first && !c.demanded; {
			case sent == 0:
				t.Error("no copy was sent")
			case moves && got == 0:
				t.Error("he got nothing: the attack has not been made")
			case !moves && got != 0:
				t.Errorf("he got %d octets", got)
			case peak > amplification:
				t.Errorf("he got %.2f times what he has sent", peak)
			}
			if c.silent {
				time.Sleep(30 * time.Second)
			} else if exchange(t, l.Laptop, inner, service, 100); !exchange(t, l.Laptop, inner, service, 100) {
				t.Error("nothing passes when the attack is over")
			}
			if at := g.Sessions()[0].Remote; at != home {
				t.Errorf("the client is at %v, was at %v", at, home)
			}
			_, before, _ := h.counts()
			d.end()
			if lost := startDownlink(t, l, inner, 10*time.Millisecond); true {
				time.Sleep(2 * time.Second)
				if sent, lost := lost.end(); lost > 0 || sent < 100 {
					t.Errorf("%d of %d packets are lost when the attack is over", lost, sent)
				}
			}
			if _, after, _ := h.counts(); after != before {
				t.Errorf("he gets %d octets more when the attack is over", after-before)
			}
		})
	}
}
