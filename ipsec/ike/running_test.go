package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// fromA returns a request as A would send it next, with these payloads, without A knowing.
func (p *pair) fromA(kind message.ExchangeType, ps ...message.Payload) Datagram {
	p.t.Helper()
	s := p.a.m.current
	wire, err := s.seal(s.header(kind, s.nextID, false), ps)
	if err != nil {
		p.t.Fatal(err)
	}
	return Datagram{Local: p.b.m.local, Remote: p.b.m.remote, Payload: wire}
}

// ask gives B a request of A and returns what B answers.
func (p *pair) ask(kind message.ExchangeType, ps ...message.Payload) (answer []message.Payload, err error) {
	p.t.Helper()
	err = p.b.m.HandleDatagram(p.now, p.fromA(kind, ps...))
	p.drain()
	p.a.m.current.nextID++
	if len(p.queue) == 0 {
		return nil, err
	}
	m, oerr := p.open(p.queue[len(p.queue)-1].Payload)
	if oerr != nil {
		p.t.Fatal(oerr)
	}
	p.queue = nil
	return m.Payloads, err
}

// Shows: IKE-1. RFC 7296 §2.5: a critical unknown payload is refused by its number, any other is skipped; unknown notifies
// are ignored (§3.10.1).
func TestUnknownPayloads(t *testing.T) {
	p := established(t, 100)
	got, err := p.ask(message.Informational, message.Unknown{PayloadType: 200, Critical: true, Body: []byte("?")})
	if err == nil || len(got) != 1 {
		t.Fatalf("answer %v, error %v", got, err)
	}
	if n, ok := got[0].(message.Notify); !ok || n.Message != message.UnsupportedCriticalPayload || !bytes.Equal(n.Data, []byte{200}) {
		t.Errorf("answer %+v", got[0])
	}
	got, err = p.ask(message.Informational,
		message.Unknown{PayloadType: 201, Body: []byte("?")}, message.VendorID{Data: []byte("somebody")},
		message.Notify{Message: 999}, message.Notify{Message: 40000, Data: []byte("x")})
	if err != nil || len(got) != 0 {
		t.Errorf("answer %v, error %v, want an empty response", got, err)
	}
	p.drive()
	p.agree(1)

	// In IKE_SA_INIT likewise (unprotected).
	p = newPair(t, 100)
	p.start()
	m, _ := message.Parse(p.queue[0].Payload)
	m.Payloads = append(m.Payloads, message.Unknown{PayloadType: 222, Critical: true})
	wire, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.b.m.HandleDatagram(p.now, Datagram{Local: p.a.m.remote, Remote: p.a.m.local, Payload: wire}); !errors.Is(err, &NotifyError{Type: message.UnsupportedCriticalPayload}) {
		t.Errorf("error %v", err)
	}
}

// A request that is authentic and malformed ends the IKE SA on both sides (RFC 7296 §2.21.3).
func TestInvalidSyntax(t *testing.T) {
	p := established(t, 101)
	body := message.Unknown{PayloadType: message.TypeSA, Body: []byte{1, 2, 3}}
	got, err := p.ask(message.CreateChildSA, body)
	if !errors.Is(err, message.ErrMalformed) || !errors.Is(p.b.m.Err(), message.ErrMalformed) {
		t.Errorf("error %v, state %v", err, p.b.m.Err())
	}
	if len(got) != 1 || got[0].(message.Notify).Message != message.InvalidSyntax {
		t.Errorf("answer %v", got)
	}
}

