package ike

import (
	"bytes"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
)

// stuck returns a pair whose end with this name waits for an answer of its driver, the n-th that it has asked for (from 0).
func stuck(t *testing.T, name, flow string, n int) (*pair, *drivers) {
	t.Helper()
	p, d := flowNamed(t, flow).pair(t, func(_ *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { rc.HalfOpen = 30 * time.Second })
	asked := 0
	p.answer = func(e *end, ev Event) {
		switch ev.(type) {
		case SignatureWanted, TrustWanted, EAPReceived:
			if e.name == name {
				d.late = asked == n
				asked++
			} else {
				d.late = false
			}
		}
		d.answer(e, ev)
	}
	p.start()
	for len(p.queue) > 0 {
		p.next()
	}
	e := map[string]*end{"A": p.a, "B": p.b}[name]
	if len(d.pending) != 1 || e.m.waiting == nil {
		t.Fatalf("%s does not wait: %v\n%s", name, d.asked, p.trace())
	}
	d.late = false
	return p, d
}

// places are where each end waits: making a request, taking a response, answering a request.
var places = []struct {
	name, flow string
	n          int
}{
	{"A", "certificates", 0}, {"A", "certificates", 1}, {"A", "EAP", 1}, {"A", "machine certificate, then EAP of the user", 2},
	{"B", "certificates", 0}, {"B", "certificates", 1}, {"B", "EAP", 1}, {"B", "EAP", 2}, {"B", "two certificates of the client", 1},
}

// Shows: IKE-2, IKE-10. An end may wait for its driver for as long as the gateway's half-open time; a repeated request makes
// no second question and no answer; the other end goes on when the answer is there.
func TestWaiting(t *testing.T) {
	for _, c := range places {
		p, d := stuck(t, c.name, c.flow, c.n)
		asked, sent := len(d.pending), p.sent
		p.driveFor(20 * time.Second)
		if len(d.pending) != asked || p.a.m.Err() != nil || p.b.m.Err() != nil {
			t.Fatalf("%+v: while waiting: %d questions, A %v, B %v", c, len(d.pending), p.a.m.Err(), p.b.m.Err())
		}
		for _, f := range p.seen[sent:] {
			if f.from.name == c.name {
				t.Errorf("%+v: sent while waiting: %s", c, f.text)
			}
		}
		d.pending[0]()
		p.drive()
		flowNamed(t, c.flow).check(t, p)
	}
}

// Shows: IKE-2, IKE-10. The gateway's half-open time ends the wait at either end; an answer that comes later finds the machine
// closed.
func TestWaitingTooLong(t *testing.T) {
	for _, c := range places {
		if c.name == "A" && c.flow == "certificates" && c.n == 1 {
			continue // the gateway has authenticated the client, and waits for nothing
		}
		p, d := stuck(t, c.name, c.flow, c.n)
		p.driveFor(31 * time.Second)
		if !errors.Is(p.b.m.Err(), ErrNoAnswer) || p.b.m.waiting != nil {
			t.Errorf("%+v: gateway: %v", c, p.b.m.Err())
		}
		if c.name == "A" && p.a.m.Err() != nil { // a prompt may take long; it is the gateway that does not wait
			t.Errorf("%+v: client: %v", c, p.a.m.Err())
		}
		p.driveFor(5 * time.Minute)
		if c.name == "A" {
			if at, ok := p.a.m.Deadline(); ok {
				t.Errorf("%+v: the client has a timer at %v while it waits", c, at)
			}
		}
		d.pending[0]()
		p.driveFor(5 * time.Minute)
		if !errors.Is(p.a.m.Err(), ErrNoAnswer) {
			t.Errorf("%+v: client in the end: %v", c, p.a.m.Err())
		}
		for _, m := range []*Machine{p.a.m, p.b.m} {
			if err := m.Signed(p.now, []byte{1}, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("%+v: Signed: %v", c, err)
			}
		}
		if at, ok := p.deadline(); ok {
			t.Errorf("%+v: timers are left: %v", c, at)
		}
	}
}

// Commands in this state do what they say: Delete and Suspend end the machine, the others find it not established.
func TestCommandsWhileWaiting(t *testing.T) {
	for _, c := range places {
		for name, command := range map[string]func(p *pair, m *Machine) error{
			"Delete":  func(p *pair, m *Machine) error { m.Delete(p.now); return ErrDeleted },
			"Suspend": func(p *pair, m *Machine) error { m.Suspend(p.now).Wipe(); return ErrSuspended },
		} {
			p, _ := stuck(t, c.name, c.flow, c.n)
			m := map[string]*Machine{"A": p.a.m, "B": p.b.m}[c.name]
			for what, err := range map[string]error{"Park": m.Park(), "RekeyIKE": m.RekeyIKE(p.now), "CheckLiveness": m.CheckLiveness(p.now), "CreateChild": m.CreateChild(p.now, nil, nil)} {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s: %v", what, err)
				}
			}
			want := command(p, m)
			p.drain()
			if !errors.Is(m.Err(), want) || m.waiting != nil {
				t.Errorf("%+v: %s: %v", c, name, m.Err())
			}
			for what, err := range map[string]error{
				"Signed": m.Signed(p.now, []byte{1}, nil), "Trusted": m.Trusted(p.now, nil, nil), "AnswerEAP": m.AnswerEAP(p.now, EAPAnswer{}),
			} {
				if !errors.Is(err, ErrClosed) {
					t.Errorf("%s behind %s: %v", what, name, err)
				}
			}
		}
	}
}

