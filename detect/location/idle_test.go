package location

import (
	"testing"
	"time"
)

const idleTime = 2 * time.Minute

func withIdle(c *Config) { c.Idle = idleTime }

// renew answers the re-registrations until one is not asked for any more, active reporting after each whether user data
// passed meanwhile, and returns what came instead.
func (b *bench) renew(active func() bool) []Event {
	b.t.Helper()
	for range 1000 {
		at, ok := b.m.Deadline()
		if !ok {
			b.t.Fatal("no timer")
		}
		b.now = b.now.Add(at - b.now.Boot)
		if active() {
			b.m.HandleActivity(b.now.Boot)
		}
		b.m.HandleTimeout(b.now)
		all := b.events()
		if len(all) != 1 || all[0] != (Event)(Reregister{epoch}) {
			return all
		}
		if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
			b.t.Fatal(err)
		}
		b.events()
	}
	b.t.Fatal("it never rests")
	return nil
}

// resting returns a machine that pauses.
func resting(t *testing.T) *bench {
	t.Helper()
	b := inside(t, withIdle)
	b.renew(func() bool { return false })
	b.state(StatePaused)
	return b
}

// Shows: DET-13
func TestIdlePause(t *testing.T) {
	b := inside(t, withIdle)
	began := b.now.Boot
	all := b.renew(func() bool { return b.now.Boot-began < time.Hour })
	if idle := b.now.Boot - began - time.Hour; idle < idleTime-DefaultGrace || idle > idleTime+DefaultMonitor {
		t.Errorf("paused %v after the last user data, want %v and a cycle", idle, idleTime)
	}
	if len(all) != 1 {
		t.Fatalf("events %+v", all)
	}
	if p, ok := all[0].(Paused); !ok || p.Epoch != epoch || p.Reason == "" {
		t.Fatalf("event %+v", all[0])
	}
	b.state(StatePaused)
	if _, proven := b.m.Proof(); proven || b.m.State().Verdict() != Unknown {
		t.Errorf("a proof while nobody asks, verdict %v", b.m.State().Verdict())
	}
	if at, armed := b.m.Deadline(); armed {
		t.Errorf("a timer at %v", at)
	}
	b.m.Wake(b.now, "user data wants to leave")
	b.want(both())
	b.state(StateDetecting)
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	b.state(StateInside)

	b = inside(t) // off by default
	for range 1000 {
		at, _ := b.m.Deadline()
		b.advance(at - b.now.Boot)
		b.want(Reregister{epoch})
		if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
			t.Fatal(err)
		}
		b.events()
	}
}

// Shows: DET-13 (whatever happens while it pauses, there is no proof but by a reply)
func TestWhatEndsAPause(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(*bench) error
		want []Event
		then State
	}{
		{"user data", func(b *bench) error { b.m.Wake(b.now, "user data"); return nil }, []Event{both()}, StateDetecting},
		{"a person", func(b *bench) error { b.m.Restart(b.now, "asked for"); return nil }, []Event{both()}, StateDetecting},
		{"the renewal is refused", func(b *bench) error { return b.m.HandleInternalRefusal(b.now, epoch, "129") }, []Event{both()}, StateDetecting},
		{"the renewal is not answered", func(b *bench) error { return b.m.HandleInternalUnanswered(b.now, epoch) }, []Event{both()}, StateDetecting},
		{"another epoch", func(b *bench) error {
			return b.m.HandleEpoch(b.now, Attachment{Epoch: epoch + 1, Usable: true, Address: careO})
		}, []Event{StartRegistrations{Epoch: epoch + 1, Internal: true, External: true}}, StateDetecting},
		{"the interface goes", func(b *bench) error { return b.m.HandleEpoch(b.now, Attachment{Epoch: epoch + 1}) }, nil, StateIdle},
		{"the x-HA is silent", func(b *bench) error { return b.m.HandleExternalUnanswered(b.now, epoch) }, nil, StatePaused},
		{"hours", func(b *bench) error { b.advance(5 * time.Hour); return nil }, nil, StatePaused},
		{"the x-HA answers", func(b *bench) error { b.external(); return nil }, []Event{DeregisterExternal{epoch}}, StatePaused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := resting(t)
			if err := tc.do(b); err != nil {
				t.Fatal(err)
			}
			b.want(tc.want...)
			b.state(tc.then)
			if p, proven := b.m.Proof(); proven {
				t.Errorf("a proof: %+v", p)
			}
		})
	}
	t.Run("the renewal is answered", func(t *testing.T) {
		b := resting(t)
		b.now = b.now.Add(10 * time.Minute)
		if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
			t.Fatal(err)
		}
		p, _ := b.m.Proof()
		b.want(Inside{Proof: p})
		b.advance(DefaultMonitor - DefaultGrace) // still nothing passes
		b.state(StatePaused)
	})
	t.Run("a late or worthless reply", func(t *testing.T) {
		b := resting(t)
		e := b.evidence()
		e.sentAt -= ReplyLimit + 1
		if err := b.m.internalEvidence(b.now, e); err == nil {
			t.Error("taken for a proof")
		}
		b.want()
		b.state(StatePaused)
		e = b.evidence()
		e.trustedNetwork = false
		if err := b.m.internalEvidence(b.now, e); err == nil {
			t.Error("taken for a proof")
		}
		b.want(Alarm{Epoch: epoch, Kind: AlarmNoTNC}, both())
	})
	b := inside(t, withIdle)
	b.m.Wake(b.now, "nothing to wake")
	b.want()
}