// Shows: IKE-1. The window is one request: what is older is answered as before, octet by octet, or ignored; what is newer
// is ignored (RFC 7296 §2.1 to §2.3).
func TestMessageIDs(t *testing.T) {
	p := established(t, 102)
	first := p.fromA(message.Informational)
	var answers [][]byte
	for range 3 {
		if err := p.b.m.HandleDatagram(p.now, first); err != nil {
			t.Fatal(err)
		}
		tr, ok := p.b.m.PollTransmit()
		if !ok {
			t.Fatal("no answer to a repetition")
		}
		answers = append(answers, tr.Payload)
	}
	if !bytes.Equal(answers[0], answers[1]) || !bytes.Equal(answers[0], answers[2]) {
		t.Error("the answers to a repetition differ")
	}
	again := p.fromA(message.Informational) // the same ID in other octets
	if err := p.b.m.HandleDatagram(p.now, again); !errors.Is(err, ErrMessageID) {
		t.Errorf("same ID, other octets: %v", err)
	}
	p.a.m.current.nextID += 2
	if err := p.b.m.HandleDatagram(p.now, p.fromA(message.Informational)); !errors.Is(err, ErrMessageID) {
		t.Errorf("ID beyond the window: %v", err)
	}
	if _, ok := p.b.m.PollTransmit(); ok {
		t.Error("an answer to a message outside of the window")
	}
	// A response to nothing.
	s := p.a.m.current
	wire, _ := s.seal(s.header(message.Informational, 7, true), nil)
	if err := p.b.m.HandleDatagram(p.now, Datagram{Payload: wire}); !errors.Is(err, ErrMessageID) {
		t.Errorf("response to nothing: %v", err)
	}
}

// A peer may rekey what does not exist, and delete it, without harm (RFC 7296 §2.25.1).
func TestUnknownChild(t *testing.T) {
	p := established(t, 103)
	spi := []byte{9, 9, 9, 9}
	got, _ := p.ask(message.CreateChildSA,
		message.Notify{Protocol: message.ProtocolESP, Message: message.RekeySA, SPI: spi},
		p.a.m.cfg.Proposals.offerChild(0x12345678, nil), message.Nonce{Data: make([]byte, 32)},
		message.TSi{Selectors: wireSelectors(p.a.m.children[0].local)}, message.TSr{Selectors: wireSelectors(p.a.m.children[0].remote)})
	n, ok := got[0].(message.Notify)
	if !ok || n.Message != message.ChildSANotFound || n.Protocol != message.ProtocolESP || !bytes.Equal(n.SPI, spi) {
		t.Errorf("answer %+v (RFC 7296 §2.25: the SPI is copied)", got)
	}
	got, err := p.ask(message.Informational, message.Delete{Protocol: message.ProtocolESP, SPIs: []uint32{0x09090909}})
	if err != nil || len(got) != 0 {
		t.Errorf("answer %v, error %v, want an empty response", got, err)
	}
	p.drive()
	p.agree(1)
}

// Shows: IKE-5. The peer falls silent: it is asked, then given up; the child SAs go too (RFC 7296 §2.4).
func TestDeadPeer(t *testing.T) {
	p := established(t, 104, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Liveness = 0 }) // the default, 30 s
	p.driveFor(10 * time.Minute)
	p.agree(1)
	if n := strings.Count(p.trace(), "A INFORMATIONAL request"); n < 18 || n > 20 {
		t.Errorf("%d liveness checks in 10 minutes of silence", n)
	}
	from := p.now.Boot
	for range 20 { // authenticated ESP spares them
		p.log = nil
		p.a.m.HandleTraffic(p.now, p.a.sending().Inbound.SPI)
		p.driveFor(20 * time.Second)
		if len(p.log) != 0 {
			t.Fatalf("after %v of traffic: %v", p.now.Since(from), p.log)
		}
	}
	p.lose = func(flight) bool { return true }
	p.driveFor(25 * time.Second)
	if p.a.m.Err() != nil {
		t.Fatalf("too early: %v", p.a.m.Err())
	}
	p.driveFor(2 * time.Minute)
	if !errors.Is(p.a.m.Err(), ErrNoAnswer) || !errors.Is(p.a.closed, ErrNoAnswer) {
		t.Errorf("%v", p.a.m.Err())
	}
	if ev, ok := find[ChildRemoved](p.a.events); !ok || !errors.Is(ev.Reason, ErrNoAnswer) {
		t.Errorf("events %+v", p.a.events)
	}
}

