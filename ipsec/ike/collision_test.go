package ike

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// command is something that both ends may do at the same time.
type command struct {
	name string
	do   func(p *pair, e *end) error
}

var commands = []command{
	{"rekey child", func(p *pair, e *end) error { return e.m.RekeyChild(p.now, e.m.children[0].id) }},
	{"rekey IKE", func(p *pair, e *end) error { return e.m.RekeyIKE(p.now) }},
	{"delete child", func(p *pair, e *end) error { return e.m.DeleteChild(p.now, e.m.children[0].id) }},
	{"liveness", func(p *pair, e *end) error { return e.m.CheckLiveness(p.now) }},
	{"delete IKE", func(p *pair, e *end) error { e.m.Delete(p.now); return nil }},
}

// interleave runs what both ends have begun to the end, delivering from A when the next bit of choices is 0 and from B
// when it is 1 as long as there is something from both; each direction keeps its order. It returns how many choices there were.
func (p *pair) interleave(choices uint) (used int) {
	p.t.Helper()
	for len(p.queue) > 0 {
		first := func(e *end) int {
			for i, f := range p.queue {
				if f.from == e {
					return i
				}
			}
			return -1
		}
		a, b := first(p.a), first(p.b)
		pick := max(a, b)
		if a >= 0 && b >= 0 {
			pick = a
			if choices>>used&1 == 1 {
				pick = b
			}
			used++
		}
		f := p.queue[pick]
		p.queue = append(p.queue[:pick:pick], p.queue[pick+1:]...)
		if p.lose != nil && p.lose(f) {
			p.log = append(p.log, "   lost: "+f.text)
			continue
		}
		_ = p.deliver(f)
		if p.duplicate != nil && p.duplicate(f) {
			_ = p.deliver(f)
		}
	}
	return used
}

// converge asserts that after any two commands the ends agree: both dead, or both alive with the same SAs.
func (p *pair) converge(ca, cb command) {
	p.t.Helper()
	p.driveFor(5 * time.Minute)
	switch {
	case ca.name == "delete IKE" || cb.name == "delete IKE":
		for _, e := range []*end{p.a, p.b} {
			if !errors.Is(e.m.Err(), ErrDeleted) && !errors.Is(e.m.Err(), ErrDeletedByPeer) || e.closed == nil {
				p.t.Fatalf("%s: %v, want it deleted\n%s", e.name, e.m.Err(), p.trace())
			}
		}
	case ca.name == "delete child" || cb.name == "delete child":
		p.agree(0)
	default:
		p.agree(1)
	}
}

// Shows: IKE-5, IKE-10. Every pair of commands begun at the same time, in every order of delivery. TestEachCollision has more of
// them, with either end having the lowest nonce.
func TestCollisions(t *testing.T) {
	for _, ca := range commands {
		for _, cb := range commands {
			t.Run(ca.name+" and "+cb.name, func(t *testing.T) {
				t.Parallel()
				for seed := uint64(20); seed < 21; seed++ {
					for choices, used := uint(0), 0; choices < 1<<min(used, 6) || choices == 0; choices++ {
						p := established(t, seed, onlyGroup(suite.GroupCurve25519))
						begin(t, p, ca, cb)
						used = max(used, p.interleave(choices))
						p.converge(ca, cb)
						assertRekeyed(t, p, ca, cb)
					}
				}
			})
		}
	}
}

func begin(t *testing.T, p *pair, ca, cb command) {
	t.Helper()
	if err := ca.do(p, p.a); err != nil {
		t.Fatal(err)
	}
	if err := cb.do(p, p.b); err != nil {
		t.Fatal(err)
	}
	p.drain()
}

// assertRekeyed checks that the rekeyings have happened, and the outage rule: with a rekeying alone no end is ever without
// a child SA to send on.
func assertRekeyed(t *testing.T, p *pair, ca, cb command) {
	t.Helper()
	both := ca.name + cb.name
	if strings.Contains(both, "delete") {
		return
	}
	if strings.Contains(both, "rekey IKE") && (count[IKERekeyed](p.a.events) == 0 || count[IKERekeyed](p.b.events) == 0) {
		t.Fatalf("the IKE SA was not rekeyed\n%s", p.trace())
	}
	if strings.Contains(both, "rekey child") && p.a.sending().Replaces == 0 {
		t.Fatalf("the child SA was not rekeyed\n%s", p.trace())
	}
}

