package ike

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// ledger makes tickets by reference, as a gateway with a table would.
type ledger struct {
	states map[string]TicketState
	spent  map[string]bool
	life   time.Duration
	refuse bool // to grant
}

func newLedger() *ledger {
	return &ledger{states: map[string]TicketState{}, spent: map[string]bool{}, life: time.Hour}
}

func (l *ledger) Grant(_ link.Instant, s TicketState) ([]byte, time.Duration, error) {
	if l.refuse {
		return nil, 0, errors.New("no more tickets")
	}
	s.Secret = slices.Clone(s.Secret)
	name := fmt.Sprintf("ticket %d of %v", len(l.states), s.Initiator)
	l.states[name] = s
	return []byte(name), l.life, nil
}

func (l *ledger) Redeem(_ link.Instant, ticket []byte) (TicketState, error) {
	s, ok := l.states[string(ticket)]
	if !ok || l.spent[string(ticket)] {
		return TicketState{}, errors.New("no such ticket")
	}
	s.Secret = slices.Clone(s.Secret)
	return s, nil
}

func (l *ledger) Spend(ticket []byte) error {
	if l.spent[string(ticket)] {
		return errors.New("spent")
	}
	l.spent[string(ticket)] = true
	return nil
}

// resuming returns an established pair whose client has a ticket.
func resuming(t *testing.T, seed uint64, l *ledger) *pair {
	t.Helper()
	p := established(t, seed, func(ic *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) {
		ic.RequestTicket, rc.Tickets = true, l
	})
	if p.a.m.ticket == nil {
		t.Fatal("no ticket came with the IKE SA")
	}
	return p
}

// again starts new machines at both ends, the client's with the ticket.
func (p *pair) again(ticket *Ticket, opts ...option) {
	p.t.Helper()
	ic, rc := *p.a.m.initiator, *p.b.m.responder
	ic.PSK, ic.Rounds, ic.Accept, ic.Ticket = testPSK, nil, Acceptance{}, ticket
	ic.Local, ic.Remote = netip.AddrPortFrom(clientAddr, 0), netip.AddrPortFrom(gatewayAddr, 0)
	for _, o := range opts {
		o(&ic, &rc, p.policy)
	}
	a, err := NewInitiator(ic, p.a.m.rand)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := NewResponder(rc, p.b.m.rand)
	if err != nil {
		p.t.Fatal(err)
	}
	p.a, p.b = newEnd("A", a), newEnd("B", b)
	p.log, p.queue = nil, nil
	p.start()
	p.drive()
}

// An IKE SA is suspended and resumed with its ticket: two exchanges without a key exchange, fresh keys, a new ticket.
//
// Shows: IKE-5, MOD-park
func TestResume(t *testing.T) {
	p := resuming(t, 1, newLedger())
	old := *p.a.m.current.keys
	oldD := bytes.Clone(old.d)
	ticket := p.a.m.Suspend(p.now)
	p.drain()
	if ticket == nil || !errors.Is(p.a.closed, ErrSuspended) {
		t.Fatalf("ticket %v, closed %v", ticket, p.a.closed)
	}
	if len(p.queue) != 0 {
		t.Errorf("the peer was told: %v", p.log)
	}
	p.again(ticket)
	p.agree(1)
	trace := p.trace()
	for _, want := range []string{
		"A IKE_SESSION_RESUME request 0: Nonce N(TICKET_OPAQUE) N(NAT_DETECTION_SOURCE_IP)",
		"B IKE_SESSION_RESUME response 0: Nonce N(NAT_DETECTION_SOURCE_IP)",
		"A IKE_AUTH request 1:", "N(TICKET_REQUEST)", "N(TICKET_LT_OPAQUE)",
	} {
		if !strings.Contains(trace, want) {
			t.Errorf("want %q in\n%s", want, trace)
		}
	}
	if strings.Contains(trace, "KE ") {
		t.Errorf("a key exchange took place:\n%s", trace)
	}
	resumed := 0
	for _, e := range append(slices.Clone(p.a.events), p.b.events...) {
		if e, ok := e.(Established); ok && e.Resumed {
			resumed++
		}
	}
	if resumed != 2 {
		t.Errorf("%d ends say that the IKE SA was resumed", resumed)
	}
	if bytes.Equal(oldD, p.a.m.current.keys.d) {
		t.Error("the keys are the old ones")
	}
	if got := p.policy.asked.IPv4; !slices.Equal(got, []netip.Addr{assigned}) {
		t.Errorf("asked for %v again, want %v", got, assigned)
	}
	if p.a.m.ticket == nil {
		t.Error("no new ticket")
	}
	if ticket.Usable(p.now) {
		t.Error("the used ticket is still usable")
	}
}