// CheckLiveness makes an outstanding request that waits long be repeated at once (REQUIREMENTS MOD-park wants an answer
// within a second).
func TestCheckLiveness(t *testing.T) {
	p := established(t, 105)
	blocked := true
	p.lose = func(flight) bool { return blocked }
	if err := p.a.m.RekeyIKE(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(40 * time.Second)
	blocked = false
	p.log = nil
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	if len(p.log) != 1 || p.log[0] != "A CREATE_CHILD_SA request 2: SA Nonce KE" {
		t.Fatalf("sent %v", p.log)
	}
	p.driveFor(0)
	if _, ok := find[Alive](p.a.events); !ok {
		t.Error("no Alive")
	}
	p.drive()
	p.agree(1)
}

// Shows: IKE-5. Lifetimes of both ends over a day: rekeyed in time, nobody ever without a child SA, no SA left behind.
func TestLifetimes(t *testing.T) {
	life := func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Lifetimes, r.Lifetimes = Lifetimes{}, Lifetimes{}
		i.Liveness, r.Liveness = 0, 0
	}
	p := established(t, 106, life, onlyGroup(suite.GroupCurve25519))
	for range 24 * 60 {
		p.driveFor(time.Minute)
		if p.a.sending() == nil || p.b.sending() == nil {
			t.Fatalf("no child SA to send on\n%s", p.trace())
		}
	}
	p.driveFor(time.Minute)
	p.agree(1)
	ike, child := count[IKERekeyed](p.a.events), count[ChildInstalled](p.a.events)
	if ike < 6 || ike > 8 || child < 24 || child > 30 {
		t.Errorf("in a day: %d IKE SAs and %d child SAs, want about 6 and 25", ike, child)
	}
	if n := count[ChildRemoved](p.a.events); n != child {
		t.Errorf("%d child SAs were removed, %d installed", n, child)
	}
}

// What cannot be rekeyed ends with its lifetime (RFC 7296 §2.8).
func TestExpiry(t *testing.T) {
	p := established(t, 107, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.Lifetimes = Lifetimes{IKE: -1, Child: 10 * time.Minute, Grace: time.Minute}
	})
	p.policy.localSide = nil    // each rekeying is refused with TS_UNACCEPTABLE from now on
	p.driveFor(7 * time.Minute) // three have passed
	p.agree(1)
	p.driveFor(3 * time.Minute)
	if !errors.Is(p.a.m.Err(), ErrExpired) || !errors.Is(p.b.m.Err(), ErrDeletedByPeer) {
		t.Errorf("A %v, B %v", p.a.m.Err(), p.b.m.Err())
	}
	ev, ok := find[ChildFailed](p.a.events)
	if !ok || !errors.Is(ev.Err, &NotifyError{Type: message.TSUnacceptable}) || ev.Replaces == 0 {
		t.Errorf("events %+v", p.a.events)
	}
}

// The responder of a rekeying sends on the new SA as soon as a packet has arrived on it (RFC 7296 §2.8).
func TestActivationByTraffic(t *testing.T) {
	p := established(t, 108)
	if err := p.a.m.RekeyChild(p.now, p.a.m.children[0].id); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.next() // request
	old := p.b.sending().ID
	if n := len(p.b.children); n != 2 {
		t.Fatalf("B has %d child SAs, want the old one and the new one in standby", n)
	}
	p.next() // response
	if p.a.sending().Replaces == 0 {
		t.Error("A does not send on the new SA yet")
	}
	p.b.m.HandleTraffic(p.now, p.a.sending().Outbound.SPI)
	p.drain()
	if p.b.sending().ID == old {
		t.Error("B still sends on the old SA")
	}
	p.drive()
	p.agree(1)
}

// The rekeyed child SA takes packets in flight for a while before it is removed.
func TestDraining(t *testing.T) {
	p := established(t, 109)
	if err := p.a.m.RekeyChild(p.now, p.a.m.children[0].id); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(drainTime - time.Second)
	if len(p.a.children) != 2 || len(p.b.children) != 2 {
		t.Errorf("A has %d, B %d child SAs, want the old ones still there", len(p.a.children), len(p.b.children))
	}
	p.driveFor(2 * time.Second)
	p.agree(1)
	if ev, ok := find[ChildRemoved](p.b.events); !ok || !errors.Is(ev.Reason, ErrReplaced) {
		t.Errorf("events %+v", p.b.events)
	}
}