// Shows: IKE-5, IKE-10. The same with each single datagram lost: what is in flight at the loss is repeated until both
// agree.
func TestCollisionsWithLoss(t *testing.T) {
	for _, ca := range commands[:3] {
		for _, cb := range commands[:3] {
			t.Run(ca.name+" and "+cb.name, func(t *testing.T) {
				t.Parallel()
				for seed := uint64(30); seed < 31; seed++ {
					for choices := range uint(2) {
						for lost, more := 0, true; more; lost++ {
							p := established(t, seed, onlyGroup(suite.GroupCurve25519))
							base := p.sent
							p.lose = func(f flight) bool { return f.index == base+lost }
							begin(t, p, ca, cb)
							p.interleave(choices)
							p.converge(ca, cb)
							assertRekeyed(t, p, ca, cb)
							more = p.sent > base+lost+1
						}
					}
				}
			})
		}
	}
}

// Shows: IKE-10. Two commands at one end, one behind the other, with each single datagram lost.
func TestCommandsInARow(t *testing.T) {
	for _, first := range commands {
		for _, second := range commands {
			if first.name == "delete IKE" || first.name == "delete child" && strings.Contains(second.name, "child") {
				continue // the second is an error then
			}
			t.Run(first.name+" then "+second.name, func(t *testing.T) {
				t.Parallel()
				for lost, more := 0, true; more; lost++ {
					p := established(t, 35, onlyGroup(suite.GroupCurve25519))
					base := p.sent
					p.lose = func(f flight) bool { return f.index == base+lost }
					e := []*end{p.a, p.b}[lost%2]
					if err := errors.Join(first.do(p, e), second.do(p, e)); err != nil {
						t.Fatal(err)
					}
					p.drain()
					p.converge(first, second)
					assertRekeyed(t, p, first, second)
					more = p.sent > base+lost+1
				}
			})
		}
	}
}

// Shows: IKE-1, IKE-10. Each single datagram of a whole life is lost, duplicated or delayed beyond the one after it.
func TestEachMessage(t *testing.T) {
	life := func(t *testing.T, prepare func(p *pair)) *pair {
		t.Helper()
		p := newPair(t, 40, onlyGroup(suite.GroupCurve25519))
		prepare(p)
		p.start()
		p.driveFor(time.Minute)
		p.agree(1)
		for _, c := range commands[:2] {
			for _, e := range []*end{p.a, p.b} {
				if err := c.do(p, e); err != nil {
					t.Fatal(err)
				}
				p.drain()
				p.driveFor(3 * time.Minute)
				p.agree(1)
			}
		}
		if err := p.a.m.CheckLiveness(p.now); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.driveFor(time.Minute)
		p.agree(1)
		if _, ok := find[Alive](p.a.events); !ok {
			t.Fatal("no Alive")
		}
		p.a.m.Delete(p.now)
		p.drain()
		p.driveFor(time.Minute)
		if !errors.Is(p.a.m.Err(), ErrDeleted) || !errors.Is(p.b.m.Err(), ErrDeletedByPeer) {
			t.Fatalf("A %v, B %v\n%s", p.a.m.Err(), p.b.m.Err(), p.trace())
		}
		return p
	}
	whole := life(t, func(*pair) {})
	if whole.sent != 24 {
		t.Errorf("a life without loss takes %d datagrams, want 24:\n%s", whole.sent, whole.trace())
	}
	for i := range whole.sent {
		t.Run(fmt.Sprintf("lose %d", i), func(t *testing.T) {
			life(t, func(p *pair) { p.lose = func(f flight) bool { return f.index == i } })
		})
		t.Run(fmt.Sprintf("duplicate %d", i), func(t *testing.T) {
			p := life(t, func(p *pair) { p.duplicate = func(f flight) bool { return f.index == i } })
			// A repeated request gives one more response, a repeated response nothing (RFC 7296 §2.1).
			if p.sent != whole.sent && p.sent != whole.sent+1 {
				t.Errorf("%d datagrams", p.sent)
			}
		})
		t.Run(fmt.Sprintf("replay %d at the end", i), func(t *testing.T) {
			var kept flight
			p := life(t, func(p *pair) {
				p.duplicate = func(f flight) bool {
					if f.index == i {
						kept = f
					}
					return false
				}
			})
			sent, state := p.sent, fmt.Sprint(p.a.m.Err(), p.b.m.Err())
			_ = p.deliver(kept)
			if p.sent > sent+1 || state != fmt.Sprint(p.a.m.Err(), p.b.m.Err()) {
				t.Errorf("an old datagram made the ends say %v", p.log[len(p.log)-2:])
			}
		})
	}
	// Heavy loss: everything happens, only later.
	for seed := range uint64(8) {
		n := uint64(0)
		life(t, func(p *pair) {
			p.lose = func(flight) bool { n = n*6364136223846793005 + seed*2 + 1; return n>>33%4 == 0 }
		})
	}
}

