package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/ipsec/gateway"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// The tour makes each change once.
func TestTour(t *testing.T) {
	t.Parallel()
	seen := map[[2]stack.Mode]int{}
	walk := Tour(stack.Modes())
	for i := range walk[1:] {
		seen[[2]stack.Mode{walk[i], walk[i+1]}]++
	}
	for _, from := range stack.Modes() {
		for _, to := range stack.Modes() {
			if n := seen[[2]stack.Mode{from, to}]; n != 1 {
				t.Errorf("from %s to %s: %d times", from, to, n)
			}
		}
	}
	if len(walk) != 65 {
		t.Errorf("%d stations, want 65", len(walk))
	}
}

// traveller is a laptop on the tour.
type traveller struct {
	*World
	t     *testing.T
	mode  stack.Mode
	wire  *simnet.Wire
	moves int
	// events are the client's.
	events <-chan control.Event
}

// story returns what the client has told since the last call.
func (w *traveller) story() string {
	var b strings.Builder
	for {
		select {
		case e := <-w.events:
			fmt.Fprintf(&b, "\n  %s %s: %s", e.Kind, e.Interface, e.Message)
		default:
			return b.String()
		}
	}
}

// network returns where the mode is to be had, for the laptop to go to: with a co-located care-of address outside, a network behind
// a NAT and one without take turns.
func (w *traveller) network(m stack.Mode) *simnet.Wire {
	switch l, _ := m.Composition(); {
	case !l.VPN && l.ForeignAgent:
		return w.OfficeFA
	case !l.VPN:
		return w.Office
	case l.ForeignAgent:
		return w.Hotspot
	case w.moves%2 == 0:
		return w.Cafe
	}
	return w.Campus
}

// travel changes to the mode: by the cable, and at the same moment by a pin, for which network alone would not bring about the
// mode. Every third change that can be made without the cable is made by the pin alone.
func (w *traveller) travel(m stack.Mode) {
	t := w.t
	t.Helper()
	w.moves++
	w.story()
	to := w.network(m)
	before, now := w.mode, to
	stay := w.wire == w.Cafe || w.wire == w.Campus || w.wire == w.Hotspot
	if l, _ := m.Composition(); stay && m != before && l.VPN && l.ForeignAgent == (w.wire == w.Hotspot) && w.moves%3 == 0 {
		now = w.wire
	}
	how := fmt.Sprintf("change %d, %s to %s, from %s to %s", w.moves, before, m, name(w.wire), name(now))
	policy := "auto"
	if l, _ := m.Composition(); l.VPN {
		policy = string(m)
	}
	if err := w.Client.SetMode(context.Background(), policy); err != nil {
		t.Fatalf("%s: %v", how, err)
	}
	epoch := w.epoch(present(t, w.World))
	moved := now != w.wire || m == before
	if now != w.wire {
		w.Plug(w.Wlan0, now)
	} else if moved {
		w.Unplug(w.Wlan0)
		time.Sleep(200 * time.Millisecond)
		w.Plug(w.Wlan0, now)
	}
	s, err := w.Until(time.Minute, func(s control.Status) bool {
		return s.State == control.StateConnected && s.Mode == string(m) && s.ModePolicy == policy && (!moved || w.epoch(s) > epoch)
	})
	if err != nil {
		t.Fatalf("%s: %v; %s%s", how, err, s.Proof.Reason, w.story())
	}
	w.mode, w.wire = m, now
}

// epoch returns the connection status epoch of the laptop's interface, 0 before the first.
func (w *traveller) epoch(s control.Status) uint64 {
	for _, i := range s.Interfaces {
		if i.Name == w.Wlan0.Name() {
			return i.Epoch
		}
	}
	return 0
}

func name(w *simnet.Wire) string {
	if w == nil {
		return "nowhere"
	}
	return w.Name()
}

// carries waits until the session has moved on both ways.
func (w *traveller) carries(s *Session) {
	w.t.Helper()
	up, down := s.Octets()
	for range 300 {
		time.Sleep(100 * time.Millisecond)
		if u, d := s.Octets(); u >= up+50*chunk && d >= down+50*chunk {
			return
		}
	}
	u, d := s.Octets()
	w.t.Fatalf("change %d, in mode %s on %s: %d octets up and %d down in 30 s%s", w.moves, w.mode, name(w.wire), u-up, d-down, w.story())
}