// Shows: IKE-10. A client that gives up while it waits tells the gateway, which forgets it then.
func TestGiveUp(t *testing.T) {
	for _, c := range places {
		if c.name == "A" {
			p, _ := stuck(t, c.name, c.flow, c.n)
			p.a.m.Delete(p.now)
			p.drain()
			p.driveFor(time.Second)
			if !errors.Is(p.a.m.Err(), ErrDeleted) || !errors.Is(p.b.m.Err(), ErrDeletedByPeer) {
				t.Errorf("%+v: A %v, B %v\n%s", c, p.a.m.Err(), p.b.m.Err(), p.trace())
			}
		}
	}
}

// An answer that was not asked for changes nothing.
func TestAnswersNotAskedFor(t *testing.T) {
	p, d := stuck(t, "A", "certificates", 0) // a signature is wanted
	if err := p.a.m.Trusted(p.now, testKeys()["P-256"].Public(), nil); !errors.Is(err, ErrUnexpected) {
		t.Errorf("Trusted: %v", err)
	}
	if err := p.a.m.AnswerEAP(p.now, EAPAnswer{Done: true}); !errors.Is(err, ErrUnexpected) {
		t.Errorf("AnswerEAP: %v", err)
	}
	d.pending[0]()
	p.drive()
	p.agree(1)
	if err := p.a.m.Signed(p.now, []byte{1}, nil); !errors.Is(err, ErrUnexpected) {
		t.Errorf("Signed when established: %v", err)
	}
	p.agree(1)
}

// Shows: IKE-10. While a request waits for the driver it is the only one that is kept: another one of the same message ID is
// refused, and the answer goes where the last repetition came from (RFC 7296 §2.11).
func TestRequestsWhileWaiting(t *testing.T) {
	p, d := stuck(t, "B", "EAP", 1)
	var request flight
	for _, f := range p.seen {
		if f.from == p.a {
			request = f
		}
	}
	kept := p.b.m.waiting
	other := p.fromA(message.IKEAuth, message.EAP{Message: eap(eapResponse, 9, "another")})
	h, err := message.ParseHeader(request.Payload)
	if err != nil {
		t.Fatal(err)
	}
	s := p.a.m.current
	if other.Payload, err = s.seal(s.header(message.IKEAuth, h.MessageID, false), []message.Payload{message.EAP{Message: eap(eapResponse, 9, "another")}}); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if err := p.b.m.HandleDatagram(p.now, other); !errors.Is(err, ErrUnexpected) {
			t.Fatalf("another request: %v", err)
		}
	}
	if p.b.m.waiting != kept || p.b.m.events.Len() != 0 || p.b.m.transmits.Len() != 0 {
		t.Fatal("another request has changed something")
	}
	moved := netip.MustParseAddrPort("203.0.113.50:4500")
	if err := p.b.m.HandleDatagram(p.now, Datagram{Local: request.Remote, Remote: moved, Payload: bytes.Clone(request.Payload)}); err != nil {
		t.Fatal(err)
	}
	answers := 0
	p.lose = func(f flight) bool {
		if f.from == p.b {
			answers++
			if f.Remote != moved {
				t.Errorf("the answer goes to %v", f.Remote)
			}
		}
		return true
	}
	d.pending[0]()
	p.next()
	if answers != 1 {
		t.Errorf("%d answers", answers)
	}
}