// Shows: IKE-5. RFC 7296 §2.8.1, second sequence: A's request is lost, B rekeys and deletes meanwhile, A's repetition is
// answered with CHILD_SA_NOT_FOUND, which A ignores.
func TestRekeyAfterPeerFinished(t *testing.T) {
	p := established(t, 50)
	base := p.sent
	p.lose = func(f flight) bool { return f.index == base }
	begin(t, p, commands[0], commands[0])
	p.drive()
	p.agree(1)
	if !strings.Contains(p.trace(), "B CREATE_CHILD_SA response 2: N(CHILD_SA_NOT_FOUND)") {
		t.Errorf("another course than the RFC's:\n%s", p.trace())
	}
	if n := count[ChildInstalled](p.a.events); n != 1 {
		t.Errorf("A has installed %d child SAs, want only that of B", n)
	}
}

// Shows: IKE-5. RFC 7296 §2.8.2: B's rekeying request is lost, A rekeys and deletes; B forgets its own.
func TestIKERekeyUnnoticed(t *testing.T) {
	p := established(t, 51)
	base := p.sent
	p.lose = func(f flight) bool { return f.index == base+1 }
	begin(t, p, commands[1], commands[1])
	p.drive()
	p.agree(1)
	if a := p.a.m.current; !a.initiator {
		t.Errorf("the SA of A must have survived:\n%s", p.trace())
	}
	for _, e := range []*end{p.a, p.b} {
		if n := count[IKERekeyed](e.events); n != 1 {
			t.Errorf("%s: %d rekeyings", e.name, n)
		}
	}
}

// Shows: IKE-5. Of two simultaneous rekeyings the one with the lowest of the four nonces is closed by who began it
// (RFC 7296 §2.8.1, §2.8.2); with enough seeds each end wins and loses.
func TestLowestNonce(t *testing.T) {
	for _, c := range commands[:2] {
		winners := map[bool]int{}
		for seed := uint64(60); seed < 76; seed++ {
			p := established(t, seed)
			before := len(p.seen)
			begin(t, p, c, c)
			p.interleave(0b0101)
			var lowest []byte
			fromA := false
			for _, f := range p.seen[before:] {
				m, err := p.open(f.Payload)
				if err != nil || m.Header.Exchange != message.CreateChildSA {
					continue
				}
				n, _ := message.Find[message.Nonce](m.Payloads)
				if lowest == nil || string(n.Data) < string(lowest) {
					// The exchange's initiator is who sent the request.
					lowest, fromA = n.Data, (f.from == p.a) != m.Header.Response()
				}
			}
			p.drive()
			p.agree(1)
			// The survivor was made by the other end: a child SA without standby there, an IKE SA as its original initiator.
			ofA := p.a.m.current.initiator
			if c.name == "rekey child" {
				ofA = !p.a.sending().Standby
			}
			if ofA == fromA {
				t.Errorf("%s, seed %d: the lowest nonce was in A's exchange: %t, and A's SA survived: %t\n%s", c.name, seed, fromA, ofA, p.trace())
			}
			winners[ofA]++
		}
		if winners[true] == 0 || winners[false] == 0 {
			t.Errorf("%s: only one end ever won: %v", c.name, winners)
		}
	}
}

// A peer that is busy for minutes is out of step (RFC 7296 §2.25).
func TestTemporaryFailureForever(t *testing.T) {
	for _, c := range commands[:2] {
		p := established(t, 77)
		p.b.m.deleting = true // refuses all rekeyings, and never sends its Delete
		if err := c.do(p, p.a); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.driveFor(4 * time.Minute)
		if p.a.m.Err() != nil {
			t.Fatalf("%s: gave up too early: %v", c.name, p.a.m.Err())
		}
		if n := strings.Count(p.trace(), "N(TEMPORARY_FAILURE)"); n < 20 || n > 125 {
			t.Errorf("%s: %d attempts in 4 minutes, want one each 2 to 10 s", c.name, n)
		}
		p.driveFor(2 * time.Minute)
		if !errors.Is(p.a.m.Err(), ErrOutOfSync) {
			t.Errorf("%s: %v", c.name, p.a.m.Err())
		}
	}
}

// A child SA that the peer has lost is made anew (RFC 7296 §2.25).
func TestChildSANotFound(t *testing.T) {
	p := established(t, 78)
	lost := p.b.m.children[0]
	p.lax = true
	p.b.m.removeChild(lost, ErrDeleted)
	p.drain()
	if err := commands[0].do(p, p.a); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
	if !strings.Contains(p.trace(), "N(CHILD_SA_NOT_FOUND)") {
		t.Error(p.trace())
	}
}
