package location

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Shows: DET-6
func TestBothRequestsLeaveTogether(t *testing.T) {
	b := idle(t)
	if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch, Usable: true, Address: careO}); err != nil {
		t.Fatal(err)
	}
	b.want(both())
	b.state(StateDetecting)
	b.advance(DefaultPeriod)
	b.want(Unreachable{epoch})

	// A series that gave up while it is still being found out is begun anew, each for itself.
	b = detecting(t)
	if err := b.m.HandleInternalUnanswered(b.now, epoch); err != nil {
		t.Fatal(err)
	}
	b.want(StartRegistrations{Epoch: epoch, Internal: true})
	if err := b.m.HandleExternalUnanswered(b.now, epoch); err != nil {
		t.Fatal(err)
	}
	b.want(StartRegistrations{Epoch: epoch, External: true})
}

// Shows: DET-3, DET-4
func TestProofOfInside(t *testing.T) {
	b := detecting(t)
	e := b.evidence()
	sent := b.now.Boot
	b.now = b.now.Add(300 * time.Millisecond)
	e.receivedAt = b.now.Boot
	if err := b.m.internalEvidence(b.now, e); err != nil {
		t.Fatal(err)
	}
	want := Proof{iface: iface, epoch: epoch, sentAt: sent, expires: sent + 60*time.Second}
	b.want(Inside{Proof: want})
	b.state(StateInside)
	if want.Live(sent-1) || !want.Live(sent) || !want.Live(sent+60*time.Second-1) || want.Live(sent+60*time.Second) {
		t.Error("the proof does not live from the sending of its request until T_MONITOR after it")
	}
	if (Proof{}).Live(0) {
		t.Error("the zero proof lives")
	}
	r := b.m.Report()
	if r.Internal.RoundTrip != 300*time.Millisecond || !r.Internal.TrustedNetwork || r.Verdict != VerdictInside || r.Proof != want {
		t.Errorf("report %+v", r)
	}
}

// Shows: DET-1, DET-2, DET-3, DET-4, DET-14, DET-17
func TestNoProof(t *testing.T) {
	listed := func(c *Config) { c.OutsideNetworks = []netip.Prefix{netip.MustParsePrefix("172.16.0.0/12")} }
	tests := []struct {
		name    string
		change  func(*Config)
		spoil   func(*evidence)
		want    error
		ignored bool // changes nothing, even when a proof is at hand
		alarm   AlarmKind
	}{
		{name: "another interface", spoil: func(e *evidence) { e.iface = 4 }, want: ErrOtherInterface, ignored: true},
		{name: "an earlier epoch", spoil: func(e *evidence) { e.epoch-- }, want: ErrStaleEpoch, ignored: true},
		{name: "a later epoch", spoil: func(e *evidence) { e.epoch++ }, want: ErrStaleEpoch, ignored: true},
		{name: "through the VPN", spoil: func(e *evidence) { e.direct = false }, want: ErrNotDirect, ignored: true},
		{name: "another home agent", spoil: func(e *evidence) { e.agent = xHA }, want: ErrOtherAgent, ignored: true},
		{name: "late by its receipt", spoil: func(e *evidence) { e.sentAt -= ReplyLimit + 1 }, want: ErrLate, ignored: true},
		{name: "request in the future", spoil: func(e *evidence) { e.sentAt += time.Hour }, want: ErrLate, ignored: true},
		{name: "code 2", spoil: func(e *evidence) { e.code = 2 }, want: ErrNotAccepted},
		{name: "code 133", spoil: func(e *evidence) { e.code = 133 }, want: ErrNotAccepted},
		{name: "weak key", spoil: func(e *evidence) { e.strongKey = false }, want: ErrWeakKey},
		{name: "no TNC", spoil: func(e *evidence) { e.trustedNetwork = false }, want: ErrNoTNC, alarm: AlarmNoTNC},
		{name: "no TNC and late", spoil: func(e *evidence) { e.trustedNetwork = false; e.sentAt -= time.Minute }, want: ErrNoTNC, alarm: AlarmNoTNC},
		{name: "a NAT that is refused", change: func(c *Config) { c.RefuseNAT = true }, spoil: func(e *evidence) { e.nat = true }, want: ErrNAT, alarm: AlarmNAT},
		{name: "a NAT that is refused, and late", change: func(c *Config) { c.RefuseNAT = true },
			spoil: func(e *evidence) { e.nat = true; e.sentAt -= time.Minute }, want: ErrNAT, alarm: AlarmNAT},
		{name: "listed as outside", change: listed, spoil: func(e *evidence) { e.careOf = netip.MustParseAddr("172.16.5.1") },
			want: ErrListedOutside, alarm: AlarmReachableOutside},
		{name: "weak key, TNC waived", change: func(c *Config) { c.WaiveTNC = true }, spoil: func(e *evidence) { e.strongKey = false }, want: ErrWeakKey},
	}
	for _, tc := range tests {
		var change []func(*Config)
		if tc.change != nil {
			change = append(change, tc.change)
		}
		var alarm []Event
		if tc.alarm != 0 {
			alarm = []Event{Alarm{Epoch: epoch, Kind: tc.alarm}}
		}
		t.Run(tc.name+"/detecting", func(t *testing.T) {
			b := detecting(t, change...)
			b.now = b.now.Add(time.Millisecond)
			e := b.evidence()
			tc.spoil(&e)
			if err := b.m.internalEvidence(b.now, e); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if p, ok := b.m.Proof(); ok {
				t.Fatalf("a proof was made: %+v", p)
			}
			b.state(StateDetecting)
			b.want(alarm...)
		})
		t.Run(tc.name+"/inside", func(t *testing.T) {
			b := inside(t, change...)
			before, _ := b.m.Proof()
			b.now = b.now.Add(time.Second)
			e := b.evidence()
			tc.spoil(&e)
			if err := b.m.internalEvidence(b.now, e); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			after, _ := b.m.Proof()
			if tc.ignored {
				if after != before {
					t.Errorf("the proof changed from %+v to %+v", before, after)
				}
				b.state(StateInside)
				b.want()
				return
			}
			// Shows: DET-12
			if !after.IsZero() {
				t.Errorf("the proof was kept: %+v", after)
			}
			b.state(StateDetecting)
			b.want(append(alarm, ProofLost{Epoch: epoch}, both())...)
		})
	}
}