// Shows: IKE-10. A response to a request that was not sent yet is refused, though its message ID is the one to come.
func TestResponseBeforeTheRequest(t *testing.T) {
	p, d := stuck(t, "A", "certificates", 0)
	s := p.b.m.current
	wire, err := s.seal(s.header(message.IKEAuth, 1, true), []message.Payload{message.IDr{Identity: gatewayID}, message.Auth{Method: message.AuthSharedKeyMIC}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}); !errors.Is(err, ErrMessageID) {
		t.Errorf("%v", err)
	}
	d.pending[0]()
	p.drive()
	p.agree(1)
}

// Shows: IKE-10. A peer that is not authenticated may give up by INFORMATIONAL, and gets nothing else by it.
func TestInformationalBeforeAuthentication(t *testing.T) {
	begin := func() *pair {
		p, _ := flowNamed(t, "EAP").pair(t, func(_ *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { rc.Tickets = newLedger() })
		p.answer = func(e *end, ev Event) {
			if _, ok := ev.(EAPReceived); ok && e == p.b {
				_ = e.m.AnswerEAP(p.now, EAPAnswer{Message: eap(eapRequest, 1, "ping")})
			} else if w, ok := ev.(SignatureWanted); ok {
				_ = e.m.Signed(p.now, signWith(t, testKeys()["P-256"], w.Scheme, w.Octets), nil)
			}
		}
		p.start()
		for range 3 {
			p.next()
		}
		p.queue = nil
		p.a.m.current.nextID = 2
		return p
	}
	p := begin()
	got, err := p.ask(message.Informational, message.Notify{Message: message.TicketRequest},
		message.Delete{Protocol: message.ProtocolESP, SPIs: []uint32{1 << 20}}, message.Notify{Message: message.InitialContact})
	if err != nil || len(got) != 0 || p.b.m.Err() != nil || p.b.m.established {
		t.Errorf("answer %v, error %v, gateway %v", got, err, p.b.m.Err())
	}
	if _, err := p.ask(message.CreateChildSA, message.Nonce{Data: make([]byte, 32)}); !errors.Is(err, ErrUnexpected) {
		t.Errorf("CREATE_CHILD_SA: %v", err)
	}
	for _, c := range []struct {
		give message.Payload
		want error
	}{
		{message.Delete{Protocol: message.ProtocolIKE}, ErrDeletedByPeer},
		{message.Notify{Message: message.AuthenticationFailed}, &NotifyError{Type: message.AuthenticationFailed}},
	} {
		p := begin()
		if got, err := p.ask(message.Informational, c.give); err != nil || len(got) != 0 || !errors.Is(p.b.m.Err(), c.want) {
			t.Errorf("%+v: answer %v, error %v, gateway %v, want %v", c.give, got, err, p.b.m.Err(), c.want)
		}
	}
}

// Shows: IKE-2, IKE-5. An IKE SA is resumed with the identities of however it was authenticated, by SK_pi and SK_pr, and without asking
// the drivers (RFC 5723 §4.3.3, §5 note 1).
func TestResumeAuthenticated(t *testing.T) {
	for _, f := range flows() {
		l := newLedger()
		p, d := f.pair(t, func(ic *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { ic.RequestTicket, rc.Tickets = true, l })
		d.run()
		f.check(t, p)
		ticket := p.a.m.Suspend(p.now)
		if ticket == nil {
			t.Fatalf("%s: no ticket", f.name)
		}
		p.drain()
		d.asked = map[string]int{}
		before, _ := find[Established](p.b.events)
		p.again(ticket, func(ic *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			ic.PSK, ic.Rounds, ic.Accept = nil, f.rounds, f.accept
		})
		p.drive()
		p.agree(1)
		ea, _ := find[Established](p.a.events)
		eb, _ := find[Established](p.b.events)
		if !ea.Resumed || !eb.Resumed || eb.RemoteID != before.RemoteID || !slices.Equal(eb.Proved, []Identity{before.RemoteID}) || ea.RemoteID != gatewayID {
			t.Errorf("%s: resumed %t, %t; before %v, now %v proved %v; gateway %v", f.name, ea.Resumed, eb.Resumed, before.RemoteID, eb.RemoteID, eb.Proved, ea.RemoteID)
		}
		if len(d.asked) != 0 {
			t.Errorf("%s: the drivers were asked: %v", f.name, d.asked)
		}
		// And once more, with the ticket of the resumed one.
		again := p.a.m.Suspend(p.now)
		if again == nil {
			t.Errorf("%s: no second ticket", f.name)
		}
		again.Wipe()
	}
}
