package ike

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// hybrid has both ends do these additional key exchanges, each list one of them.
func hybrid(lists ...[]suite.Group) option {
	return func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		for _, c := range []*Config{&i.Config, &r.Config} {
			c.Proposals.Groups = []suite.Group{suite.GroupCurve25519}
			c.Proposals.NoAdditional, c.Proposals.Additional = false, lists
		}
	}
}

var (
	mlkem     = []suite.Group{suite.GroupMLKEM768}
	mlkem1024 = []suite.Group{suite.GroupMLKEM1024}
)

// exchanges counts the requests of an exchange type that were sent, in however many fragments and repetitions.
func (p *pair) exchanges(kind message.ExchangeType) int {
	seen := make(map[message.Header]bool)
	for _, f := range p.seen {
		if h, err := message.ParseHeader(f.Payload); err == nil && h.Exchange == kind && !h.Response() {
			h.Length, h.NextPayload = 0, 0
			seen[h] = true
		}
	}
	return len(seen)
}

// Shows: IKE-3, IKE-5 (RFC 9370, RFC 9242: additional key exchanges of the first IKE SA and of all rekeyings, from both ends)
func TestAdditionalKeyExchanges(t *testing.T) {
	for _, c := range []struct {
		name  string
		lists [][]suite.Group
		want  []string
		opts  []option
	}{
		{"ML-KEM-768", [][]suite.Group{mlkem}, []string{"group 31 (Curve25519)", "group 36 (ML-KEM-768)"}, nil},
		{"in fragments", [][]suite.Group{mlkem1024}, []string{"group 31 (Curve25519)", "group 37 (ML-KEM-1024)"}, []option{sized(Fragmentation{Size: 576})}},
		{"not fragmented", [][]suite.Group{mlkem1024}, []string{"group 31 (Curve25519)", "group 37 (ML-KEM-1024)"}, []option{sized(Fragmentation{Off: true})}},
		{"three", [][]suite.Group{{suite.GroupP384}, mlkem, mlkem1024},
			[]string{"group 31 (Curve25519)", "group 20 (384-bit random ECP)", "group 36 (ML-KEM-768)", "group 37 (ML-KEM-1024)"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 3, append(c.opts, hybrid(c.lists...))...)
			p.start()
			p.drive()
			p.agree(1)
			more := len(c.lists)
			if n := p.exchanges(message.IKEIntermediate); n != more {
				t.Errorf("%d IKE_INTERMEDIATE requests, want %d", n, more)
			}
			for _, e := range []*end{p.a, p.b} {
				if up, _ := find[Established](e.events); !slices.Equal(up.KeyExchanges, c.want) || up.Downgraded {
					t.Errorf("%s: %v, downgraded %t, want %v", e.name, up.KeyExchanges, up.Downgraded, c.want)
				}
			}
			for _, e := range []*end{p.a, p.b} {
				for _, do := range commands[:2] {
					p.log, p.seen, p.a.events, p.b.events = nil, nil, nil, nil
					if err := do.do(p, e); err != nil {
						t.Fatal(err)
					}
					p.drain()
					p.drive()
					p.agree(1)
					if n := p.exchanges(message.IKEFollowupKE); n != more {
						t.Errorf("%s of %s: %d IKE_FOLLOWUP_KE requests, want %d\n%s", do.name, e.name, n, more, p.trace())
					}
					for _, o := range []*end{p.a, p.b} {
						re, ok := find[IKERekeyed](o.events)
						if do.name == "rekey IKE" && (!ok || !slices.Equal(re.KeyExchanges, c.want) || re.Downgraded) {
							t.Errorf("%s: %+v", o.name, re)
						}
						ch, ok := find[ChildInstalled](o.events)
						if do.name == "rekey child" && (!ok || strings.Count(ch.Suite, "+group") != more) {
							t.Errorf("%s: %s", o.name, ch.Suite)
						}
						if len(o.m.current.series) != 0 {
							t.Errorf("%s: %d series are left", o.name, len(o.m.current.series))
						}
					}
				}
			}
		})
	}
}

// Shows: IKE-3 (a gateway without RFC 9370 still connects, and both ends say what was not done)
func TestDowngradeIsVisible(t *testing.T) {
	plain := func(c *Config) { c.Proposals.NoAdditional, c.Proposals.Additional = true, nil }
	for _, c := range []struct {
		name string
		opt  option
		a, b bool // downgraded
	}{
		{"the gateway has none", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { plain(&r.Config) }, true, false},
		{"the client has none", func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { plain(&i.Config) }, false, true},
		{"others", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.Proposals.Additional = [][]suite.Group{mlkem1024}
		}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 4, hybrid(mlkem), c.opt)
			p.start()
			p.drive()
			p.agree(1)
			for e, want := range map[*end]bool{p.a: c.a, p.b: c.b} {
				if up, _ := find[Established](e.events); up.Downgraded != want || len(up.KeyExchanges) != 1 {
					t.Errorf("%s: %v, downgraded %t, want %t", e.name, up.KeyExchanges, up.Downgraded, want)
				}
			}
			for _, do := range commands[:2] {
				if err := do.do(p, p.a); err != nil {
					t.Fatal(err)
				}
				p.drain()
				p.drive()
				p.agree(1)
			}
			if n := p.exchanges(message.IKEIntermediate) + p.exchanges(message.IKEFollowupKE); n != 0 {
				t.Errorf("%d additional key exchanges", n)
			}
		})
	}
}