// Shows: DET-4
func TestReplyLimitCountsTheQueueToo(t *testing.T) {
	for _, tc := range []struct {
		name            string
		received, taken time.Duration
		want            error
	}{
		{"at the limit", ReplyLimit, ReplyLimit, nil},
		{"received late", ReplyLimit + 1, ReplyLimit + 1, ErrLate},
		{"received in time, looked at late", time.Second, ReplyLimit + 1, ErrLate},
		{"received late, looked at by an older clock", ReplyLimit + 1, time.Second, ErrLate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := detecting(t)
			e := b.evidence()
			e.receivedAt = b.now.Boot + tc.received
			b.now = b.now.Add(tc.taken)
			if err := b.m.internalEvidence(b.now, e); !errors.Is(err, tc.want) {
				t.Fatalf("error %v, want %v", err, tc.want)
			}
			if _, ok := b.m.Proof(); ok != (tc.want == nil) {
				t.Errorf("proof %v", ok)
			}
		})
	}
}

// Shows: DET-4
func TestLateReplyIsAskedForAgain(t *testing.T) {
	b := detecting(t)
	e := b.evidence()
	b.advance(6 * time.Second)
	b.events()
	e.receivedAt = b.now.Boot
	if err := b.m.internalEvidence(b.now, e); !errors.Is(err, ErrLate) {
		t.Fatal(err)
	}
	b.want()
	b.advance(retryDelay)
	b.want(Reregister{epoch})
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	b.state(StateInside)
}

// Shows: DET-3 (the administrator's waiver, by name)
func TestWaivedTNC(t *testing.T) {
	b := detecting(t, func(c *Config) { c.WaiveTNC = true })
	e := b.evidence()
	e.trustedNetwork = false
	if err := b.m.internalEvidence(b.now, e); err != nil {
		t.Fatal(err)
	}
	b.state(StateInside)
	if got := b.m.Reason(); !strings.Contains(got, "WAIVED") {
		t.Errorf("the reason does not say so: %q", got)
	}
}

// Shows: DET-1
func TestInterfacesAreTrackedOnTheirOwn(t *testing.T) {
	a, b := inside(t), detecting(t, func(c *Config) { c.Interface = iface + 1 })
	if err := b.m.internalEvidence(b.now, a.evidence()); !errors.Is(err, ErrOtherInterface) {
		t.Fatalf("error %v", err)
	}
	b.state(StateDetecting)
}

