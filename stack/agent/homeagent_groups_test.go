package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/igmp"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	groupA = netip.MustParseAddr("239.1.2.3")
	groupB = netip.MustParseAddr("239.9.9.9")
)

// says sends what a mobile node's IP layer tells of its groups into its tunnel.
func (n *listener) says(t *testing.T, list ...igmp.Report) {
	t.Helper()
	if err := n.path.Send(packet.One(igmp.Packet(n.home, igmp.AllReports, igmp.AppendReport(nil, list)))); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
}

// forget passes over what has been heard so far.
func (n *listener) forget() {
	synctest.Wait()
	for len(n.heard) > 0 {
		<-n.heard
	}
}

// member has a host be a member of a group on its wire, and returns what it hears there.
func member(t *testing.T, h *simnet.Host, group netip.Addr) (heard chan string, send func(*packet.Buf)) {
	t.Helper()
	index := h.NICs()[0].Index()
	l, err := h.OpenHomeLink(index, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Join(group); err != nil {
		t.Fatal(err)
	}
	heard = make(chan string, 1000)
	frames, err := h.OpenFrames(index, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			if ip := packet.IPv4(p.Bytes()); ip.Dst().IsMulticast() {
				heard <- said(ip)
			}
		}
		b.Release()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = frames.Close()
		_ = l.Close()
	})
	return heard, func(p *packet.Buf) {
		t.Helper()
		p.Hardware = packet.GroupHardware(packet.IPv4(p.Bytes()).Dst())
		if err := frames.Out(link.Protected).Send(packet.One(p)); err != nil {
			t.Fatal(err)
		}
	}
}

// The home link snoops, so that the home agent hears of a group only while it is a member there itself.
//
// Shows: MIP-11 (groups of an on-link home network, joined by IGMP through the tunnel: co-located, and through a foreign agent, which
// sees unicast datagrams alone; sent to by mobile nodes; left; membership that ages when nobody answers the home agent's queries, and
// goes with the binding)
func TestGroupsOfHomeLink(t *testing.T) {
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
		onLink, send := member(t, peer, groupA)
		station := homeLinkPeer.Addr()
		from := func(src netip.Addr, group netip.Addr) string { return fmt.Sprintf("%v>%v 0+180", src, group) }

		// Both join, and one of them what nobody sends to.
		for _, n := range []*listener{near, far} {
			n.says(t, igmp.Report{Group: groupA, Member: true})
		}
		near.says(t, igmp.Report{Group: groupB, Member: true})
		send(broadcastOf(station, groupA, 9, 200))
		near.hears(t, from(station, groupA))
		far.hears(t, from(station, groupA))
		send(broadcastOf(station, netip.MustParseAddr("239.1.2.4"), 9, 200))
		near.hears(t)
		far.hears(t)

		// What mobile nodes send to a group goes to its other members and onto the link.
		for len(onLink) > 0 {
			<-onLink
		}
		for _, pair := range [][2]*listener{{near, far}, {far, near}} {
			if err := pair[0].path.Send(packet.One(broadcastOf(pair[0].home, groupA, 9, 200))); err != nil {
				t.Fatal(err)
			}
			pair[1].hears(t, from(pair[0].home, groupA))
			pair[0].hears(t)
			got := ""
			if len(onLink) > 0 {
				got = <-onLink
			}
			if got != from(pair[0].home, groupA) || len(onLink) != 0 {
				t.Errorf("on the link: %q and %d more", got, len(onLink))
			}
		}

		// Both are asked again and again; one of them answers. Whoever does not is no member after 260 s.
		before := far.asked.Load()
		for range 3 {
			near.says(t, igmp.Report{Group: groupA, Member: true})
			time.Sleep(100 * time.Second)
		}
		if asked := far.asked.Load() - before; asked < 2 || asked > 4 {
			t.Errorf("asked %d times in 300 s, want about every %v", asked, igmp.QueryInterval)
		}
		near.forget()
		far.forget()
		send(broadcastOf(station, groupA, 9, 200))
		near.hears(t, from(station, groupA))
		far.hears(t)
		send(broadcastOf(station, groupB, 9, 200)) // nobody has said anything of that since
		near.hears(t)

		// The last one leaves, and the home agent with it.
		near.says(t, igmp.Report{Group: groupA, Member: false})
		send(broadcastOf(station, groupA, 9, 200))
		near.hears(t)
		near.says(t, igmp.Report{Group: groupA, Member: true})
		near.deregister()
		if e, ok := near.wait(5 * time.Second).(mobilenode.Deregistered); !ok {
			t.Fatalf("not deregistered: %+v", e)
		}
		time.Sleep(time.Second)
		if got := a.broadcasting.groups.Members(groupA); len(got) != 0 {
			t.Errorf("members after deregistration: %v", got)
		}
	})
}