// Whatever is wrong with a ticket costs an IKE_SA_INIT, and the IKE SA is there all the same.
//
// Shows: IKE-5
func TestResumeFallsBack(t *testing.T) {
	for name, c := range map[string]struct {
		before func(p *pair, l *ledger, ticket *Ticket)
		opts   option
		sent   bool // IKE_SESSION_RESUME
	}{
		"gateway forgot it": {before: func(_ *pair, l *ledger, _ *Ticket) { clear(l.states) }, sent: true},
		"used before":       {before: func(_ *pair, l *ledger, t *Ticket) { l.spent[string(t.opaque)] = true }, sent: true},
		"expired":           {before: func(p *pair, _ *ledger, t *Ticket) { p.now.Boot = t.expires }},
		"gateway without":   {opts: func(_ *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { rc.Tickets = nil }, sent: true},
		"another gateway":   {opts: func(ic *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { ic.RemoteID = Identity{} }, before: func(_ *pair, _ *ledger, t *Ticket) { t.localID = mustID("somebody.else") }},
		"algorithms not wanted": {opts: func(ic *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			ic.Proposals.Encryption = []suite.Encryption{suite.ChaCha20Poly1305}
		}},
		"algorithms not taken": {opts: func(_ *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) {
			rc.Proposals.Encryption = []suite.Encryption{suite.ChaCha20Poly1305}
		}, sent: true},
		"of another gateway's identity": {before: func(_ *pair, l *ledger, t *Ticket) {
			s := l.states[string(t.opaque)]
			s.Responder = mustID("another.example")
			l.states[string(t.opaque)] = s
		}, sent: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLedger()
			p := resuming(t, 2, l)
			ticket := p.a.m.Suspend(p.now)
			p.drain()
			if c.before != nil {
				c.before(p, l, ticket)
			}
			if c.opts == nil {
				c.opts = func(*InitiatorConfig, *ResponderConfig, *testPolicy) {}
			}
			p.again(ticket, c.opts)
			p.agree(1)
			if got := strings.Contains(p.trace(), "A IKE_SESSION_RESUME"); got != c.sent {
				t.Errorf("ticket presented: %t, want %t\n%s", got, c.sent, p.trace())
			}
			if !strings.Contains(p.trace(), "A IKE_SA_INIT request") {
				t.Errorf("no IKE_SA_INIT:\n%s", p.trace())
			}
		})
	}
}

// A peer that has been struck off, or that has another's ticket, is refused although the ticket is good.
//
// Shows: IKE-5
func TestResumedPeerIsChecked(t *testing.T) {
	t.Run("struck off", func(t *testing.T) {
		p := resuming(t, 3, newLedger())
		ticket := p.a.m.Suspend(p.now)
		p.drain()
		p.policy.psk = nil
		p.again(ticket)
		if p.b.m.established {
			t.Errorf("established:\n%s", p.trace())
		}
	})
	t.Run("another's ticket", func(t *testing.T) {
		l := newLedger()
		p := resuming(t, 4, l)
		ticket := p.a.m.Suspend(p.now)
		p.drain()
		s := l.states[string(ticket.opaque)]
		s.Initiator = mustID("chief@example.com")
		l.states[string(ticket.opaque)] = s
		p.again(ticket)
		if p.b.m.established || p.a.m.established {
			t.Errorf("established:\n%s", p.trace())
		}
	})
	t.Run("wrong secret", func(t *testing.T) {
		p := resuming(t, 5, newLedger())
		ticket := p.a.m.Suspend(p.now)
		p.drain()
		ticket.secret[0] ^= 1
		p.again(ticket)
		if p.b.m.established || p.a.m.established {
			t.Errorf("established:\n%s", p.trace())
		}
	})
}

// A request for a cookie is obeyed, and lost messages are repeated.
func TestResumeOverABadPath(t *testing.T) {
	p := resuming(t, 6, newLedger())
	ticket := p.a.m.Suspend(p.now)
	p.drain()
	begin := p.sent
	p.lose = func(f flight) bool { return f.index == begin || f.index == begin+2 || f.index == begin+5 } // a request, a response, IKE_AUTH
	p.again(ticket)
	p.lose = nil
	p.drive()
	p.agree(1)
	if !strings.Contains(p.trace(), "B IKE_SESSION_RESUME response") {
		t.Errorf("not resumed:\n%s", p.trace())
	}
}

func TestResumeWithCookie(t *testing.T) {
	p := resuming(t, 7, newLedger())
	ticket := p.a.m.Suspend(p.now)
	p.drain()
	ic := *p.a.m.initiator
	ic.PSK, ic.Rounds, ic.Accept, ic.Ticket = testPSK, nil, Acceptance{}, ticket
	m, err := NewInitiator(ic, p.a.m.rand)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Start(p.now); err != nil {
		t.Fatal(err)
	}
	first, _ := m.PollTransmit()
	answer := message.Message{
		Header:   message.Header{InitiatorSPI: m.current.spiI, Exchange: message.IKESessionResume, Flags: message.FlagResponse},
		Payloads: []message.Payload{message.Notify{Message: message.Cookie, Data: []byte("biscuit")}},
	}
	wire, err := answer.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.HandleDatagram(p.now, Datagram{Local: first.Local, Remote: first.Remote, Payload: wire}); err != nil {
		t.Fatal(err)
	}
	second, _ := m.PollTransmit()
	in, err := message.Parse(second.Payload)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := message.FindNotify(in.Payloads, message.Cookie)
	if !ok || string(n.Data) != "biscuit" || in.Header.Exchange != message.IKESessionResume {
		t.Errorf("%v with %v", in.Header.Exchange, in.Payloads)
	}
	if _, again := message.FindNotify(in.Payloads, message.TicketOpaque); !again {
		t.Error("without the ticket")
	}
}

// When the IKE SA is rekeyed, by either end, the ticket is void and another one is asked for; when it ends, the ticket does.
//
// Shows: IKE-5
func TestTicketFollowsItsIKESA(t *testing.T) {
	for _, by := range []string{"client", "gateway"} {
		p := resuming(t, 8, newLedger())
		before := bytes.Clone(p.a.m.ticket.opaque)
		m := p.a.m
		if by == "gateway" {
			m = p.b.m
		}
		if err := m.RekeyIKE(p.now); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
		switch now := p.a.m.ticket; {
		case now == nil:
			t.Errorf("rekeyed by the %s: no ticket\n%s", by, p.trace())
		case bytes.Equal(now.opaque, before):
			t.Errorf("rekeyed by the %s: the old ticket", by)
		case !bytes.Equal(now.secret, p.a.m.current.keys.d):
			t.Errorf("rekeyed by the %s: the ticket's secret is not that of the IKE SA", by)
		}
		ticket := p.a.m.ticket
		p.a.m.Delete(p.now)
		p.drain()
		p.drive()
		if p.a.m.ticket != nil || ticket.Usable(p.now) || p.a.m.Suspend(p.now) != nil {
			t.Error("a ticket has outlived its IKE SA")
		}
	}
}

// A gateway that does not grant tickets, or not now, changes nothing else.
func TestTicketRefused(t *testing.T) {
	l := newLedger()
	l.refuse = true
	p := established(t, 9, func(ic *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { ic.RequestTicket, rc.Tickets = true, l })
	if p.a.m.ticket != nil || p.a.m.Suspend(p.now) != nil {
		t.Error("a ticket although it was refused")
	}
}
