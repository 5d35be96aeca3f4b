package ike

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
)

// Shows: IKE-7. MOBIKE is negotiated when both ends support it: then everything is on port 4500 though no NAT is there, and
// each end knows the other's addresses.
func TestMOBIKENegotiation(t *testing.T) {
	r := newRoaming(t, 1, []netip.Addr{wired, wireless}, []netip.Addr{gatewayAddr, gateway2, gateway6})
	r.start()
	r.drive()
	r.meet(1, wired, gatewayAddr)
	for _, e := range []*end{r.a, r.b} {
		if up, _ := find[Established](e.events); !up.MOBIKE || up.Local.Port() != portNATT || up.Remote.Port() != portNATT || up.UDPEncapsulation {
			t.Errorf("%s: %+v", e.name, up)
		}
	}
	if got, want := names(r.a.m.mobike.peers...), names(gatewayAddr, gateway2, gateway6); got != want {
		t.Errorf("A knows %s, want %s", got, want)
	}
	if got, want := names(r.b.m.mobike.peers...), names(wired, wireless); got != want {
		t.Errorf("B knows %s, want %s", got, want)
	}

	for name, off := range map[string]option{
		"gateway": func(_ *InitiatorConfig, c *ResponderConfig, _ *testPolicy) { c.MOBIKE = nil },
		"client":  func(c *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { c.MOBIKE = nil },
	} {
		r := connected(t, 1, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, off)
		if r.a.m.mobike.on || r.b.m.mobike.on {
			t.Errorf("%s without MOBIKE: in use", name)
		}
		for _, e := range []*end{r.a, r.b} {
			if err := e.m.SetAddresses(r.now, []netip.Addr{wireless}); !errors.Is(err, ErrNoMOBIKE) {
				t.Errorf("%s without MOBIKE: %s: %v", name, e.name, err)
			}
		}
	}
}

// Shows: IKE-6, IKE-7. The client moves between networks with NAT and without, to another NAT and to IPv6 and back; IKE and
// child SAs follow on both ends with one update each, and ESP is in UDP just where a NAT is.
func TestMOBIKEMoves(t *testing.T) {
	for _, policy := range []Routability{CheckAfter, CheckBefore, CheckNever} {
		r := connected(t, 2, []netip.Addr{wired}, []netip.Addr{gatewayAddr, gateway6}, func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
			i.MOBIKE.Routability, g.MOBIKE.Routability = policy, policy
		})
		for _, to := range []netip.Addr{wireless, wired, cellular, wireless, cellular, wired6, wired, wireless, wired6, cellular} {
			r.log, r.seen = nil, nil
			r.move(to)
			r.driveFor(20 * time.Second)
			at := gatewayAddr
			if to.Is6() {
				at = gateway6
			}
			r.meet(1, to, at)
			if n := len(r.requests(r.a, "N(UPDATE_SA_ADDRESSES)")); n != 1 {
				t.Fatalf("to %v: %d updates\n%s", to, n, r.trace())
			}
			for _, e := range []*end{r.a, r.b} {
				if ev := last[EndpointChanged](e.events); !ev.Update.Proven() {
					t.Errorf("to %v: %s's endpoint is not proven", to, e.name)
				}
			}
		}
	}
}

func last[T Event](events []Event) (v T) {
	for _, e := range events {
		if w, ok := e.(T); ok {
			v = w
		}
	}
	return v
}