// Shows: DET-2
func TestNewEpochVoidsEverything(t *testing.T) {
	t.Run("usable", func(t *testing.T) {
		b := inside(t)
		if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch + 1, Usable: true, Address: careO}); err != nil {
			t.Fatal(err)
		}
		b.want(ProofLost{Epoch: epoch}, StartRegistrations{Epoch: epoch + 1, Internal: true, External: true})
		if _, ok := b.m.Proof(); ok {
			t.Error("the proof survived")
		}
		old := b.evidence()
		old.epoch = epoch
		if err := b.m.internalEvidence(b.now, old); !errors.Is(err, ErrStaleEpoch) {
			t.Errorf("a reply to a request of the old epoch: %v", err)
		}
		b.state(StateDetecting)
	})
	t.Run("not usable", func(t *testing.T) {
		b := inside(t)
		if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch + 1}); err != nil {
			t.Fatal(err)
		}
		b.want(ProofLost{Epoch: epoch})
		b.state(StateIdle)
		if _, armed := b.m.Deadline(); armed {
			t.Error("a timer runs although nothing can be sent")
		}
		if err := b.m.internalEvidence(b.now, b.evidence()); !errors.Is(err, ErrStaleEpoch) {
			t.Errorf("a reply while down: %v", err)
		}
	})
	t.Run("outside", func(t *testing.T) {
		b := outside(t)
		if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch + 1, Usable: true, Address: careO}); err != nil {
			t.Fatal(err)
		}
		b.want(StartRegistrations{Epoch: epoch + 1, Internal: true, External: true})
		b.state(StateDetecting)
	})
	t.Run("number did not grow", func(t *testing.T) {
		b := inside(t)
		for _, n := range []uint64{epoch, epoch - 1} {
			if err := b.m.HandleEpoch(b.now, Attachment{Epoch: n, Usable: true}); !errors.Is(err, ErrStaleEpoch) {
				t.Errorf("epoch %d: %v", n, err)
			}
		}
		b.state(StateInside)
	})
}

// Shows: DET-4, DET-12 (suspend counts as time: nothing but the boot time is looked at)
func TestProofExpires(t *testing.T) {
	b := inside(t)
	b.advance(DefaultMonitor - time.Nanosecond)
	b.want(Reregister{epoch})
	b.state(StateInside)
	b.advance(time.Nanosecond)
	b.want(ProofLost{Epoch: epoch}, both())
	b.state(StateDetecting)

	b = inside(t)
	b.advance(10 * time.Hour) // asleep: expiry comes before the re-registration that was due first
	b.want(ProofLost{Epoch: epoch}, both())

	b = inside(t)
	b.now.Wall = b.now.Wall.Add(-24 * time.Hour)
	b.advance(time.Second)
	b.want()
	b.state(StateInside)
}

// Shows: DET-5
func TestReregistrationKeepsTheProofFresh(t *testing.T) {
	b := inside(t)
	for range 5 {
		at, ok := b.m.Deadline()
		if p, _ := b.m.Proof(); !ok || at != p.SentAt()+DefaultMonitor-DefaultGrace {
			t.Fatalf("deadline %v, want T_MONITOR - N after %v", at, p.SentAt())
		}
		b.advance(at - b.now.Boot)
		b.want(Reregister{epoch})
		e := b.evidence()
		b.now = b.now.Add(20 * time.Millisecond)
		if err := b.m.internalEvidence(b.now, e); err != nil {
			t.Fatal(err)
		}
		p, _ := b.m.Proof()
		if p.SentAt() != e.sentAt {
			t.Fatalf("proof of %v, want %v", p.SentAt(), e.sentAt)
		}
		b.want(Inside{Proof: p, Renewed: true})
	}
	// A series that gave up is followed by another until the proof expires.
	b.advance(DefaultMonitor - DefaultGrace)
	b.want(Reregister{epoch})
	if err := b.m.HandleInternalUnanswered(b.now, epoch); err != nil {
		t.Fatal(err)
	}
	b.want(Reregister{epoch})
}

func TestOvertakenReplyChangesNothing(t *testing.T) {
	b := inside(t)
	older := b.evidence()
	b.now = b.now.Add(time.Second)
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	b.events()
	before, _ := b.m.Proof()
	if err := b.m.internalEvidence(b.now, older); err != nil {
		t.Fatal(err)
	}
	if after, _ := b.m.Proof(); after != before {
		t.Errorf("an older reply replaced the proof: %+v", after)
	}
	b.want()
}