// Shows: IKE-3 (required additional key exchanges: nothing else is accepted, by either end)
func TestAdditionalKeyExchangesRequired(t *testing.T) {
	for _, end := range []string{"client", "gateway"} {
		p := newPair(t, 5, hybrid(mlkem), func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			strict, lax := &i.Proposals, &r.Proposals
			if end == "gateway" {
				strict, lax = lax, strict
			}
			strict.RequireAdditional, lax.NoAdditional, lax.Additional = true, true, nil
		})
		p.start()
		p.drive()
		if err := p.a.m.Err(); !errors.Is(err, &NotifyError{Type: message.NoProposalChosen}) {
			t.Errorf("required by the %s: %v", end, err)
		}
	}
	p := newPair(t, 5, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Proposals, r.Proposals = CNSAProposals(), CNSAProposals()
	})
	p.start()
	p.drive()
	p.agree(1)
	if s := p.a.m.current.keys.suite.String(); s != "ENCR_AES_GCM_16_256/PRF_HMAC_SHA2_384/group 20 (384-bit random ECP)+group 37 (ML-KEM-1024)" {
		t.Errorf("CNSA: %s", s)
	}
}

// Shows: IKE-3, IKE-10. Each datagram of a set-up and of rekeyings with additional key exchanges is lost, or arrives twice.
func TestAdditionalKeyExchangesUnderWay(t *testing.T) {
	for _, fate := range []string{"lost", "twice"} {
		for index, more := 0, true; more; index++ {
			p := newPair(t, 6, hybrid(mlkem))
			hit := func(f flight) bool { return f.index == index }
			if fate == "lost" {
				p.lose = hit
			} else {
				p.duplicate = hit
			}
			p.log = []string{fmt.Sprint(fate, index)}
			p.start()
			p.drive()
			p.agree(1)
			for _, e := range []*end{p.a, p.b} {
				for _, do := range commands[:2] {
					if err := do.do(p, e); err != nil {
						t.Fatal(err)
					}
					p.drain()
					p.drive()
					p.agree(1)
				}
			}
			more = p.sent > index+1
		}
	}
}

// Shows: IKE-5, IKE-10 (RFC 9370 §2.2.4: rekeyings with additional key exchanges collide, in every order, with each datagram lost)
func TestAdditionalKeyExchangesCollide(t *testing.T) {
	for _, ca := range commands[:3] {
		for _, cb := range commands[:3] {
			t.Run(ca.name+" and "+cb.name, func(t *testing.T) {
				t.Parallel()
				for seed := uint64(80); seed < 82; seed++ {
					if testing.Short() && seed > 80 {
						break
					}
					for choices := range uint(4) {
						for lost, more := -1, true; more; lost++ {
							p := established(t, seed, hybrid(mlkem))
							base := p.sent
							p.lose = func(f flight) bool { return f.index == base+lost }
							begin(t, p, ca, cb)
							p.interleave(choices * 21)
							p.converge(ca, cb)
							assertRekeyed(t, p, ca, cb)
							more = p.sent > base+lost+1 && lost < 12
						}
					}
				}
			})
		}
	}
}

// Shows: IKE-5 (RFC 9370 §2.2.4: of two rekeyings at the same time the one with the lowest nonce stops before its additional key
// exchanges, since nothing has been made yet)
func TestLowestNonceStops(t *testing.T) {
	for _, do := range commands[:2] {
		winners := make(map[bool]bool)
		for seed := range uint64(6) {
			p := established(t, 90+seed, hybrid(mlkem))
			begin(t, p, do, do)
			p.seen = nil
			p.drive()
			p.agree(1)
			if n := p.exchanges(message.IKEFollowupKE); n != 1 {
				t.Errorf("%s at both ends: %d IKE_FOLLOWUP_KE exchanges, want 1\n%s", do.name, n, p.trace())
			}
			winners[strings.Contains(p.trace(), "A IKE_FOLLOWUP_KE request")] = true
		}
		if len(winners) != 2 {
			t.Errorf("%s: one end always wins", do.name)
		}
	}
}

// Shows: IKE-5 (RFC 9370 §2.2.4: STATE_NOT_FOUND ends the series, which is tried again; several in a row end the IKE SA)
func TestLostState(t *testing.T) {
	for _, do := range commands[:2] {
		for _, times := range []int{1, maxLostStates} {
			p := established(t, 7, hybrid(mlkem))
			left := times
			p.duplicate = func(flight) bool { return false }
			p.lose = func(f flight) bool {
				// Just before the first follow-up request the gateway forgets the series.
				if f.from == p.a && strings.Contains(f.text, "IKE_FOLLOWUP_KE request") && left > 0 && len(p.b.m.current.series) > 0 {
					left--
					p.b.m.current.dropSeries(p.b.m.current.series[0])
				}
				return false
			}
			if err := do.do(p, p.a); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			if !strings.Contains(p.trace(), "N(STATE_NOT_FOUND)") {
				t.Fatalf("no STATE_NOT_FOUND\n%s", p.trace())
			}
			if times == 1 {
				p.agree(1)
				assertRekeyed(t, p, do, do)
				continue
			}
			if err := p.a.m.Err(); !errors.Is(err, ErrOutOfSync) || !errors.Is(err, &NotifyError{Type: message.StateNotFound}) {
				t.Errorf("%s, %d times: %v", do.name, times, err)
			}
		}
	}
}

