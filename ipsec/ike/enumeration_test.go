package ike

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// allCollisions in the environment runs each of the collisions of TestEachCollision, not only a sample.
const allCollisions = "MIPVPN_COLLISIONS"

// things are what each end may begin: all that RFC 7296 §2.25 names, and an INFORMATIONAL request with contents.
var things = append(slices.Clone(commands),
	command{"create child", func(p *pair, e *end) error {
		local, remote := []esp.Selector{esp.AddrSelector(assigned)}, []esp.Selector{esp.PrefixSelector(inside)}
		if e == p.b {
			local, remote = remote, local
		}
		return e.m.CreateChild(p.now, local, remote)
	}},
	command{"informational", func(p *pair, e *end) error {
		e.m.enqueue(p.now, e.m.current, newExchange(message.Informational, &ticketTask{}))
		return nil
	}},
)

// collisionCase is one course of events: what each end begins, how the datagrams are interleaved, and what becomes of the one
// with an index of its own, lost or delivered twice (the second time at once, or behind all others).
type collisionCase struct {
	a, b    int // of things; -1 for nothing
	seed    uint64
	choices uint
	fate    string
	index   int // of the datagram that the fate is for, counted from the first
}

func (c collisionCase) String() string {
	name := func(i int) string {
		if i < 0 {
			return "nothing"
		}
		return things[i].name
	}
	return fmt.Sprintf("%s and %s, seed %d, order %06b, %s %d", name(c.a), name(c.b), c.seed, c.choices, c.fate, c.index)
}

