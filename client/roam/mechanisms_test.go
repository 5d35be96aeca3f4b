package roam

import (
	"slices"
	"testing"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/link"
)

// bind says that the x-HA has answered through the interface.
func bind(m *Machine, index int) {
	m.HandleExternal(t0, index, m.epochOf(index), true)
	verdict(m, index, Outside)
}

// Shows: MEC-C, MOD-vc (from cvc to vc once the gateway is known to follow and the tunnel has moved, and back when the gateway of a
// new tunnel does not)
func TestModeFollowsTheMechanisms(t *testing.T) {
	m := started(wired("192.168.1.5"))
	bind(m, 2)
	expect(t, m, "use 2 cvc")
	m.HandleMechanisms(t0, Mechanisms{Following: Follows, Ground: GroundExternal})
	expect(t, m, "use 2 cvc") // with another ground to try
	if g := m.Choice().Grounds; !slices.Equal(g, []Ground{GroundInterface, GroundExternal}) {
		t.Errorf("grounds %v", g)
	}
	m.HandleMechanisms(t0, Mechanisms{Following: Follows, Ground: GroundInterface})
	expect(t, m, "use 2 vc")
	m.HandleMechanisms(t0, Mechanisms{Following: Follows, Ground: GroundInterface})
	expect(t, m)
	m.HandleExternal(t0, 2, m.epochOf(2), false)
	expect(t, m, "use 2 vc") // without the x-HoA to fall back to
	m.HandleExternal(t0, 2, m.epochOf(2), true)
	m.HandleMechanisms(t0, Mechanisms{Following: FollowsNot})
	expect(t, m, "use 2 vc", "use 2 cvc")
	m.HandleExternal(t0, 2, m.epochOf(2)-1, false) // of an epoch before
	expect(t, m)
	m.HandleMechanisms(t0, Mechanisms{Following: Follows, Ground: GroundInterface, GatewayAgent: true})
	expect(t, m, "use 2 vf")
	verdict(m, 2, Inside)
	m.HandleMechanisms(t0, Mechanisms{})
	expect(t, m, "use 2 c")
}

// Shows: DET-18 (neither home agent answers on any interface: the VPN is tried straight from the preferred one, and from the next when
// the gateway does not answer there; an answer of the x-HA wins)
func TestStraightWhereNobodyAnswers(t *testing.T) {
	m := started(wired("10.0.2.5"), wireless("192.168.1.5"))
	verdict(m, 2, Unreachable)
	expect(t, m, "attempt wlan0 S")
	verdict(m, 3, Unreachable)
	expect(t, m, "use 2 vc", "abandon 3", "keep 2")
	m.HandleMute(t0, 2, m.epochOf(2), true)
	expect(t, m, "attempt wlan0 S")
	verdict(m, 3, Unreachable)
	expect(t, m, "use 3 vc", "abandon 2")
	m.HandleMute(t0, 3, m.epochOf(3), true) // nor there: another round
	expect(t, m, "attempt eth0 S")
	bind(m, 2)
	expect(t, m, "use 2 cvc", "abandon 3")
}

// Shows: DET-18, MOD-switch (forbidden or with a foreign agent, there is no such way out)
func TestNoWayStraight(t *testing.T) {
	m := startedAs(Config{Update: Forbidden}, wired("10.0.2.5"))
	verdict(m, 2, Unreachable)
	expect(t, m, "blocked")
	m = started(wireless(""))
	m.HandleAgent(t0, 3, true)
	verdict(m, 3, Unreachable)
	expect(t, m, "attempt wlan0 fa", "blocked")
	m = startedAs(Config{NoExternal: true}, wired("10.0.2.5"))
	m.HandlePin(t0, stack.ModeCVC)
	drain(m)
	verdict(m, 2, Outside)
	expect(t, m, "blocked")
}

// Shows: DET-7 (a tunnel whose gateway follows moves at once where no answer of an x-HA is waited for; a proof still wins)
func TestLiveTunnelMovesAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		before func(m *Machine)
		eager  bool
	}{
		{"no x-HA", Config{NoExternal: true}, func(*Machine) {}, true},
		{"the x-HA was silent before", Config{}, func(m *Machine) { verdict(m, 2, Unreachable) }, true},
		{"the x-HA answered", Config{}, func(m *Machine) { bind(m, 2) }, false},
		{"forbidden", Config{Update: Forbidden}, func(m *Machine) { verdict(m, 2, Unreachable) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startedAs(c.config, wired("192.168.1.5"))
			c.before(m)
			m.HandleVPN(t0, true)
			m.HandleMechanisms(t0, Mechanisms{Following: Follows, Ground: GroundInterface})
			m.HandleSnapshot(t0, []link.Interface{wired("192.168.7.5")})
			got := drain(m)
			if last := got[len(got)-1]; (last == "use 2 vc") != c.eager {
				t.Errorf("decisions %v", got)
			}
			verdict(m, 2, Inside)
			expect(t, m, "use 2 c")
		})
	}
}

// Shows: MOD-vc, MOD-switch (vc pinned: at once, and as cvc where the gateway turns out not to follow)
func TestStraightPinned(t *testing.T) {
	m := New(Config{})
	m.HandlePin(t0, stack.ModeVC)
	m.HandleSnapshot(t0, []link.Interface{wired("192.168.1.5")})
	m.Start(t0)
	expect(t, m, "epoch eth0", "attempt eth0 external", "use 2 vc")
	bind(m, 2)
	m.HandleMechanisms(t0, Mechanisms{Following: FollowsNot, Ground: GroundInterface})
	expect(t, m, "use 2 cvc")
	if c := m.Choice(); c.Why == "" || c.Barred {
		t.Errorf("choice %+v", c)
	}
}

// Shows: MOD-prefer (without an x-HA: a preferred interface takes over although nobody has answered there, and is left again when the
// gateway does not)
func TestPreferredWithoutExternal(t *testing.T) {
	m := startedAs(Config{NoExternal: true, Probe: time.Minute}, wireless("192.168.1.5"))
	verdict(m, 3, Unreachable)
	verdict(m, 3, Outside) // the gateway has answered
	expect(t, m, "use 3 vc")
	m.HandleSnapshot(t0, []link.Interface{wireless("192.168.1.5"), wired("192.168.7.5")})
	verdict(m, 2, Unreachable)
	expect(t, m, "epoch eth0", "attempt eth0 S", "use 2 vc", "abandon 3")
	m.HandleMute(t0, 2, m.epochOf(2), true)
	verdict(m, 3, Unreachable)
	expect(t, m, "attempt wlan0 S", "use 3 vc", "abandon 2")
}