// Shows: MIP-11 (groups within a virtual home network)
func TestGroupsOfVirtualHomeNetwork(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		other := simnet.LabHomeAddress.Next()
		cfg.Broadcasts = true
		cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{HomeAddress: other, Associations: internal(t).MobileNodes[0].Associations})
		a := startHomeAgent(t, l.InternalHA, cfg)
		startForeignAgent(t, l.InternalFA, simnet.LabInternalFA)
		plug(l, l.Office)
		l.Plug(l.Wlan0, l.OfficeFA)
		time.Sleep(100 * time.Millisecond)
		networks := []netip.Prefix{simnet.LabHomeNetwork}
		near := listening(t, l, l.Eth0, simnet.LabInternalHA, simnet.LabHomeAddress, networks, mobilenode.EncapsulationUDP)
		far := listening(t, l, l.Wlan0, simnet.LabInternalHA, other, networks, mobilenode.EncapsulationAuto)
		send := func(n *listener, group netip.Addr, size int) {
			if err := n.path.Send(packet.One(broadcastOf(n.home, group, 9, size))); err != nil {
				t.Fatal(err)
			}
		}
		send(near, groupA, 200)
		far.hears(t)
		far.says(t, igmp.Report{Group: groupA, Member: true})
		send(near, groupA, 200)
		send(near, groupB, 200)
		far.hears(t, near.home.String()+">239.1.2.3 0+180")
		near.hears(t)

		// What a foreign agent's tunnel has no room for with another header is fragmented first.
		near.says(t, igmp.Report{Group: groupA, Member: true})
		send(far, groupA, 1500)
		near.hears(t, far.home.String()+">239.1.2.3 0+1424", far.home.String()+">239.1.2.3 1424+56")

		// A flood goes no further than the limit.
		flood, passed := broadcastOf(near.home, groupA, 9, 100), 0
		defer flood.Release()
		for range 3 * groupBurst {
			if a.handOver(a.domainOf(near.home), packet.IPv4(flood.Bytes()), false) == packet.NotDropped {
				passed++
			}
		}
		if passed != groupBurst {
			t.Errorf("%d of %d datagrams were handed on at once, want %d", passed, 3*groupBurst, groupBurst)
		}
		far.forget()
	})
}

// Shows: MIP-11 (who has not asked for broadcasts, or sends what is no report, joins nothing; nothing but groups and broadcasts comes in
// a second tunnel to the home agent)
func TestGroupsRefused(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := internal(t)
		cfg.Broadcasts = true
		a := startHomeAgent(t, l.InternalHA, cfg)
		plug(l, l.Office)
		near := listening(t, l, l.Eth0, simnet.LabInternalHA, simnet.LabHomeAddress, []netip.Prefix{simnet.LabHomeNetwork}, mobilenode.EncapsulationIPIP)
		dropped := func(what string, p *packet.Buf) {
			t.Helper()
			before := a.Drops().Of(packet.DropPolicy)
			if err := near.path.Send(packet.One(p)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(time.Second)
			if got := a.Drops().Of(packet.DropPolicy) - before; got != 1 {
				t.Errorf("%s: %d packets dropped by policy, want 1; drops %v", what, got, a.Drops().Snapshot())
			}
			if got := a.broadcasting.groups.Members(groupA); len(got) != 0 {
				t.Errorf("%s: members %v", what, got)
			}
		}
		dropped("a query", igmp.Packet(near.home, igmp.AllSystems, igmp.AppendQuery(nil)))
		nested := func(src, dst netip.Addr) *packet.Buf {
			p := broadcastOf(src, dst, 9, 100)
			packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolIPIP, Src: near.home, Dst: simnet.LabInternalHA})
			return p
		}
		dropped("a nested packet for somebody", nested(near.home, simnet.LabCorrespondent))
		dropped("a nested packet from somebody else", nested(simnet.LabHomeAddress.Next(), groupA))
	})
}
