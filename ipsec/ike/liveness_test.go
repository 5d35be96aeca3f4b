package ike

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// Shows: IKE-5 (DPD). A dead gateway is noticed in the configured time after its last proof of life, whatever the
// retransmission defaults and whichever request is outstanding.
func TestDeadIn(t *testing.T) {
	for _, c := range []struct{ liveness, dead time.Duration }{
		{time.Second, 3 * time.Second}, {5 * time.Second, 10 * time.Second}, {30 * time.Second, 45 * time.Second},
		{30 * time.Second, 5 * time.Minute}, {time.Second, 2 * time.Second},
	} {
		for _, what := range []string{"nothing", "rekey child", "rekey IKE", "ESP before"} {
			t.Run(fmt.Sprintf("%v %v %s", c.liveness, c.dead, what), func(t *testing.T) {
				p := established(t, 301, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
					i.Liveness, i.Dead = c.liveness, c.dead
				})
				p.lax = true
				p.lose = func(flight) bool { return true }
				last := p.a.m.lastHeard
				switch what {
				case "rekey child":
					p.now = p.now.Add(c.liveness / 2)
					if err := commands[0].do(p, p.a); err != nil {
						t.Fatal(err)
					}
				case "rekey IKE":
					if err := commands[1].do(p, p.a); err != nil {
						t.Fatal(err)
					}
				case "ESP before":
					p.driveFor(c.liveness + (c.dead-c.liveness)/2) // the question is under way
					p.a.m.HandleTraffic(p.now, p.a.sending().Inbound.SPI)
					last = p.now.Boot
				}
				p.drain()
				sent := p.sent
				step := c.dead / 1000
				for p.a.m.Err() == nil && p.now.Boot < last+10*c.dead {
					p.driveFor(step)
				}
				if got := p.now.Boot - last; !errors.Is(p.a.m.Err(), ErrNoAnswer) || got > c.dead+step || got < c.dead-step {
					t.Errorf("%v after %v, want the gateway dead after %v", p.a.m.Err(), got, c.dead)
				}
				if what != "ESP before" && p.sent-sent < 3 {
					t.Errorf("the gateway was asked %d times only", p.sent-sent)
				}
			})
		}
	}
}

// A request after a silence in which nothing was expected of the peer is not the peer's death, and neither is a sleep.
func TestDeadAfterSilence(t *testing.T) {
	for _, sleep := range []bool{false, true} {
		p := established(t, 302, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Liveness, i.Dead = -1, 8*time.Second })
		p.lax = true
		if !sleep {
			p.now = p.now.Add(time.Hour)
		}
		if err := p.a.m.CheckLiveness(p.now); err != nil {
			t.Fatal(err)
		}
		p.drain()
		if sleep {
			p.queue = nil // sent on a path that is no more
			p.now = p.now.Add(time.Hour)
			p.timeouts()
		}
		began := p.now.Boot
		p.lose = func(flight) bool { return p.now.Boot < began+6*time.Second }
		p.driveFor(time.Minute)
		p.agree(1)
	}
}

// A peer whose ESP packets come but who answers no request is given up in the end.
func TestDeadBehindTraffic(t *testing.T) {
	p := established(t, 303, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.Liveness, i.Dead = 5*time.Second, 10*time.Second
	})
	p.lax = true
	p.lose = func(flight) bool { return true }
	if err := commands[0].do(p, p.a); err != nil {
		t.Fatal(err)
	}
	p.drain()
	began := p.now.Boot
	for p.a.m.Err() == nil && p.now.Boot < began+time.Minute {
		p.driveFor(100 * time.Millisecond)
		p.a.m.HandleTraffic(p.now, p.a.sending0())
	}
	if got := p.now.Boot - began; !errors.Is(p.a.m.Err(), ErrNoAnswer) || got > 21*time.Second {
		t.Errorf("%v after %v, want ErrNoAnswer after 20 s", p.a.m.Err(), got)
	}
}

// sending0 returns the inbound SPI of the child SA in use, 0 without one.
func (e *end) sending0() uint32 {
	if c := e.sending(); c != nil {
		return c.Inbound.SPI
	}
	return 0
}
