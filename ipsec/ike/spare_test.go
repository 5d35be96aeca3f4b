package ike

import (
	"net/netip"
	"testing"
	"time"
)

// hourly returns how many keepalives, and how many messages, the client sends in an hour.
func hourly(r *roaming) (keepalives, messages int) {
	r.pair.route = func(f flight, d Datagram) (Datagram, bool) {
		switch {
		case f.from != r.a:
		case f.Keepalive:
			keepalives++
		default:
			messages++
		}
		return r.carry(f, d)
	}
	defer func() { r.pair.route = r.carry }()
	r.driveFor(time.Hour)
	return keepalives, messages
}

// askingAlone has the client ask and the gateway never.
func askingAlone(i *InitiatorConfig, g *ResponderConfig, _ *testPolicy) {
	i.Liveness, g.Liveness = 30*time.Second, -1
}

// Shows: IKE-6 (fewer keepalives while power is dear). An idle client sends half as many keepalives and liveness checks then, and as many
// as before afterwards; the limit of the configuration holds, and what counts as dead by the clock is asked as often as ever.
func TestSpare(t *testing.T) {
	var esp uint64
	dead := func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Dead = 45 * time.Second }
	limited := func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.KeepaliveLimit = 30 * time.Second }
	unlearned := func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.KeepaliveLimit = 0 }
	for _, c := range []struct {
		name                                   string
		factor                                 int
		change                                 option
		leastKeep, mostKeep, leastAsk, mostAsk int
	}{
		{"not at all", 1, askingAlone, 150, 181, 115, 160},
		{"half", 2, askingAlone, 70, 91, 55, 100},
		{"a third, within the limit", 3, limited, 100, 121, 35, 80},
		{"no limit to go by", 3, unlearned, 175, 181, 35, 60},
		{"dead by the clock", 2, dead, 70, 91, 115, 160},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := connected(t, 93, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, patientClient(&esp), askingAlone, c.change)
			usualKeep, usualAsk := hourly(r)
			r.a.m.Spare(r.now, c.factor)
			keep, ask := hourly(r)
			if keep < c.leastKeep || keep > c.mostKeep || ask < c.leastAsk || ask > c.mostAsk {
				t.Errorf("%d keepalives and %d messages in an hour, want %d to %d and %d to %d", keep, ask, c.leastKeep, c.mostKeep, c.leastAsk, c.mostAsk)
			}
			r.a.m.Spare(r.now, 1)
			if at := r.a.m.keepaliveAt - r.now.Boot; at > r.a.m.cfg.Keepalive {
				t.Errorf("the next keepalive is due in %v", at)
			}
			if k, a := hourly(r); k < usualKeep-5 || k > usualKeep+5 || a < usualAsk-10 || a > usualAsk+10 {
				t.Errorf("%d keepalives and %d messages afterwards, %d and %d before", k, a, usualKeep, usualAsk)
			}
		})
	}
}

// Shows: IKE-6 (fewer keepalives while power is dear). A NAT that does not hold a mapping for so long is found out, and then keepalives come
// as often as it needs, in this network; another one is tried again.
func TestSpareIsNotForEveryNAT(t *testing.T) {
	var esp uint64
	r := connected(t, 94, []netip.Addr{wireless}, []netip.Addr{gatewayAddr}, patientClient(&esp), askingAlone)
	r.patience, r.used = 25*time.Second, r.now.Boot
	r.a.m.Spare(r.now, 2)
	r.driveFor(10 * time.Minute)
	if got := r.a.m.keepaliveInterval(); got != 20*time.Second {
		t.Errorf("still %v behind a NAT of %v", got, r.patience)
	}
	if n, ok := find[KeepaliveLearned](r.a.events); !ok || n.Interval != 20*time.Second {
		t.Errorf("told of %v, %t", n.Interval, ok)
	}
	r.meet(1, wireless, gatewayAddr)
	r.a.m.UseKeepalive(r.now, 0)
	if got := r.a.m.keepaliveInterval(); got != 40*time.Second {
		t.Errorf("%v in a network of which nothing is known", got)
	}
	r.a.m.UseKeepalive(r.now, 20*time.Second)
	if got := r.a.m.keepaliveInterval(); got != 20*time.Second {
		t.Errorf("%v in a network whose NAT is known", got)
	}
}
