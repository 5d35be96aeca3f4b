package ike

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

var (
	tcpClient  = netip.AddrPortFrom(clientAddr, 40001)
	tcpGateway = netip.AddrPortFrom(gatewayAddr, portNATT)
)

func inTCP(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
	i.Local, i.Remote, i.TCP = tcpClient, tcpGateway, true
	i.ForceUDPEncapsulation = true // says nothing in TCP
}

// Shows: IKE-6. Set-up in TCP through a NAT: no change of ports, no keepalive, no fragment, no repetition.
func TestTCP(t *testing.T) {
	p := newPair(t, 1, inTCP, large, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Liveness, r.Liveness = time.Minute, time.Minute
	})
	p.start()
	p.driveFor(10 * time.Minute)
	p.agree(1)
	for _, f := range p.seen {
		if !f.TCP || f.Keepalive || f.Local != tcpClient && f.Remote != tcpClient {
			t.Errorf("%s goes from %v to %v, TCP %t", f.text, f.Local, f.Remote, f.TCP)
		}
	}
	if n := len(p.fragments(p.a)) + len(p.fragments(p.b)); n != 0 {
		t.Errorf("%d fragments were sent", n)
	}
	if p.a.m.fragmentSize == 0 || p.b.m.fragmentSize == 0 {
		t.Error("fragmentation is to be agreed on, for other networks (RFC 9329 §7.5)")
	}
	for _, e := range []*end{p.a, p.b} {
		up, _ := find[Established](e.events)
		child, _ := find[ChildInstalled](e.events)
		if !up.TCP || up.UDPEncapsulation || !child.TCP || child.UDPEncapsulation {
			t.Errorf("%s: %+v", e.name, up)
		}
	}
	if !slices.ContainsFunc(p.seen, func(f flight) bool { return f.text == "A INFORMATIONAL request 2:" }) {
		t.Errorf("no liveness check: %s", p.trace())
	}
	p.seen = nil
	p.lose = func(flight) bool { return true }
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	if p.a.closed == nil || len(p.seen) != 1 && p.seen[1].from == p.a {
		t.Errorf("the client ends with %v after %d messages", p.a.closed, len(p.seen))
	}
}

// Shows: IKE-6. RFC 9329 §6.1: the SAs go on in another connection, and what was outstanding at either end is sent again in it.
func TestTCPReconnects(t *testing.T) {
	p := established(t, 1, inTCP)
	before := slices.Collect(func(yield func(ChildID) bool) {
		for id := range p.b.children {
			yield(id)
		}
	})
	p.lose = func(flight) bool { return true } // the connection is broken
	for _, e := range []*end{p.a, p.b} {
		if err := e.m.RekeyIKE(p.now); err != nil {
			t.Fatal(err)
		}
	}
	p.drain()
	p.driveFor(5 * time.Second)
	p.lose = nil
	next := netip.MustParseAddrPort("198.51.100.9:50000")
	if err := p.a.m.UseTCP(p.now, next, tcpGateway); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
	moved, ok := find[EndpointChanged](p.b.events)
	if !ok || moved.Update.Remote() != next || !moved.Update.TCP() || !moved.Update.Proven() || !moved.Update.Concerns(before[0]) {
		t.Errorf("the gateway: %+v", moved)
	}
	if p.b.m.remote != next || p.a.m.local != next {
		t.Errorf("endpoints: %v, %v", p.a.m.local, p.b.m.remote)
	}
	p.seen = nil
	if err := p.b.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	if p.seen[0].Remote != next || !p.seen[0].TCP {
		t.Errorf("the gateway sends to %v", p.seen[0].Remote)
	}
}

// A repetition of an old message in another connection, and a message in UDP, do not lead the gateway astray.
func TestTCPFollowsFreshMessagesOnly(t *testing.T) {
	p := established(t, 1, inTCP)
	old := p.seen[2]
	wrong := netip.MustParseAddrPort("203.0.113.66:1")
	d := Datagram{Local: tcpGateway, Remote: wrong, Payload: slices.Clone(old.Payload), TCP: true}
	_ = p.b.m.HandleDatagram(p.now, d)
	p.drain()
	p.queue = nil
	if p.b.m.remote != tcpClient {
		t.Fatalf("after a repetition the gateway sends to %v", p.b.m.remote)
	}
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	f := p.queue[0]
	p.queue = nil
	if err := p.b.m.HandleDatagram(p.now, Datagram{Local: tcpGateway, Remote: wrong, Payload: f.Payload}); err != nil {
		t.Fatal(err)
	}
	if p.b.m.remote != tcpClient || !p.b.m.tcp {
		t.Errorf("after a message in UDP the gateway sends to %v", p.b.m.remote)
	}
}

// Shows: IKE-6. RFC 9329 §6.4: a refusal of IKE_SA_INIT in TCP is final at once.
func TestTCPRefused(t *testing.T) {
	p := newPair(t, 1, inTCP, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Proposals.PRFs, r.Proposals.PRFs = []suite.PRF{suite.PRFHMACSHA256}, []suite.PRF{suite.PRFHMACSHA512}
	})
	p.start()
	p.driveFor(0)
	if !errors.Is(p.a.closed, &NotifyError{Type: message.NoProposalChosen}) {
		t.Errorf("closed with %v", p.a.closed)
	}
	if err := p.a.m.UseTCP(p.now, tcpClient, tcpGateway); !errors.Is(err, ErrClosed) {
		t.Errorf("a dead machine reconnects: %v", err)
	}
	p = established(t, 1)
	if err := p.a.m.UseTCP(p.now, tcpClient, tcpGateway); !errors.Is(err, ErrUnexpected) {
		t.Errorf("a machine in UDP reconnects: %v", err)
	}
}

// Shows: IKE-6, IKE-7. RFC 9329 §7.1: with MOBIKE the transport changes under the same SAs, to TCP when UDP does not pass, and
// back when a test over UDP was answered.
func TestTCPAndUDP(t *testing.T) {
	p := established(t, 1, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.MOBIKE, r.MOBIKE = &MOBIKE{}, &MOBIKE{}
	})
	if err := p.a.m.TryUDP(p.now); !errors.Is(err, ErrUnexpected) {
		t.Errorf("out of UDP: %v", err)
	}
	blocked := true
	p.lose = func(f flight) bool { return blocked && !f.TCP }
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(5 * time.Second)
	if err := p.a.m.UseTCP(p.now, tcpClient, tcpGateway); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
	for _, e := range []*end{p.a, p.b} {
		moved, ok := find[EndpointChanged](e.events)
		if !ok || !moved.Update.TCP() || moved.Update.UDPEncapsulation() || !moved.Update.Proven() {
			t.Errorf("%s: %+v", e.name, moved.Update)
		}
		e.events = nil
	}

	for _, passes := range []bool{false, true} {
		blocked = !passes
		if err := p.a.m.TryUDP(p.now); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
		p.agree(1)
		for _, e := range []*end{p.a, p.b} {
			moved, ok := find[EndpointChanged](e.events)
			if ok != passes || e.m.tcp == passes || passes && (moved.Update.TCP() || moved.Update.Remote().Port() != portNATT) {
				t.Errorf("%s, UDP passes: %t: %+v, %v", e.name, passes, moved.Update, e.m.path())
			}
		}
	}
}