// everyMechanism lets the laptop use the optional mechanisms, and gives the i-HA more time to prove inside than the loss of two
// requests takes.
func everyMechanism(c *config.Config) {
	c.Mechanisms = config.Mechanisms{
		EndpointUpdate: config.MechanismAuto, GatewayAgent: config.MechanismAuto, ZeroOverhead: config.MechanismAuto, Vendor: vendor,
	}
	c.Detection.Period = 15 * time.Second
}

// matrixModes are the modes of the tour.
var matrixModes = stack.Modes()

// One laptop makes every change between any two modes, and from each mode to itself in another network, with loss on all of its
// wires and a NAT on some. A busy TCP connection, one that is silent between changes, and a stream of UDP go on all the time; every
// octet of the first is hashed at both ends.
//
// Shows: MOD-keep (all ordered pairs of modes, with NAT and loss; TCP busy and idle, and UDP), MOD-switch
func TestMatrix(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &traveller{World: world(t, Options{Seed: 640, Log: zap.NewNop(), Client: everyMechanism, Gateway: func(c *agent.GatewayConfig) {
			mobike(c)
			c.Agent = &gateway.Agent{MobileNodes: []gateway.MobileNode{{Identity: c.Peers[0].Identity, HomeAddress: simnet.LabHomeAddress}}}
			c.ForeignAgent = &foreignagent.Config{CareOfAddress: simnet.LabGatewayInner, PermittedHomeAgents: []netip.Prefix{netip.PrefixFrom(simnet.LabInternalHA, 32)}}
		}, ExternalHA: func(c *agent.HomeAgentConfig) {
			c.ZeroOverhead = homeagent.ZeroOverhead{Vendor: vendor, Destinations: []netip.Addr{simnet.LabGateway}}
		}, Lab: func(l *simnet.Lab) {
			for _, on := range []*simnet.Wire{l.Office, l.OfficeFA, l.Cafe, l.Hotspot, l.Campus} {
				on.Impair(simnet.Impairment{Latency: 2 * time.Millisecond, Jitter: time.Millisecond, Loss: 0.02})
			}
		}}), t: t}
		events, unsubscribe := w.Client.Subscribe()
		defer unsubscribe()
		w.events = events
		j := Watch(w.External()...)
		walk := Tour(matrixModes)
		w.travel(walk[0])
		busy, err := StartSession(w.World)
		if err != nil {
			t.Fatal(err)
		}
		idle := converse(t, w.World)
		p, err := StartProbe(w.World)
		if err != nil {
			t.Fatal(err)
		}
		near, far := busy.Addresses()
		seen := map[[2]stack.Mode]bool{}
		for _, m := range walk[1:] {
			from := w.mode
			_, before, _ := p.Counts()
			w.travel(m)
			w.carries(busy)
			idle.pass(t, idle.near, idle.far, 100)
			idle.pass(t, idle.far, idle.near, 100)
			if _, after, _ := p.Counts(); after == before {
				t.Errorf("from %s to %s: no datagram came back", from, m)
			}
			seen[[2]stack.Mode{from, m}] = true
		}
		if want := len(matrixModes) * len(matrixModes); len(seen) != want {
			t.Errorf("%d changes of different kinds, want %d", len(seen), want)
		}
		if n, f := busy.Addresses(); n != near || f != far || n != f {
			t.Errorf("the socket pair was %v (%v), is %v (%v)", near, far, n, f)
		}
		up, down, err := busy.Finish()
		if err != nil {
			t.Error(err)
		}
		idle.end(t)
		sent, back, gap := p.Counts()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		judge(t, j)
		if s := present(t, w.World); s.Exposure > int64(s.Monitor*1000) {
			t.Errorf("plaintext passed with a proof that was %d ms old", s.Exposure)
		}
		t.Logf("%d changes, %d octets up, %d down; UDP %d of %d, longest gap %v", w.moves-1, up, down, back, sent, gap)
	})
}
