package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/igmp"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// listener is a mobile node that has asked for broadcasts, and what it hears.
type listener struct {
	*node
	home  netip.Addr
	heard chan string
	asked atomic.Int64 // IGMP queries that have come
	path  link.Path
}

// said is how a packet is told in tests: source, destination, offset and length of its payload.
func said(ip packet.IPv4) string {
	return fmt.Sprintf("%v>%v %d+%d", ip.Src(), ip.Dst(), ip.FragmentOffset(), len(ip.Payload()))
}

// take notes what comes out of the tunnel, as the engine would judge it.
func (n *listener) take(l *tunnel.Listener) link.Receiver {
	return func(b *packet.Batch) {
		for _, p := range b.Bufs {
			if r := l.Take(p); r != packet.NotDropped {
				n.heard <- "dropped: " + r.String()
				continue
			}
			if ip := packet.IPv4(p.Bytes()); ip.Protocol() == igmp.Protocol {
				if group, err := igmp.ParseQuery(ip.Payload()); err != nil || group.IsValid() || ip.TTL() != 1 || ip.Dst() != igmp.AllSystems {
					n.heard <- "no general query: " + said(ip)
				}
				n.asked.Add(1)
				continue
			}
			n.heard <- said(packet.IPv4(p.Bytes()))
		}
		b.Release()
	}
}

// listening registers the home address with the B bit, through the foreign agent on the interface where careOf is the zero Addr.
func listening(t *testing.T, l *simnet.Lab, nic *simnet.NIC, agent, home netip.Addr, networks []netip.Prefix, e mobilenode.Encapsulation) *listener {
	t.Helper()
	n := &listener{home: home, heard: make(chan string, 1000)}
	taken := &tunnel.Listener{Agent: agent, Home: home, Networks: networks, Groups: []netip.Prefix{netip.MustParsePrefix("239.0.0.0/8")}}
	cfg := laptop(t, e)
	cfg.HomeAgent, cfg.HomeAddress, cfg.Broadcasts = agent, home, true
	if careOf := nic.Address().Addr(); careOf.IsValid() {
		cfg.CareOfAddress = careOf
		n.node = newNode(t, l.Laptop, cfg, func(m *node) (stack.Attachment, error) {
			under, err := l.Laptop.Underlay(nic.Index(), careOf)
			if err != nil {
				return nil, err
			}
			a, err := stack.AttachCoLocated(under, home, agent, &m.drops, m.replied, n.take(taken))
			if err == nil {
				a.Listen(taken)
			}
			return a, err
		})
	} else {
		s, heard, ad := agentOn(t, l.Laptop, nic.Index())
		cfg.ForeignAgent, cfg.CareOfAddress = heard.Source, ad.CareOfAddresses[0]
		n.node = newNode(t, l.Laptop, cfg, func(m *node) (stack.Attachment, error) {
			a, err := stack.AttachViaForeignAgent(s, home, heard.Source, heard.Hardware, 1500, m.replied, n.take(taken))
			if err == nil {
				a.Listen(taken)
			}
			return a, err
		})
	}
	n.register()
	accepted, ok := n.wait(10 * time.Second).(mobilenode.Accepted)
	if !ok {
		t.Fatalf("not accepted: %+v", accepted)
	}
	carrier, err := n.attached.Carrier(accepted.Reply.Tunnel())
	if err != nil {
		t.Fatal(err)
	}
	n.path = carrier(link.Protected)
	return n
}

// hears wants exactly these packets, in some order.
func (n *listener) hears(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	time.Sleep(time.Second) // of the bubble's clock
	left := make(map[string]int)
	for _, w := range want {
		left[w]++
	}
	for len(n.heard) > 0 {
		left[<-n.heard]--
	}
	for w, k := range left {
		if k != 0 {
			t.Errorf("%v: %q is missing %d times", n.home, w, k)
		}
	}
}

