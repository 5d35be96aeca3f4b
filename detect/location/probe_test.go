package location

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// unanswered ends the running series to the i-HA.
func (b *bench) unanswered() {
	b.t.Helper()
	if err := b.m.HandleInternalUnanswered(b.now, b.m.Epoch()); err != nil {
		b.t.Fatal(err)
	}
}

// Shows: DET-9
func TestProbeFromOutside(t *testing.T) {
	b := outside(t)
	for range 3 { // a series that is shorter than the time that a probe has
		b.advance(DefaultProbe)
		b.want(ProbeInternal{epoch})
		b.unanswered()
		b.want(ProbeUnanswered{epoch})
	}
	b.unanswered() // not a probe, but the registration machine's renewal
	b.want(ProbeUnanswered{epoch})
	b.advance(DefaultProbe)
	b.want(ProbeInternal{epoch})
	b.advance(DefaultProbeTime - 1)
	b.want()
	b.advance(1)
	b.want(ProbeUnanswered{epoch})
	if at, armed := b.m.Deadline(); !armed || at != b.now.Boot+DefaultProbe-DefaultProbeTime {
		t.Errorf("the next probe at %v (%v)", at, armed)
	}

	b = outside(t, func(c *Config) { c.Probe = 0 })
	if at, armed := b.m.Deadline(); armed {
		t.Errorf("a timer at %v although probing is off", at)
	}
}

// Shows: DET-9 (a probe that is answered: the network has become inside without a local event)
func TestProbeAnswered(t *testing.T) {
	b := outside(t, func(c *Config) { c.ProbeTime = 20 * time.Second })
	b.advance(DefaultProbe)
	b.want(ProbeInternal{epoch})
	b.now = b.now.Add(time.Second)
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	p, _ := b.m.Proof()
	b.want(Inside{Proof: p}, DeregisterExternal{epoch})
	b.advance(20 * time.Second)
	b.want() // the probe is over
	b.state(StateInside)
}

// Shows: DET-9 (the i-HA has taken a registration that proves nothing)
func TestBindingReplacedByWhatIsNoProof(t *testing.T) {
	late := func(e *evidence) { e.sentAt -= ReplyLimit + 1 }
	weak := func(e *evidence) { e.strongKey = false }
	for _, tc := range []struct {
		name  string
		bench func(*testing.T, ...func(*Config)) *bench
		spoil func(*evidence)
		want  []Event
	}{
		{"late, outside", outside, late, []Event{BindingReplaced{epoch}}},
		{"weak, outside", outside, weak, []Event{BindingReplaced{epoch}}},
		{"denied, outside", outside, func(e *evidence) { e.code = 129 }, nil},
		{"no TNC, outside", outside, func(e *evidence) { e.trustedNetwork = false }, []Event{Alarm{Epoch: epoch, Kind: AlarmNoTNC}}},
		{"late, inside", inside, late, nil},
		{"late, detecting", detecting, late, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := tc.bench(t)
			b.now = b.now.Add(time.Minute / 4)
			e := b.evidence()
			tc.spoil(&e)
			if err := b.m.internalEvidence(b.now, e); err == nil {
				t.Fatal("taken for a proof")
			}
			b.want(tc.want...)
		})
	}
	// Outside it is not asked for again: the next probe is.
	b := outside(t)
	e := b.evidence()
	late(&e)
	if err := b.m.internalEvidence(b.now, e); !errors.Is(err, ErrLate) {
		t.Fatal(err)
	}
	b.events()
	b.advance(time.Minute)
	b.want()
}

// Shows: DET-18
func TestSilentHomeAgentsAreAskedWithBackOff(t *testing.T) {
	b := detecting(t)
	b.advance(DefaultPeriod)
	b.want(Unreachable{epoch})
	for _, pause := range []time.Duration{2, 4, 8, 16, 30, 30} {
		b.unanswered()
		b.want()
		if err := b.m.HandleExternalUnanswered(b.now, epoch); err != nil {
			t.Fatal(err)
		}
		b.advance(pause*time.Second - 1)
		b.want()
		b.advance(1)
		b.want(both()) // together, and told once
		b.state(StateUnreachable)
	}
	// Any answer is taken up, whatever the pause.
	b.unanswered()
	b.external()
	b.want(TentativelyOutside{epoch})
	b.advance(DefaultPeriod)
	b.want(Outside{Epoch: epoch})
	b.advance(time.Minute)
	b.want()
	// A new detection begins with the first pause again.
	b.m.Restart(b.now, "asked for")
	b.advance(DefaultPeriod)
	b.events()
	b.unanswered()
	b.advance(2 * time.Second)
	b.want(both())
}

// Shows: DET-14 (any reply of the i-HA on a network that is listed as outside)
func TestDenialOnANetworkListedAsOutside(t *testing.T) {
	listed := func(c *Config) { c.OutsideNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24")} }
	b := detecting(t, listed)
	if err := b.m.HandleInternalDenial(epoch-1, careO); !errors.Is(err, ErrStaleEpoch) {
		t.Errorf("a denial of another epoch: %v", err)
	}
	if err := b.m.HandleInternalDenial(epoch, netip.MustParseAddr("203.0.113.9")); err != nil {
		t.Fatal(err)
	}
	b.want(Alarm{Epoch: epoch, Kind: AlarmReachableOutside})
	for _, spoil := range []func(*evidence){func(e *evidence) { e.code = 129 }, func(e *evidence) { e.strongKey = false }} {
		e := b.evidence()
		spoil(&e)
		if err := b.m.internalEvidence(b.now, e); !errors.Is(err, ErrListedOutside) {
			t.Errorf("error %v", err)
		}
		b.want(Alarm{Epoch: epoch, Kind: AlarmReachableOutside})
	}
	b = detecting(t)
	if err := b.m.HandleInternalDenial(epoch, careO); err != nil {
		t.Fatal(err)
	}
	b.want()
	b = detecting(t, listed, func(c *Config) { c.ExternalHomeAgent = iHA })
	if err := b.m.HandleInternalDenial(epoch, careO); err != nil {
		t.Fatal(err)
	}
	b.want() // it is the x-HA as well
}