// run plays the case. It returns how many datagrams there were and how many choices of order.
func (c collisionCase) run(t *testing.T) (sent, used int) {
	t.Helper()
	p := established(t, c.seed, onlyGroup(suite.GroupCurve25519))
	p.log = append(p.log, c.String())
	base := p.sent
	var late []flight
	hit := func(f flight) bool { return f.index == base+c.index }
	switch c.fate {
	case "lost":
		p.lose = hit
	case "twice":
		p.duplicate = hit
	case "late":
		p.duplicate = func(f flight) bool {
			if hit(f) {
				late = append(late, f)
			}
			return false
		}
	}
	for i, e := range []*end{p.a, p.b} {
		if n := []int{c.a, c.b}[i]; n >= 0 {
			if err := things[n].do(p, e); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.drain()
	used = p.interleave(c.choices)
	for _, f := range late {
		_ = p.deliver(f)
	}
	p.driveFor(6 * time.Minute)
	sent = p.sent - base
	c.converged(p)
	return sent, used
}

// converged asserts that both ends are at rest in the same state, and which that is.
func (c collisionCase) converged(p *pair) {
	p.t.Helper()
	begun := func(what string) int {
		n := 0
		for i, e := range []*end{p.a, p.b} {
			// A client has no policy for child SAs that the gateway thinks of: those are refused.
			if k := []int{c.a, c.b}[i]; k >= 0 && things[k].name == what && (what != "create child" || e == p.a) {
				n++
			}
		}
		return n
	}
	if begun("delete IKE") > 0 {
		for _, e := range []*end{p.a, p.b} {
			if e.closed == nil || e.m.Err() == nil || len(e.children) != 0 || len(e.spis) != 0 || len(e.m.sas) != 0 {
				p.t.Fatalf("%s: %v, %d child SAs, SPIs %v, want nothing left\n%s", e.name, e.m.Err(), len(e.children), e.spis, p.trace())
			}
		}
		return
	}
	want := 1
	if begun("delete child") > 0 {
		want = 0
	}
	// A child SA is not created while the IKE SA is being rekeyed (§2.25.2); it is reported and left to the driver.
	if begun("create child") > 0 && count[ChildFailed](p.a.events) == 0 {
		want++
	}
	p.agree(want)
	if begun("rekey IKE") > 0 && (count[IKERekeyed](p.a.events) == 0 || count[IKERekeyed](p.b.events) == 0) {
		p.t.Fatalf("the IKE SA was not rekeyed\n%s", p.trace())
	}
	if at, ok := p.deadline(); ok {
		p.t.Fatalf("a timer for %v runs at rest\n%s", at-p.now.Boot, p.trace())
	}
	if begun("rekey child") > 0 && begun("delete child") == 0 && !slices.ContainsFunc(p.a.m.children, func(ch *child) bool { return p.a.children[ch.id].Replaces != 0 }) {
		p.t.Fatalf("the child SA was not rekeyed\n%s", p.trace())
	}
}

// cases yields all cases of a pair of things; those of the fates follow when a run without has shown how many datagrams there
// are in that order.
func eachCase(t *testing.T, a, b int, seeds []uint64, pick func() bool) (played int) {
	t.Helper()
	for _, seed := range seeds {
		for choices, used := uint(0), 0; choices < 1<<min(used, 6) || choices == 0; choices++ {
			c := collisionCase{a: a, b: b, seed: seed, choices: choices, fate: "none"}
			sent, n := c.run(t)
			used = max(used, n)
			played++
			for _, c.fate = range []string{"lost", "twice", "late"} {
				for c.index = range sent {
					if pick() {
						c.run(t)
						played++
					}
				}
			}
		}
	}
	return played
}

// Shows: IKE-5, IKE-10. Each collision of RFC 7296 §2.8 and §2.25: what one end begins against what the other does, with either
// end having the lowest nonce, in each order of arrival, and each single datagram lost, doubled or seen again at the end. At
// every step what is in flight has its timer and what one end sends on the other can receive; in the end both are at rest with
// the same SAs, or without any.
func TestEachCollision(t *testing.T) {
	all := os.Getenv(allCollisions) != ""
	for a := -1; a < len(things); a++ {
		for b := -1; b < len(things); b++ {
			if a < 0 && b < 0 {
				continue
			}
			t.Run(strings.SplitN(collisionCase{a: a, b: b}.String(), ",", 2)[0], func(t *testing.T) {
				t.Parallel()
				seeds, pick := []uint64{20, 21, 22, 23}, func() bool { return true }
				if !all {
					r := rand.New(rand.NewPCG(uint64(a+1), uint64(b+1)))
					seeds, pick = seeds[:1+r.IntN(2)], func() bool { return r.IntN(40) == 0 }
				}
				if n := eachCase(t, a, b, seeds, pick); all {
					t.Logf("%d cases", n)
				}
			})
		}
	}
}

// timers asserts what must be true of an end that lives, at every moment: what waits for something has a timer that ends the
// waiting, and nothing is in two states.
func (p *pair) timers(e *end) {
	p.t.Helper()
	m := e.m
	if m.err != nil || m.parked || m.current == nil {
		return
	}
	fail := func(format string, args ...any) {
		p.t.Helper()
		p.t.Fatalf("%s: "+format+"\n%s", append(append([]any{e.name}, args...), p.trace())...)
	}
	queued := func(s *ikeSA, x func(*exchange) bool) bool {
		return s.exchange != nil && x(s.exchange) || slices.ContainsFunc(s.queue, x)
	}
	for _, s := range m.sas {
		switch {
		case s.exchange != nil && (s.exchange.resendAt == 0 || len(s.exchange.wires) == 0) && m.waiting == nil:
			fail("%v: the request %d is not repeated", s, s.exchange.id)
		case s.exchange != nil && s.exchange.id != s.nextID:
			fail("%v: the outstanding request has the message ID %d, want %d", s, s.exchange.id, s.nextID)
		case s.exchange == nil && len(s.queue) != 0 && s.heldUntil == 0 && m.waiting == nil:
			fail("%v: %d requests wait for nothing", s, len(s.queue))
		case s.state == saReplaced && s.guardAt == 0:
			fail("%v is replaced, and nobody deletes it", s)
		case s.state == saClosed && (s.guardAt == 0 || s.keys != nil || s.exchange != nil):
			fail("%v is closed and stays", s)
		case s.state == saCandidate && s.guardAt == 0 && !m.rekeyOutstanding(m.current):
			fail("%v: the collision is not decided, and nothing will", s)
		case s.state == saDeleting && !queued(s, func(x *exchange) bool { _, ok := x.tasks[0].(*deleteIKETask); return ok }):
			fail("%v: no Delete is on its way", s)
		case s.state == saEstablished && s != m.current:
			fail("%v is established beside %v", s, m.current)
		}
	}
	for _, c := range m.children {
		deleting := func(x *exchange) bool {
			t, ok := x.tasks[0].(*deleteChildTask)
			return ok && t.child == c
		}
		switch {
		case e.children[c.id] == nil || e.children[c.id].Inbound.SPI != c.in:
			fail("child SA %d is not installed", c.id)
		case c.state == childDraining && c.removeAt == 0:
			fail("child SA %d drains for ever", c.id)
		case c.state == childInstalled && c.replacedBy != nil && c.removeAt == 0:
			fail("child SA %d is replaced, and nobody deletes it", c.id)
		case c.state == childDeleting && !slices.ContainsFunc(m.sas, func(s *ikeSA) bool { return queued(s, deleting) }):
			fail("child SA %d: no Delete is on its way", c.id)
		case c.standby && e.children[c.id].active:
			fail("child SA %d is on standby and in use", c.id)
		}
	}
	if len(e.children) != len(m.children) {
		fail("%d child SAs are installed, %d are known", len(e.children), len(m.children))
	}
}