// broadcastOf returns a UDP datagram of a packet of size octets.
func broadcastOf(src, dst netip.Addr, port uint16, size int) *packet.Buf {
	p := packet.Get(size - packet.IPv4Len - packet.UDPLen)
	clear(p.Extend(size - packet.IPv4Len - packet.UDPLen))
	packet.PushUDP(p, netip.AddrPortFrom(src, 40000), netip.AddrPortFrom(dst, port))
	ttl := uint8(64)
	if dst.IsMulticast() {
		ttl = 1 // it leads no further than its link, of which mobile nodes are a part
	}
	packet.PushIPv4(p, packet.IPv4Fields{TTL: ttl, Protocol: packet.ProtocolUDP, Src: src, Dst: dst})
	return p
}

// Shows: MIP-11 (broadcasts and link groups of an on-link home network: as they are into the tunnel of a co-located care-of address,
// nested through a foreign agent; those of mobile nodes go to the others and onto the link; what is not handed on; the limit)
func TestBroadcastsOfHomeLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, server, peer := homeLinkLab(t)
		cfg := onHomeLink(t, "home0")
		other := netip.MustParseAddr("10.1.0.51")
		cfg.Broadcasts = true
		cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: other, Associations: internal(t).MobileNodes[0].Associations})
		a := startHomeAgent(t, server, cfg)
		startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.Office)
		l.Plug(l.Wlan0, l.OfficeFA)
		time.Sleep(100 * time.Millisecond)
		networks := []netip.Prefix{homeLinkNetwork}
		near := listening(t, l, l.Eth0, homeLinkAgent, homeLinkNode, networks, mobilenode.EncapsulationIPIP)
		far := listening(t, l, l.Wlan0, homeLinkAgent, other, networks, mobilenode.EncapsulationAuto)

		station := homeLinkPeer.Addr()
		for _, n := range []*listener{near, far} { // the lab's firewall lets tunnels in that it has seen from inside
			if err := n.path.Send(packet.One(broadcastOf(n.home, station, 9, 100))); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		for _, n := range []*listener{near, far} {
			for len(n.heard) > 0 { // that nobody listens there
				<-n.heard
			}
		}
		onLink := make(chan string, 1000)
		frames, err := peer.OpenFrames(peer.NICs()[0].Index(), func(b *packet.Batch) {
			for _, p := range b.Bufs {
				onLink <- said(packet.IPv4(p.Bytes()))
			}
			b.Release()
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = frames.Close() }()
		send := func(p *packet.Buf) {
			p.Hardware = packet.GroupHardware(packet.IPv4(p.Bytes()).Dst())
			if err := frames.Out(link.Protected).Send(packet.One(p)); err != nil {
				t.Fatal(err)
			}
		}
		all := []netip.Addr{limitedBroadcast, netip.MustParseAddr("10.1.0.255"), netip.MustParseAddr("224.0.0.251")}
		var want []string
		for _, dst := range all {
			send(broadcastOf(station, dst, 9, 200))
			want = append(want, fmt.Sprintf("%v>%v 0+180", station, dst))
		}

		near.hears(t, want...)
		far.hears(t, want...)

		// What does not fit is cut before it is nested, and none of it is told of.
		send(broadcastOf(station, limitedBroadcast, 9, 1500))
		near.hears(t, station.String()+">255.255.255.255 0+1456", station.String()+">255.255.255.255 1456+24")
		far.hears(t, station.String()+">255.255.255.255 0+1440", station.String()+">255.255.255.255 1440+40")

		// Neither other groups, nor DHCP and registrations, nor other protocols, nor what has no source.
		send(broadcastOf(station, netip.MustParseAddr("239.255.255.250"), 9, 200))
		send(broadcastOf(station, limitedBroadcast, 67, 200))
		send(broadcastOf(station, limitedBroadcast, 434, 200))
		send(broadcastOf(netip.IPv4Unspecified(), limitedBroadcast, 9, 200))
		ping := packet.Get(8)
		clear(ping.Extend(8))
		packet.PushIPv4(ping, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: station, Dst: limitedBroadcast})
		send(ping)
		near.hears(t)
		far.hears(t)

		// One of them sends: the other hears it, and the link.
		for len(onLink) > 0 {
			<-onLink
		}
		if err := near.path.Send(packet.One(broadcastOf(homeLinkNode, all[1], 9, 200))); err != nil {
			t.Fatal(err)
		}
		sent := homeLinkNode.String() + ">10.1.0.255 0+180"
		far.hears(t, sent)
		near.hears(t)
		if got := <-onLink; got != sent || len(onLink) != 0 {
			t.Errorf("on the link: %q and %d more, want %q alone", got, len(onLink), sent)
		}

		// A storm does not fill tunnels.
		for range 900 {
			send(broadcastOf(station, limitedBroadcast, 9, 100))
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if n := len(near.heard); n < broadcastBurst/2 || n > broadcastBurst+broadcastsPerSecond {
			t.Errorf("%d of 900 broadcasts were handed on, at most %d at once are expected", n, broadcastBurst)
		}
		for len(near.heard)+len(far.heard) > 0 {
			select {
			case <-near.heard:
			case <-far.heard:
			}
		}
		near.deregister()
		if e, ok := near.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("not deregistered: %+v", e)
		}
		time.Sleep(5 * time.Second)
		send(broadcastOf(station, limitedBroadcast, 9, 200))
		near.hears(t)
		far.hears(t, station.String()+">255.255.255.255 0+180")
		if n := a.Table().Len(); n != 1 {
			t.Errorf("%d bindings", n)
		}
	})
}

