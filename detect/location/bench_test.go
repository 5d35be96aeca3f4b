package location

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mipvpn/tun/link"
)

var (
	iHA   = netip.MustParseAddr("10.0.1.10")
	xHA   = netip.MustParseAddr("192.0.2.20")
	careO = netip.MustParseAddr("10.0.2.77")
)

const (
	iface = 3
	epoch = 7
)

// bench is a machine under test with its own time.
type bench struct {
	t   *testing.T
	m   *Machine
	now link.Instant
}

func config(change ...func(*Config)) Config {
	c := Config{Interface: iface, InternalHomeAgent: iHA, ExternalHomeAgent: xHA, Period: DefaultPeriod, Probe: DefaultProbe}
	for _, f := range change {
		f(&c)
	}
	return c
}

// idle returns a machine before its first epoch, at boot time 100 s.
func idle(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	m, err := New(config(change...))
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, m, link.Instant{Boot: 100 * time.Second, Wall: time.Unix(1e9, 0)}}
}

// detecting returns a machine in which epoch has just begun; its first event has been taken.
func detecting(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := idle(t, change...)
	if err := b.m.HandleEpoch(b.now, Attachment{Epoch: epoch, Usable: true, Address: careO}); err != nil {
		t.Fatal(err)
	}
	b.events()
	return b
}

// inside returns a machine with a proof whose request was sent at its present time.
func inside(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := detecting(t, change...)
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	b.events()
	return b
}

// outside returns a machine that has decided outside.
func outside(t *testing.T, change ...func(*Config)) *bench {
	t.Helper()
	b := detecting(t, change...)
	b.external()
	b.advance(DefaultPeriod)
	b.events()
	if b.m.State() != StateOutside {
		t.Fatalf("state %v", b.m.State())
	}
	return b
}

func (b *bench) advance(d time.Duration) { b.now = b.now.Add(d); b.m.HandleTimeout(b.now) }

// evidence is a proof of inside as of now; tests spoil it in one respect each.
func (b *bench) evidence() evidence {
	return evidence{iface: iface, epoch: b.m.Epoch(), direct: true, agent: iHA, careOf: careO, sentAt: b.now.Boot, receivedAt: b.now.Boot,
		trustedNetwork: true, strongKey: true, lifetime: time.Hour}
}

func (b *bench) external() {
	b.t.Helper()
	e := b.evidence()
	e.agent, e.trustedNetwork = xHA, false
	if err := b.m.externalEvidence(b.now, e); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) events() []Event {
	var all []Event
	for {
		e, ok := b.m.PollEvent()
		if !ok {
			return all
		}
		all = append(all, e)
	}
}

// want takes the events and compares them, reasons and messages aside.
func (b *bench) want(events ...Event) {
	b.t.Helper()
	d := cmp.Diff(events, b.events(), cmp.AllowUnexported(Proof{}), cmpopts.IgnoreFields(ProofLost{}, "Reason"),
		cmpopts.IgnoreFields(Alarm{}, "Message"))
	if d != "" {
		b.t.Fatalf("events differ (-want +got):\n%s", d)
	}
}

func (b *bench) state(s State) {
	b.t.Helper()
	if b.m.State() != s {
		b.t.Fatalf("state %v (%s), want %v", b.m.State(), b.m.Reason(), s)
	}
}

func both() StartRegistrations {
	return StartRegistrations{Epoch: epoch, Internal: true, External: true}
}
