package simnet

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// fired reports whether the timer has fired by now, and takes the expiry.
func fired(c <-chan struct{}) bool {
	synctest.Wait()
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		start := p.a.Now().Boot
		tm := p.a.NewTimer()
		tm.Reset(start + time.Minute)
		if d := timed(tm.C()); d != time.Minute {
			t.Errorf("fired after %v, expected a minute", d)
		}
		tm.Reset(start) // in the past
		if !fired(tm.C()) {
			t.Error("a timer for the past did not fire at once")
		}
		tm.Reset(start)
		synctest.Wait()
		tm.Reset(p.a.Now().Boot + time.Minute)
		if fired(tm.C()) {
			t.Error("Reset left the expiry before it")
		}
		tm.Stop()
		time.Sleep(2 * time.Minute)
		if fired(tm.C()) {
			t.Error("a stopped timer fired")
		}
		tm.Reset(start)
		synctest.Wait()
		tm.Stop()
		if fired(tm.C()) {
			t.Error("Stop left an expiry")
		}
	})
}

// timed returns how long it takes until the timer fires.
func timed(c <-chan struct{}) time.Duration {
	start := time.Now()
	<-c
	return time.Since(start)
}

func TestSuspendKeepsTimersAndPackets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		from, _ := collect(t, p.b, 1, addrB, udp(1000))
		own, got := collect(t, p.a, 1, addrA, udp(2000))
		_, back := collect(t, p.b, 1, addrB, udp(2000))
		hints := 0
		if _, err := p.a.Watch(func() { hints++ }); err != nil {
			t.Fatal(err)
		}
		before := p.a.Now()
		tm := p.a.NewTimer()
		tm.Reset(before.Boot + time.Minute)
		later := p.a.NewTimer()
		later.Reset(before.Boot + 2*time.Hour)
		p.a.Suspend()
		mustSend(t, from, netip.AddrPortFrom(addrA, 2000), "to the sleeper")
		mustSend(t, own, netip.AddrPortFrom(addrB, 2000), "from the sleeper")
		time.Sleep(time.Hour)
		if fired(tm.C()) {
			t.Error("a timer fired in suspend")
		}
		p.a.Resume()
		if !fired(tm.C()) {
			t.Error("the timer that came due in suspend did not fire on resume")
		}
		if fired(later.C()) {
			t.Error("a timer that was not due fired on resume")
		}
		now := p.a.Now()
		if b, w := now.Since(before.Boot), now.Wall.Sub(before.Wall); b != time.Hour || w != time.Hour {
			t.Errorf("in an hour of suspend boot time went on by %v and wall time by %v", b, w)
		}
		if hints != 1 {
			t.Errorf("%d hints on resume, expected 1", hints)
		}
		time.Sleep(time.Second)
		if g := append(got(), back()...); len(g) != 0 {
			t.Errorf("packets passed a sleeping host: %v", g)
		}
	})
}

func TestAdvanceBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		before, other := p.a.Now(), p.b.Now()
		tm := p.a.NewTimer()
		tm.Reset(before.Boot + time.Minute)
		stays := p.b.NewTimer()
		stays.Reset(other.Boot + time.Minute)
		p.a.AdvanceBoot(30 * time.Second)
		if fired(tm.C()) {
			t.Error("the timer fired 30 s early")
		}
		if d := timed(tm.C()); d != 30*time.Second {
			t.Errorf("fired after another %v, expected 30 s", d)
		}
		tm.Reset(p.a.Now().Boot + time.Minute)
		p.a.AdvanceBoot(time.Hour)
		if !fired(tm.C()) {
			t.Error("the timer did not fire after a suspend past it")
		}
		if now := p.a.Now(); now.Since(before.Boot) != time.Hour+time.Minute || now.Wall.Sub(before.Wall) != time.Hour+time.Minute {
			t.Errorf("boot time went on by %v", now.Since(before.Boot))
		}
		if fired(stays.C()) || p.b.Now().Since(other.Boot) != 30*time.Second {
			t.Error("another host's clock went along")
		}
	})
}

func TestStepWall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		before := p.a.Now()
		p.a.StepWall(-24 * time.Hour)
		now := p.a.Now()
		if now.Boot != before.Boot || before.Wall.Sub(now.Wall) != 24*time.Hour {
			t.Errorf("after a step of a day back: boot %v later, wall %v earlier", now.Boot-before.Boot, before.Wall.Sub(now.Wall))
		}
	})
}