// With perfect forward secrecy or without, as the peer likes; the group it names is taken.
func TestChildGroups(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  option
		want suite.Group
	}{
		{"both", func(*InitiatorConfig, *ResponderConfig, *testPolicy) {}, suite.GroupCurve25519},
		{"responder without", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.Proposals.NoChildGroups = true }, 0},
		{"initiator without", func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Proposals.NoChildGroups = true }, 0},
		{"another group", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.Proposals.ChildGroups = []suite.Group{suite.GroupP256}
		}, suite.GroupP256},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := established(t, 110, c.opt)
			if err := p.a.m.RekeyChild(p.now, p.a.m.children[0].id); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			p.agree(1)
			if g := p.a.m.children[0].suite.group; g != c.want || p.a.sending().Replaces == 0 {
				t.Errorf("group %v, want %v", g, c.want)
			}
		})
	}
}

// Shows: IKE-10. Messages without protection change nothing; they make us ask the peer, and that not often (RFC 7296
// §2.21.4).
func TestUnprotectedHints(t *testing.T) {
	p := established(t, 111)
	s := p.a.m.current
	forge := func() {
		t.Helper()
		for _, n := range []message.NotifyType{message.InvalidIKESPI, message.AuthenticationFailed, message.InvalidSyntax} {
			for _, kind := range []message.ExchangeType{message.Informational, message.IKEAuth, message.CreateChildSA} {
				h := message.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: kind, MessageID: s.expectID}
				wire, err := (&message.Message{Header: h, Payloads: []message.Payload{message.Notify{Message: n}}}).Append(nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := p.a.m.HandleDatagram(p.now, Datagram{Payload: wire}); !errors.Is(err, ErrUnprotected) {
					t.Errorf("%v %v: %v", kind, n, err)
				}
			}
		}
		p.drain()
		p.driveFor(6 * time.Second)
		p.agree(1)
	}
	forge()
	want := []string{"A INFORMATIONAL request 2:", "B INFORMATIONAL response 2:"}
	if !slices.Equal(p.log, want) {
		t.Errorf("nine forgeries caused %v", p.log)
	}
	forge() // within ten seconds of the first
	if !slices.Equal(p.log, want) {
		t.Errorf("eighteen forgeries caused %v", p.log)
	}
	forge()
	if len(p.log) != 4 {
		t.Errorf("later forgeries caused %v", p.log)
	}
}

// Shows: IKE-10. Garbage of every kind in front of each datagram of a life: rejected, and the true one is still taken.
func TestGarbage(t *testing.T) {
	p := newPair(t, 112)
	broken := 0
	p.lose = func(f flight) bool {
		to := p.other(f.from).m
		d := Datagram{Local: f.Remote, Remote: f.Local}
		for i := 0; i < len(f.Payload); i += 1 + len(f.Payload)/40 {
			for _, b := range [][]byte{f.Payload[:i], append(bytes.Clone(f.Payload[:i]), make([]byte, len(f.Payload)-i)...)} {
				if to.current == nil || bytes.Equal(b, f.Payload) {
					continue // any datagram may be the first of a responder
				}
				if i >= 28 && binary.BigEndian.Uint16(f.Payload[16:]) != 0x2e20 && f.Payload[18] == byte(message.IKESAInit) {
					continue // IKE_SA_INIT is not protected: it may well be changed
				}
				d.Payload = b
				if err := to.HandleDatagram(p.now, d); err == nil {
					t.Fatalf("%s, changed from octet %d on, was taken", f.text, i)
				}
				broken++
			}
		}
		return false
	}
	p.start()
	p.drive()
	for _, c := range commands[:3] {
		if err := c.do(p, p.b); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
	}
	p.agree(0)
	if broken < 500 {
		t.Errorf("only %d broken datagrams were tried", broken)
	}
}

