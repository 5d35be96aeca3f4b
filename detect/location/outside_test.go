package location

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// Shows: DET-7
func TestDetectionPeriod(t *testing.T) {
	b := detecting(t)
	b.external()
	b.want(TentativelyOutside{epoch})
	b.state(StateTentative)
	if err := b.m.HandleInternalUnanswered(b.now, epoch); err != nil {
		t.Fatal(err)
	}
	b.want(StartRegistrations{Epoch: epoch, Internal: true}) // still tried
	b.advance(DefaultPeriod - 1)
	b.want()
	b.advance(1)
	b.want(Outside{Epoch: epoch})
	b.state(StateOutside)

	b = detecting(t, func(c *Config) { c.Period = 0 })
	b.external()
	b.want(TentativelyOutside{epoch}, Outside{Epoch: epoch})

	b = detecting(t, func(c *Config) { c.Period = 0 }) // no period is no reason to call silent what had no time to answer
	b.advance(leastSilence - 1)
	b.want()
	b.advance(1)
	b.want(Unreachable{epoch})

	b = detecting(t) // the x-HA answers only after the period
	b.advance(DefaultPeriod)
	b.want(Unreachable{epoch})
	b.external()
	b.want(TentativelyOutside{epoch}) // the i-HA may come back too, a moment later
	b.advance(DefaultPeriod)
	b.want(Outside{Epoch: epoch})
	b.external() // a renewal says nothing new
	b.want()
}

// Shows: DET-8
func TestProofWinsHoweverLate(t *testing.T) {
	for name, at := range map[string]func(*testing.T, ...func(*Config)) *bench{
		"tentative": func(t *testing.T, c ...func(*Config)) *bench {
			b := detecting(t, c...)
			b.external()
			b.events()
			return b
		},
		"outside": outside,
	} {
		t.Run(name, func(t *testing.T) {
			b := at(t)
			b.advance(5 * time.Hour)
			b.events()
			if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
				t.Fatal(err)
			}
			p, _ := b.m.Proof()
			b.want(Inside{Proof: p}, DeregisterExternal{epoch})
			b.state(StateInside)
			// The answer to the deregistration must not ask for another.
			e := b.evidence()
			e.agent, e.lifetime = xHA, 0
			if err := b.m.externalEvidence(b.now, e); err != nil {
				t.Fatal(err)
			}
			b.want()
			b.state(StateInside)
		})
	}
	t.Run("x-HA answers when inside is known", func(t *testing.T) {
		b := inside(t)
		b.external()
		b.want(DeregisterExternal{epoch})
		b.state(StateInside)
	})
}

// Shows: DET-10
func TestEqualHomeAgentsBypassDetection(t *testing.T) {
	b := idle(t, func(c *Config) { c.ExternalHomeAgent = iHA })
	if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch, Usable: true, Address: careO}); err != nil {
		t.Fatal(err)
	}
	b.want(StartRegistrations{Epoch: epoch, External: true})
	e := b.evidence() // as good a reply as can be
	if err := b.m.internalEvidence(b.now, e); !errors.Is(err, ErrBypassed) {
		t.Fatalf("error %v", err)
	}
	b.state(StateDetecting)
	if err := b.m.externalEvidence(b.now, e); err != nil {
		t.Fatal(err)
	}
	b.want(TentativelyOutside{epoch}, Outside{Epoch: epoch})
	if at, armed := b.m.Deadline(); armed {
		t.Errorf("a timer at %v: the i-HA must not be probed", at)
	}
}

// Shows: DET-12
func TestRefusedReregistrationStopsPlaintext(t *testing.T) {
	b := inside(t)
	if err := b.m.HandleInternalRefusal(b.now, epoch-1, "129"); !errors.Is(err, ErrStaleEpoch) {
		t.Fatalf("a refusal of another epoch: %v", err)
	}
	b.want()
	if err := b.m.HandleInternalRefusal(b.now, epoch, "129 administratively prohibited"); err != nil {
		t.Fatal(err)
	}
	b.want(ProofLost{Epoch: epoch}, both())
	b.state(StateDetecting)
	if !strings.Contains(b.m.Reason(), "129 administratively prohibited") {
		t.Errorf("reason %q", b.m.Reason())
	}
}

// Shows: DET-14, DET-17
func TestListedOutside(t *testing.T) {
	networks := func(c *Config) { c.OutsideNetworks = []netip.Prefix{netip.PrefixFrom(careO, 24)} }
	b := detecting(t, networks)
	e := b.evidence()
	e.careOf = netip.MustParseAddr("203.0.113.9") // the interface's own address is listed, whatever the care-of address
	if err := b.m.internalEvidence(b.now, e); !errors.Is(err, ErrListedOutside) {
		t.Fatalf("error %v", err)
	}
	b.want(Alarm{Epoch: epoch, Kind: AlarmReachableOutside})

	b = idle(t, networks, func(c *Config) { c.SuppressOutside = true })
	if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch, Usable: true, Address: careO}); err != nil {
		t.Fatal(err)
	}
	b.want(StartRegistrations{Epoch: epoch, External: true})
	b.external()
	b.want(TentativelyOutside{epoch}, Outside{Epoch: epoch})
}