// Shows: MIP-11 (a virtual home network: broadcasts of one mobile node go to the others of its network that have asked; without the
// configuration to nobody)
func TestBroadcastsOfVirtualHomeNetwork(t *testing.T) {
	for _, granted := range []bool{true, false} {
		t.Run(fmt.Sprintf("granted %t", granted), func(t *testing.T) {
			inside(t, func(t *testing.T, l *simnet.Lab) {
				cfg := internal(t)
				other := simnet.LabHomeAddress.Next()
				cfg.Broadcasts = granted
				cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: other, Associations: internal(t).MobileNodes[0].Associations})
				startHomeAgent(t, l.InternalHA, cfg)
				startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
				plug(l, l.Office)
				l.Plug(l.Wlan0, l.OfficeFA)
				time.Sleep(100 * time.Millisecond)
				networks := []netip.Prefix{simnet.LabHomeNetwork}
				near := listening(t, l, l.Eth0, simnet.LabInternalHA, simnet.LabHomeAddress, networks, mobilenode.EncapsulationUDP)
				far := listening(t, l, l.Wlan0, simnet.LabInternalHA, other, networks, mobilenode.EncapsulationAuto)
				if err := near.path.Send(packet.One(broadcastOf(near.home, limitedBroadcast, 9, 200))); err != nil {
					t.Fatal(err)
				}
				var want []string
				if granted {
					want = []string{near.home.String() + ">255.255.255.255 0+180"}
				}
				far.hears(t, want...)
				near.hears(t)
			})
		})
	}
}

// Shows: MIP-11 (broadcasts do not pass by the policy of an external home agent)
func TestBroadcastsAndPolicy(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := external(t)
		cfg.Broadcasts, cfg.PermittedGateways = true, []netip.Addr{simnet.LabGateway}
		a, err := StartHomeAgent(l.ExternalHA, cfg, zap.NewNop())
		if err == nil {
			_ = a.Close()
		}
		if !errors.Is(err, homeagent.ErrConfig) || !errors.Is(cfg.Check(), homeagent.ErrConfig) {
			t.Errorf("start: %v, check: %v, want an unusable configuration", err, cfg.Check())
		}
	})
}