// Shows: IKE-7 (COOKIE2). What is unpredictable in the question has to be in the answer: the IKE SA is closed otherwise, by
// either end.
func TestMOBIKECookie2(t *testing.T) {
	for name, answer := range map[string][]message.Payload{
		"another": {message.Notify{Message: message.Cookie2, Data: make([]byte, 32)}},
		"none":    nil,
		"short":   {message.Notify{Message: message.Cookie2, Data: []byte{1}}},
	} {
		for _, closing := range []string{"A", "B"} {
			r := connected(t, 3, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
			r.move(wireless)
			e := r.a
			if closing == "B" {
				e = r.b
				for r.b.m.current.exchange == nil { // until it has taken the update and asks
					r.next()
				}
			}
			if err := r.answerWith(e, answer...); !errors.Is(err, ErrCookie2) || !errors.Is(e.closed, ErrCookie2) {
				t.Errorf("%s, %s: %v, closed with %v", closing, name, err, e.closed)
			}
		}
	}
}

// A COOKIE2 is copied as it is, in a length that the standard allows.
func TestMOBIKECopiesCookie2(t *testing.T) {
	for n, want := range map[int]bool{0: false, 7: false, 8: true, 64: true, 65: false} {
		r := connected(t, 4, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
		s := r.b.m.current
		own := message.Notify{Message: message.Cookie2, Data: bytes.Repeat([]byte{7}, n)}
		wire, err := s.seal(s.header(message.Informational, s.nextID, false), []message.Payload{own})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.a.m.HandleDatagram(r.now, Datagram{Local: r.a.m.local, Remote: r.a.m.remote, Payload: wire}); err != nil {
			t.Fatal(err)
		}
		r.drain()
		got, ok := r.notify(r.queue[0], message.Cookie2)
		if ok != want || ok && !bytes.Equal(got.Data, own.Data) {
			t.Errorf("%d octets: answered with %x, %t", n, got.Data, ok)
		}
	}
}

// Shows: IKE-7. With CheckBefore a gateway's child SAs stay until the client has answered from its new address, with
// CheckAfter they follow at once and are marked as not proven, with CheckNever they follow without a check.
func TestMOBIKERoutability(t *testing.T) {
	for policy, want := range map[Routability][]bool{CheckBefore: {true}, CheckAfter: {false, true}, CheckNever: {true}} {
		r := connected(t, 5, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, func(_ *InitiatorConfig, g *ResponderConfig, _ *testPolicy) { g.MOBIKE.Routability = policy })
		r.move(wireless)
		r.driveFor(time.Second)
		var got []bool
		for _, e := range r.b.events {
			if u, ok := e.(EndpointChanged); ok {
				got = append(got, u.Update.Proven())
			}
		}
		if len(got) != len(want) || got[0] != want[0] {
			t.Errorf("%v: updates proven %v, want %v", policy, got, want)
		}
		if checks := len(r.requests(r.b, "N(COOKIE2)")); (checks == 1) != (policy != CheckNever) || checks > 1 {
			t.Errorf("%v: %d checks", policy, checks)
		}
		r.meet(1, wireless, gatewayAddr)

		// Where it has been before it needs no check.
		r.seen = nil
		r.move(wired)
		r.driveFor(time.Second)
		r.meet(1, wired, gatewayAddr)
		if checks := len(r.requests(r.b)); checks != 0 {
			t.Errorf("%v: %d checks of an address that has been proven", policy, checks)
		}
	}
}

// Shows: IKE-7 (NO_NATS_ALLOWED). Without a NAT it works, on port 500 since there is no NAT traversal; with one IKE_AUTH is
// refused, and a move behind one is refused again and again, and then taken back.
func TestMOBIKENoNATs(t *testing.T) {
	prohibit := func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
		i.MOBIKE.NoNATs, g.MOBIKE.NoNATs = true, true
	}
	r := newRoaming(t, 6, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, prohibit)
	r.start()
	r.drive()
	if want := (&NotifyError{Type: message.UnexpectedNATDetected}); !errors.Is(r.a.closed, want) || !errors.Is(r.b.closed, want) {
		t.Errorf("behind a NAT: A %v, B %v", r.a.closed, r.b.closed)
	}

	r = newRoaming(t, 6, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, prohibit)
	r.start()
	r.drive()
	r.agree(1)
	if r.a.m.local.Port() != portIKE || r.a.m.natTraversal || r.b.m.natTraversal {
		t.Errorf("port %d, NAT traversal %t and %t", r.a.m.local.Port(), r.a.m.natTraversal, r.b.m.natTraversal)
	}
	r.seen = nil
	r.move(wireless, wired) // wireless is preferred, but does not do
	r.driveFor(time.Minute)
	if got, ok := find[PathRefused](r.a.events); !ok || got.Local.Addr() != wireless || !errors.Is(got.Err, &NotifyError{Type: message.UnexpectedNATDetected}) {
		t.Errorf("%+v, %t\n%s", got, ok, r.trace())
	}
	if n := len(r.requests(r.a, "N(UPDATE_SA_ADDRESSES)", "N(NO_NATS_ALLOWED)")); n != 1+r.a.m.cfg.Retransmission.RefusedTries+1 {
		t.Errorf("%d updates", n)
	}
	r.agree(1)
	if got := r.a.m.path(); got.local.Addr() != wired || r.b.m.remote.Addr() != wired {
		t.Errorf("A uses %v, B %v\n%s", got, r.b.m.path(), r.trace())
	}
}

// An update without NO_NATS_ALLOWED is refused where NATs are prohibited, and one with other addresses than its header's
// everywhere.
func TestMOBIKETranslated(t *testing.T) {
	at := Datagram{Local: netip.AddrPortFrom(gatewayAddr, 500), Remote: netip.AddrPortFrom(wired, 500)}
	at6 := Datagram{Local: netip.AddrPortFrom(gateway6, 500), Remote: netip.AddrPortFrom(wired6, 500)}
	with := func(source, destination netip.AddrPort) []message.Payload {
		return []message.Payload{message.Notify{Message: message.NoNATsAllowed, Data: pathOctets(source, destination)}}
	}
	if got := pathOctets(at.Remote, at.Local); !bytes.Equal(got, []byte{198, 51, 100, 20, 192, 0, 2, 10, 1, 244, 1, 244}) {
		t.Errorf("NO_NATS_ALLOWED %v (RFC 4555 §4.2.6)", got)
	}
	if got := pathOctets(at6.Remote, at6.Local); len(got) != 36 {
		t.Errorf("NO_NATS_ALLOWED of %d octets for IPv6", len(got))
	}
	for _, c := range []struct {
		name     string
		at       Datagram
		payloads []message.Payload
		prohibit bool
		want     bool
	}{
		{"fits", at, with(at.Remote, at.Local), true, false},
		{"fits, IPv6", at6, with(at6.Remote, at6.Local), false, false},
		{"address", at, with(netip.AddrPortFrom(wireless, 500), at.Local), false, true},
		{"port", at, with(netip.AddrPortFrom(wired, 501), at.Local), true, true},
		{"destination", at, with(at.Remote, netip.AddrPortFrom(gateway2, 500)), true, true},
		{"family", at, with(at6.Remote, at6.Local), true, true},
		{"empty", at, []message.Payload{message.Notify{Message: message.NoNATsAllowed}}, false, true},
		{"none", at, nil, true, true},
		{"none, NATs allowed", at, nil, false, false},
	} {
		m := &Machine{cfg: Config{MOBIKE: &MOBIKE{NoNATs: c.prohibit}}, arrived: c.at}
		if got := m.translated(c.payloads); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

// Shows: IKE-7 (UNACCEPTABLE_ADDRESSES). The gateway takes no client from one network: the client tries its next path, goes
// back to the last one where there is none, and ends where it has nothing left.
func TestMOBIKEUnacceptable(t *testing.T) {
	refuse := func(bad ...netip.Addr) option {
		return func(_ *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
			g.MOBIKE.Acceptable = func(_, remote netip.Addr) bool {
				for _, b := range bad {
					if remote == b {
						return false
					}
				}
				return true
			}
		}
	}
	want := &NotifyError{Type: message.UnacceptableAddresses}

	r := connected(t, 7, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, refuse(homeNAT))
	r.move(wireless, cellular)
	r.driveFor(time.Minute)
	r.meet(1, cellular, gatewayAddr)
	if got, ok := find[PathRefused](r.a.events); !ok || got.Local.Addr() != wireless || !errors.Is(got.Err, want) {
		t.Errorf("%+v, %t", got, ok)
	}

	r = connected(t, 7, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, refuse(homeNAT))
	r.move(wireless, wired)
	r.driveFor(time.Minute)
	r.meet(1, wired, gatewayAddr)

	r = connected(t, 7, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, refuse(homeNAT, cellNAT))
	r.move(wireless, cellular)
	r.driveFor(time.Minute)
	if !errors.Is(r.a.closed, want) {
		t.Errorf("closed with %v\n%s", r.a.closed, r.trace())
	}
	if got, ok := find[EndpointChanged](r.b.events); ok {
		t.Errorf("the gateway moved to %v", got.Update.Remote())
	}
}

// Shows: IKE-7, IKE-10. While an update is outstanding the client moves on, twice: what is outstanding is repeated with the
// same octets from the new address, its answer moves nothing, and one more update tells where the client is.
func TestMOBIKEMovesWhileUpdating(t *testing.T) {
	r := connected(t, 8, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	r.lose = func(flight) bool { return true }
	r.move(wireless)
	r.driveFor(400 * time.Millisecond)
	r.move(cellular)
	first, second := r.seen[0], r.seen[len(r.seen)-1]
	if !bytes.Equal(first.Payload, second.Payload) || second.Local.Addr() != cellular || first.Local.Addr() != wireless {
		t.Fatalf("%v from %v, then %v from %v: want the same octets", first.text, first.Local, second.text, second.Local)
	}
	if n := len(r.requests(r.a)); n != 1 {
		t.Fatalf("%d requests outstanding, want one\n%s", n, r.trace())
	}
	r.move(wired)
	r.lose = nil
	r.driveFor(10 * time.Second)
	r.meet(1, wired, gatewayAddr)
	if n := len(r.requests(r.a, "N(UPDATE_SA_ADDRESSES)")); n != 2 {
		t.Errorf("%d updates\n%s", n, r.trace())
	}
}

// Shows: IKE-7, IKE-8. An update that comes late, or twice, moves nothing: neither from where it was sent nor from elsewhere.
func TestMOBIKEOrder(t *testing.T) {
	r := connected(t, 9, []netip.Addr{wired}, []netip.Addr{gatewayAddr})
	r.move(wireless)
	old := r.queue[0]
	r.driveFor(5 * time.Second)
	r.move(cellular)
	r.driveFor(5 * time.Second)
	r.meet(1, cellular, gatewayAddr)
	r.b.events = nil
	for _, from := range []netip.AddrPort{r.seenFrom(wireless), r.seenFrom(cellular), netip.MustParseAddrPort("203.0.113.66:4500")} {
		err := r.b.m.HandleDatagram(r.now, Datagram{Local: r.b.m.local, Remote: from, Payload: bytes.Clone(old.Payload)})
		if !errors.Is(err, ErrMessageID) {
			t.Errorf("from %v: %v", from, err)
		}
	}
	// The last one again, by somebody who has seen it: it is answered, and nothing moves.
	for _, f := range r.requests(r.a) {
		_ = r.b.m.HandleDatagram(r.now, Datagram{Local: r.b.m.local, Remote: netip.MustParseAddrPort("203.0.113.66:4500"), Payload: bytes.Clone(f.Payload)})
	}
	r.drain()
	r.queue = nil
	if ev, ok := find[EndpointChanged](r.b.events); ok {
		t.Errorf("moved to %v", ev.Update.Remote())
	}
	r.meet(1, cellular, gatewayAddr)
}

// Under MOBIKE a fresh message that is no update moves nothing (RFC 4555 §3.8), wherever it comes from.
func TestMOBIKEMessagesMoveNothing(t *testing.T) {
	r := connected(t, 10, []netip.Addr{wireless}, []netip.Addr{gatewayAddr})
	r.ports[homeNAT] = 40000
	if err := r.a.m.RekeyChild(r.now, 1); err != nil {
		t.Fatal(err)
	}
	r.drain()
	r.next()
	if ev, ok := find[EndpointChanged](r.b.events); ok {
		t.Errorf("moved to %v", ev.Update.Remote())
	}
	if f := r.queue[0]; f.Remote.Port() != 40000 {
		t.Errorf("answered to %v, not to where the request came from", f.Remote)
	}
}

// Shows: IKE-6. A NAT gives the client another port: the liveness check shows it, and an update follows.
func TestMOBIKEMappingChanges(t *testing.T) {
	r := connected(t, 11, []netip.Addr{wireless}, []netip.Addr{gatewayAddr})
	check := func(updates int) {
		t.Helper()
		r.seen, r.log = nil, nil
		if err := r.a.m.CheckLiveness(r.now); err != nil {
			t.Fatal(err)
		}
		r.drain()
		r.driveFor(10 * time.Second)
		if n := len(r.requests(r.a, "N(UPDATE_SA_ADDRESSES)")); n != updates {
			t.Fatalf("%d updates, want %d\n%s", n, updates, r.trace())
		}
		r.meet(1, wireless, gatewayAddr)
	}
	check(1) // what IKE_SA_INIT has shown was another port's
	check(0)
	r.ports[homeNAT] = 40000
	check(1)
	check(0)
	if !strings.Contains(r.requests(r.a)[0].text, "N(NAT_DETECTION_DESTINATION_IP)") {
		t.Errorf("the check asks for nothing: %s", r.requests(r.a)[0].text)
	}
}