// Shows: DET-16
func TestReport(t *testing.T) {
	b := detecting(t)
	if r := b.m.Report(); !r.Internal.Asked || r.Internal.Answered || !r.External.Asked || r.Verdict != Unknown || r.Reason == "" {
		t.Errorf("just asked: %+v", r)
	}
	b.now = b.now.Add(40 * time.Millisecond)
	b.external()
	if err := b.m.HandleInternalRefusal(b.now, epoch, "131 mobile node failed authentication"); err != nil {
		t.Fatal(err)
	}
	r := b.m.Report()
	if !r.External.Answered || r.External.AnsweredAt != b.now.Boot || r.External.Outcome != "registered" || r.Verdict != VerdictOutside {
		t.Errorf("x-HA has answered: %+v", r)
	}
	if !strings.Contains(r.Internal.Outcome, "131 mobile node failed authentication") {
		t.Errorf("i-HA has refused: %+v", r.Internal)
	}
}

func TestRestart(t *testing.T) {
	b := idle(t)
	b.m.Restart(b.now, "asked for")
	b.want()
	b = outside(t)
	b.m.Restart(b.now, "asked for")
	b.want(both())
	b.state(StateDetecting)
	b = inside(t)
	b.m.Restart(b.now, "asked for")
	b.want(Reregister{epoch})
	b.state(StateInside)
}

// Shows: DET-4 (T_MONITOR under 5 s refused with the reason)
func TestConfigurationThatCannotWork(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   error
	}{
		{"T_MONITOR under 5 s", func(c *Config) { c.Monitor = 5*time.Second - 1 }, ErrMonitorTooShort},
		{"negative T_MONITOR", func(c *Config) { c.Monitor = -time.Second }, ErrMonitorTooShort},
		{"grace as long as T_MONITOR", func(c *Config) { c.Grace = DefaultMonitor }, ErrConfig},
		{"negative grace", func(c *Config) { c.Grace = -1 }, ErrConfig},
		{"negative period", func(c *Config) { c.Period = -1 }, ErrConfig},
		{"negative probe", func(c *Config) { c.Probe = -1 }, ErrConfig},
		{"no interface", func(c *Config) { c.Interface = 0 }, ErrConfig},
		{"no i-HA", func(c *Config) { c.InternalHomeAgent = netip.Addr{} }, ErrConfig},
		{"IPv6 i-HA", func(c *Config) { c.InternalHomeAgent = netip.IPv6Loopback() }, ErrConfig},
	} {
		if _, err := New(config(tc.change)); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	m, err := New(config(func(c *Config) { c.Monitor = MinMonitor }))
	if err != nil || m.config.Grace != MinMonitor/2 {
		t.Errorf("the least T_MONITOR: %v, grace %v", err, m.config.Grace)
	}
}

// Shows: DET-18, DET-7, DET-8 (the VPN gateway's answer straight through the interface stands in for the x-HA's: the i-HA gets its
// period, then it is outside; a proof wins all the same)
func TestGatewayAnswersInThePlaceOfTheExternalHomeAgent(t *testing.T) {
	none := func(c *Config) { c.ExternalHomeAgent = netip.Addr{} }
	gateway := func(b *bench) {
		t.Helper()
		if err := b.m.HandleGateway(b.now, epoch); err != nil {
			t.Fatal(err)
		}
	}
	b := detecting(t, none)
	b.advance(DefaultPeriod)
	b.want(Unreachable{epoch})
	gateway(b)
	b.want(TentativelyOutside{epoch})
	b.advance(DefaultPeriod)
	b.want(Outside{Epoch: epoch})
	if r := b.m.Reason(); !strings.Contains(r, "VPN gateway") {
		t.Errorf("reason %q", r)
	}
	gateway(b) // nothing new
	b.want()

	b = detecting(t, none) // a tunnel that has moved at once
	gateway(b)
	b.want(TentativelyOutside{epoch})
	b.advance(DefaultPeriod)
	b.want(Outside{Epoch: epoch})
	if err := b.m.HandleGateway(b.now, epoch-1); !errors.Is(err, ErrStaleEpoch) {
		t.Errorf("another epoch: %v", err)
	}

	b = inside(t)
	gateway(b)
	b.want()
	b.state(StateInside)
}