// Shows: IKE-10 (what the peer's half of an additional key exchange must not be)
func TestHostileKeyExchange(t *testing.T) {
	for name, change := range map[string]func(*message.KE){
		"another method": func(k *message.KE) { k.Group = uint16(suite.GroupMLKEM1024) },
		"too short":      func(k *message.KE) { k.Data = k.Data[1:] },
		"empty":          func(k *message.KE) { k.Data = nil },
		"zeros":          func(k *message.KE) { k.Data = make([]byte, len(k.Data)) },
		"no key":         func(k *message.KE) { k.Data = bytes.Repeat([]byte{0xff}, len(k.Data)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 8, hybrid(mlkem))
			p.start()
			for len(p.queue) > 0 && p.a.m.current.state != saAuth {
				p.next()
			}
			f := p.queue[0]
			p.queue = nil
			in, err := p.open(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			ke, ok := message.Find[message.KE](in.Payloads)
			if !ok {
				t.Fatalf("no KE payload in %s", f.text)
			}
			change(&ke)
			x := p.a.m.current
			f.Payload, err = x.seal(x.header(message.IKEIntermediate, 1, false), []message.Payload{ke})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.deliver(f); err != nil && p.b.m.Err() == nil {
				t.Errorf("rejected with %v, and the gateway waits", err)
			}
			p.drive()
			if p.b.m.Err() == nil || p.a.m.Err() == nil || len(p.b.children) != 0 {
				t.Errorf("A %v, B %v", p.a.m.Err(), p.b.m.Err())
			}
		})
	}
}

// IKE_AUTH before the additional key exchanges, IKE_INTERMEDIATE without any agreed on and IKE_INTERMEDIATE afterwards are not
// answered, and change nothing.
//
// Shows: IKE-10
func TestIntermediateOutOfPlace(t *testing.T) {
	p := newPair(t, 9, hybrid(mlkem))
	p.start()
	for len(p.queue) > 0 && p.a.m.current.state != saAuth {
		p.next()
	}
	f := p.queue[0]
	early, s := f, p.a.m.current
	var err error
	if early.Payload, err = s.seal(s.header(message.IKEAuth, 1, false), []message.Payload{message.IDi{Identity: mustID("laptop@example.com")}}); err != nil {
		t.Fatal(err)
	}
	if err := p.deliver(early); !errors.Is(err, ErrUnexpected) || p.b.m.Err() != nil {
		t.Errorf("IKE_AUTH before IKE_INTERMEDIATE: %v, %v", err, p.b.m.Err())
	}
	p.driveFor(time.Minute)
	p.agree(1)
	late, s := f, p.a.m.current
	if late.Payload, err = s.seal(s.header(message.IKEIntermediate, s.nextID, false), nil); err != nil {
		t.Fatal(err)
	}
	if err := p.deliver(late); !errors.Is(err, ErrUnexpected) {
		t.Errorf("IKE_INTERMEDIATE of an established IKE SA: %v", err)
	}
	p.agree(1)
}

// A resumed IKE SA has the suite of the old one, additional key exchanges and all, and makes none anew (RFC 5723).
//
// Shows: IKE-3, IKE-5
func TestResumeWithAdditionalKeyExchanges(t *testing.T) {
	for _, e := range []suite.Encryption{suite.AESGCM256, suite.AESCBC256SHA384} {
		only := func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			i.Proposals.Encryption, r.Proposals.Encryption = []suite.Encryption{e}, []suite.Encryption{e}
			i.Proposals.RequireAdditional, r.Proposals.RequireAdditional = true, true
			i.RequestTicket, r.Tickets = true, newLedger()
		}
		p := established(t, 95, hybrid(mlkem), only)
		ticket := p.a.m.Suspend(p.now)
		p.drain()
		p.seen = nil
		p.again(ticket)
		p.agree(1)
		up, _ := find[Established](p.a.events)
		if !up.Resumed || up.Downgraded || len(up.KeyExchanges) != 2 || p.exchanges(message.IKEIntermediate) != 0 {
			t.Errorf("%v: %+v\n%s", e, up, p.trace())
		}
		// With another policy the ticket is of no use.
		ticket = p.a.m.Suspend(p.now)
		p.drain()
		p.again(ticket, func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.Proposals.Additional = [][]suite.Group{mlkem1024}
		})
		if up, ok := find[Established](p.a.events); ok && up.Resumed {
			t.Errorf("%v: resumed with key exchanges that the gateway does not take any more", e)
		}
	}
}