// Commands out of place are errors, not accidents.
func TestCommandsOutOfPlace(t *testing.T) {
	p := newPair(t, 113)
	for _, c := range commands[1:2] {
		if err := c.do(p, p.a); !errors.Is(err, ErrClosed) {
			t.Errorf("%s before the start: %v", c.name, err)
		}
	}
	if err := p.b.m.Start(p.now); !errors.Is(err, ErrUnexpected) {
		t.Errorf("start of a responder: %v", err)
	}
	p.start()
	if err := p.a.m.Start(p.now); !errors.Is(err, ErrUnexpected) {
		t.Errorf("second start: %v", err)
	}
	p.a.m.Delete(p.now) // before the peer is authenticated: at once
	p.drain()
	if !errors.Is(p.a.closed, ErrDeleted) {
		t.Errorf("closed: %v", p.a.closed)
	}
	p.a.m.HandleTimeout(p.now.Add(time.Hour))
	if err := p.a.m.CheckLiveness(p.now); !errors.Is(err, ErrClosed) {
		t.Errorf("command to a dead machine: %v", err)
	}
	p = established(t, 113)
	if err := p.a.m.RekeyChild(p.now, 99); !errors.Is(err, ErrNoChild) {
		t.Errorf("unknown child SA: %v", err)
	}
	if err := p.a.m.DeleteChild(p.now, 99); !errors.Is(err, ErrNoChild) {
		t.Errorf("unknown child SA: %v", err)
	}
	// A gateway may not open child SAs towards a client.
	any4 := p.b.m.children[0].remote
	if err := p.b.m.CreateChild(p.now, any4, any4); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
	if ev, ok := find[ChildFailed](p.b.events); !ok || !errors.Is(ev.Err, &NotifyError{Type: message.NoAdditionalSAs}) {
		t.Errorf("events %+v", p.b.events)
	}
}

// A peer that speaks a later major version is told ours (RFC 7296 §2.5).
func TestMajorVersion(t *testing.T) {
	p := newPair(t, 114)
	p.start()
	b := bytes.Clone(p.queue[0].Payload)
	b[17] = 3 << 4
	if err := p.b.m.HandleDatagram(p.now, Datagram{Local: p.a.m.remote, Remote: p.a.m.local, Payload: b}); !errors.Is(err, message.ErrVersion) {
		t.Fatalf("%v", err)
	}
	tr, ok := p.b.m.PollTransmit()
	if !ok {
		t.Fatal("no answer")
	}
	m, err := message.Parse(tr.Payload)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := message.FindNotify(m.Payloads, message.InvalidMajorVersion)
	if !ok || len(n.Data) != 0 || !m.Header.Response() || m.Header.InitiatorSPI != p.a.m.current.spiI || m.Header.MessageID != 0 {
		t.Errorf("answer %+v", m)
	}
	p.drive() // the machine has not been spoilt
	p.agree(1)
}

// FuzzHandleDatagram gives any octets to both roles in every stage; nothing may panic, and no SA may come or go by them.
func FuzzHandleDatagram(f *testing.F) {
	p := newPair(&testing.T{}, 120, onlyGroup(suite.GroupCurve25519))
	p.start()
	for len(p.queue) > 0 {
		f.Add(uint8(0), bytes.Clone(p.queue[0].Payload))
		f.Add(uint8(3), bytes.Clone(p.queue[0].Payload))
		p.next()
	}
	life := p.seen // the same in each run
	f.Fuzz(func(t *testing.T, stage uint8, b []byte) {
		p := newPair(t, 120, onlyGroup(suite.GroupCurve25519))
		p.start()
		for range stage % 5 {
			if len(p.queue) > 0 {
				p.next()
			}
		}
		genuine := slices.ContainsFunc(life, func(f flight) bool { return bytes.Equal(f.Payload, b) })
		p.queue = nil
		children := len(p.a.children) + len(p.b.children)
		for _, e := range []*end{p.a, p.b} {
			_ = e.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: bytes.Clone(b)})
			p.drain()
			if n := len(p.a.children) + len(p.b.children); n > children && !genuine {
				t.Fatalf("%d child SAs, %d before", n, children)
			}
			e.m.Deadline()
			e.m.HandleTimeout(p.now.Add(time.Minute))
			p.drain()
		}
	})
}
