package ike

import (
	"net/netip"
	"testing"
	"time"
)

// patientClient learns intervals of keepalives between 20 and 90 s.
func patientClient(esp *uint64) option {
	return func(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
		i.Keepalive, i.KeepaliveLimit, i.SentESP = 20*time.Second, 90*time.Second, func() uint64 { return *esp }
		g.Liveness = 47 * time.Second // so that the gateway speaks first, now and then
	}
}

// Shows: IKE-6 (learned intervals of keepalives). The client finds an interval that the NAT holds and never uses one that it does
// not, but for the few silences that are tried: their loss is found out and mended at once. It is learned by what comes through
// the NAT alone, so that a NAT which gives the same port again deceives nobody.
func TestKeepaliveIsLearned(t *testing.T) {
	for _, c := range []struct {
		name     string
		patience time.Duration
		same     bool // the NAT gives the port again that it had
	}{
		{"two minutes", 2 * time.Minute, false}, {"a minute", time.Minute, false}, {"35 s", 35 * time.Second, false}, {"22 s", 22 * time.Second, false},
		{"35 s, the same port", 35 * time.Second, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var esp uint64
			r := newRoaming(t, 90, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, patientClient(&esp))
			r.patience, r.same, r.used = c.patience, c.same, r.now.Boot
			r.start()
			r.driveFor(3 * time.Hour)
			learned := r.a.m.keepaliveInterval()
			if learned > c.patience || learned > 90*time.Second || learned < 20*time.Second {
				t.Errorf("learned %v", learned)
			}
			if c.patience > time.Minute && learned <= 25*time.Second {
				t.Errorf("learned only %v", learned)
			}
			if n, ok := find[KeepaliveLearned](r.a.events); ok != (learned > 20*time.Second) {
				t.Errorf("told of %v, %t", n, ok)
			}
			if c.patience > 90*time.Second && r.remapped != 0 {
				t.Errorf("the mapping was lost %d times", r.remapped)
			}
			if r.remapped > 3*60/2 {
				t.Errorf("the mapping was lost %d times in three hours", r.remapped)
			}
			if err := r.a.m.CheckLiveness(r.now); err != nil {
				t.Fatal(err)
			}
			r.drain()
			r.driveFor(2 * time.Second)
			r.meet(1, wireless, gatewayAddr)

			// It is remembered by the driver, and forgotten here in another network.
			r.move(cellular)
			r.driveFor(time.Second)
			if got := r.a.m.keepaliveInterval(); got != 20*time.Second {
				t.Errorf("%v in a new network", got)
			}
			r.a.m.UseKeepalive(r.now, learned)
			if got := r.a.m.keepaliveInterval(); got != learned {
				t.Errorf("%v, remembered %v", got, learned)
			}
			r.a.m.UseKeepalive(r.now, time.Hour)
			if got := r.a.m.keepaliveInterval(); got != 90*time.Second {
				t.Errorf("%v, the limit is 90 s", got)
			}
		})
	}
}

// Nothing is learned while ESP packets leave, which hold the mapping too, or where the driver does not count them.
func TestKeepaliveIsNotLearnedFromTraffic(t *testing.T) {
	var esp uint64
	for name, change := range map[string]option{
		"traffic": func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			i.SentESP = func() uint64 { esp++; return esp }
		},
		"no count": func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.SentESP = nil },
		"no limit": func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.KeepaliveLimit = 0 },
	} {
		r := connected(t, 91, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, patientClient(&esp), change)
		r.driveFor(time.Hour)
		if got := r.a.m.keepaliveInterval(); got != 20*time.Second {
			t.Errorf("%s: learned %v", name, got)
		}
	}
}

// A NAT that has become less patient is found out by the liveness checks, and what was learned is forgotten.
func TestKeepaliveIsForgotten(t *testing.T) {
	var esp uint64
	r := connected(t, 92, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, patientClient(&esp),
		func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Liveness = 5 * time.Minute })
	r.a.m.UseKeepalive(r.now, time.Minute)
	r.patience = 30 * time.Second
	r.driveFor(time.Hour)
	if got := r.a.m.keepaliveInterval(); got > 30*time.Second {
		t.Errorf("still %v", got)
	}
	if n, ok := find[KeepaliveLearned](r.a.events); !ok || n.Interval != 20*time.Second {
		t.Errorf("told of %v, %t", n.Interval, ok)
	}
	r.meet(1, wireless, gatewayAddr)
}
