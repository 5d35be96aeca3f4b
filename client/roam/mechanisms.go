package roam

import (
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// Choice returns how the interface in use is used, and why; the zero Choice without one.
func (m *Machine) Choice() Choice { return m.choice }

// HandleMechanisms says what is known of the optional mechanisms now. The mode of the interface in use changes with it.
func (m *Machine) HandleMechanisms(now link.Instant, known Mechanisms) {
	if m.known == known {
		return
	}
	m.known = known
	m.chooseAgain(now)
}

// HandleExternal says whether the x-HA holds a binding of the interface in this epoch.
func (m *Machine) HandleExternal(now link.Instant, index int, epoch uint64, bound bool) {
	c := m.candidates[index]
	if c == nil || c.epoch != epoch {
		return
	}
	c.external = ExternalSilent
	if bound {
		c.external, m.deaf = ExternalBound, false
	}
	if m.using == index {
		m.chooseAgain(now)
	}
}

// HandleMute says that the gateway does not answer straight through the interface in this epoch, or that it does after all.
// While the interface is used without an answer of anybody, others are tried.
func (m *Machine) HandleMute(now link.Instant, index int, epoch uint64, mute bool) {
	c := m.candidates[index]
	if c == nil || c.epoch != epoch || c.mute == mute {
		return
	}
	c.mute = mute
	if m.using != index {
		return
	}
	m.chooseAgain(now)
	if !mute || !m.onTrial(c) {
		return
	}
	for _, o := range m.candidates {
		o.notBefore = 0
	}
	m.lastResort(now, "the VPN gateway does not answer through "+c.iface.Name)
	m.consider(now, "the VPN gateway does not answer through "+c.iface.Name)
}

// chooseAgain takes the interface in use as is best now, outside.
func (m *Machine) chooseAgain(now link.Instant) {
	if c := m.candidates[m.using]; c != nil && !m.mode.Plaintext() {
		m.use(now, c, m.choose(c).Why)
	}
}

// choose returns how c would be used as things are.
func (m *Machine) choose(c *candidate) Choice {
	fa, _ := c.attachment(m.pin)
	s := situation{foreignAgent: fa, verdict: c.verdict, external: c.external, mute: c.mute, known: m.known, update: m.config.Update, pin: m.pin,
		noPlaintext: m.config.NoPlaintext}
	if m.config.NoExternal {
		s.external = ExternalNone
	}
	if s.six = c.six(m.pin); s.six {
		s.external = ExternalSilent
	}
	return choose(s)
}

// onTrial reports whether c, in use, carries the VPN although nobody has answered through it yet.
func (m *Machine) onTrial(c *candidate) bool {
	return m.using == c.iface.Index && !m.mode.Plaintext() && (c.verdict == Unknown || c.verdict == Unreachable)
}

// straight reports whether c would be used without the x-HA.
func (m *Machine) straight(c *candidate) bool {
	comp, ok := m.choose(c).Mode.Composition()
	return ok && comp.VPN && !comp.ExternalMIP
}

// eager reports whether the VPN goes straight through c before anybody has answered there: that is pinned, or it is a tunnel that
// moves, and no answer of the x-HA is to be waited for (DET-7). A proof of inside still wins.
func (m *Machine) eager(c *candidate) bool {
	if !m.straight(c) {
		return false
	}
	comp, pinned := m.pin.Composition()
	return pinned && !comp.ExternalMIP || m.vpnLive && m.known.Following == Follows && (m.config.NoExternal || m.deaf)
}

// betters reports whether c, on which no home agent answers, is to take the place of the interface in use all the same.
func (m *Machine) betters(c *candidate) bool {
	used := m.candidates[m.using]
	if used == nil || m.mode.Plaintext() || c.mute || !m.straight(c) {
		return false
	}
	return m.onTrial(used) && used.mute || (m.config.NoExternal || used.external == ExternalSilent) && m.prefer(c, used) < 0
}

// lastResort uses the preferred of the interfaces on which no home agent answers, once none is left that may still be answered
// on.
func (m *Machine) lastResort(now link.Instant, why string) {
	var best *candidate
	for _, c := range m.ranked(m.prefer) {
		switch {
		case c.pursuit != racing && m.using == 0, c.pursuit == racing && c.verdict == Unknown && m.using != c.iface.Index:
			return
		case c.pursuit != racing:
		case c.verdict == Unreachable && m.choose(c).Mode != stack.ModeNone && (best == nil || best.mute && !c.mute):
			best = c
		}
	}
	if best != nil {
		m.use(now, best, why)
	}
}
