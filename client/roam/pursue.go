package roam

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/link"
)

// sorted returns all candidates in the order of their indices, so that the same inputs give the same decisions.
func (m *Machine) sorted() []*candidate {
	return slices.SortedFunc(maps.Values(m.candidates), func(a, b *candidate) int { return cmp.Compare(a.iface.Index, b.iface.Index) })
}

// ranked returns the usable candidates in the given order.
func (m *Machine) ranked(order func(a, b *candidate) int) []*candidate {
	list := m.sorted()
	list = slices.DeleteFunc(list, func(c *candidate) bool {
		_, usable := c.attachment(m.pin)
		return !usable
	})
	slices.SortStableFunc(list, order)
	return list
}

// leader returns the interface that carries the traffic, unless it is only on trial, or, without one, the preferred of those that are known to be outside
// and wait for the detection period or the VPN; nil without either.
func (m *Machine) leader() *candidate {
	if c := m.candidates[m.using]; c != nil && !m.onTrial(c) {
		return c
	}
	for _, c := range m.ranked(m.prefer) {
		if c.pursuit == racing && c.outside() {
			return c
		}
	}
	return nil
}

// worth returns what is worth doing on c beside what is in use or leads: nothing, a probe, or a race.
func (m *Machine) worth(c *candidate) pursuit {
	lead := m.leader()
	comp, pinned := m.pin.Composition()
	switch {
	case lead == nil:
		return racing
	case lead == c:
		return idle
	}
	preferred := m.prefer(c, lead) < 0
	switch {
	case m.using != 0 && m.mode.Plaintext(): // direct access: only a preferred interface could better it
		if preferred {
			return probing
		}
		return idle
	case preferred:
		return racing
	case pinned && comp.VPN, m.using != 0 && m.alone:
		return idle
	}
	return probing // it may be inside
}

// due returns when c may be tried as worth says.
func (m *Machine) due(now time.Duration, c *candidate) time.Duration {
	at := c.damper.ready(now)
	if m.using != 0 {
		if c.damper.on {
			at = max(at, c.damper.until(now)) // something else carries the traffic meanwhile
		}
		return max(at, c.notBefore)
	}
	for _, o := range m.candidates {
		if o != c && o.undecided() {
			at = max(at, o.since+RaceDelay)
		}
	}
	return at
}

// consider begins what is worth beginning now and works out when to look again. What carries traffic meanwhile goes on doing
// so until the new path is proven (make before break).
func (m *Machine) consider(now link.Instant, reason string) {
	if m.stopped {
		return
	}
	m.wakes = false
	for _, c := range m.candidates {
		c.damper.decay(now.Boot)
	}
	list := m.ranked(m.order)
	if len(list) == 0 {
		if m.using == 0 {
			m.block("no interface is connected" + m.wanted())
		}
		return
	}
	for _, c := range list {
		kind := m.worth(c)
		if kind == idle || c.pursuit == racing || c.pursuit == kind { // a probe becomes a race when nothing leads any more
			continue
		}
		if at := m.due(now.Boot, c); at > now.Boot {
			m.wakeAt(at)
			continue
		}
		m.pursue(now, c, kind, reason)
	}
	if m.using != 0 { // an interface that is damped may be preferred again once it is quiet
		for _, c := range list {
			if c.damper.on {
				m.wakeAt(c.damper.until(now.Boot))
			}
		}
	}
}

func (m *Machine) wakeAt(at time.Duration) {
	if !m.wakes || at < m.wake {
		m.wake, m.wakes = at, true
	}
}

// pursue begins an attempt.
func (m *Machine) pursue(now link.Instant, c *candidate, kind pursuit, reason string) {
	simultaneous := false
	for _, o := range m.candidates {
		simultaneous = simultaneous || o != c && o.pursuit != idle
	}
	fa, _ := c.attachment(m.pin)
	comp, pinned := m.pin.Composition()
	c.pursuit, c.verdict, c.since, c.damper.attempted = kind, Unknown, now.Boot, now.Boot
	m.quiet = quiet{} // whatever comes next has to be said
	m.emit(Attempt{
		Interface: c.iface, Epoch: c.epoch, ForeignAgent: fa, ExternalOnly: pinned && comp.VPN || m.config.NoPlaintext, Probe: kind == probing,
		Simultaneous: simultaneous, Reason: reason,
	})
	if kind == racing && m.using == 0 && m.eager(c) {
		m.use(now, c, reason)
	}
}

// HandleVerdict takes the detector's verdict for the epoch of the interface. One for an earlier epoch is ignored. Why is
// what the detector says about it.
func (m *Machine) HandleVerdict(now link.Instant, index int, epoch uint64, v Verdict, why string) {
	c := m.candidates[index]
	if c == nil || c.epoch != epoch || c.pursuit == idle {
		return
	}
	before := c.verdict
	c.verdict = v
	if v == Unreachable {
		c.external, m.deaf = ExternalSilent, m.deaf || !c.six(m.pin)
	}
	if m.using == index && m.mode.Plaintext() && v != Inside { // whatever the detector says: no more proof, no more plaintext
		m.hold(why)
	}
	switch {
	case v == Unreachable:
		m.unreachable(now, c, why)
	case v == Unknown && before != Unknown:
		c.since = now.Boot
		if m.using == index {
			m.hold(why)
		}
	case v != Unknown:
		m.judge(now, c, why)
	}
	m.consider(now, c.iface.Name+": "+v.String())
}

// judge decides about an interface on which a home agent has answered.
func (m *Machine) judge(now link.Instant, c *candidate, why string) {
	comp, pinned := m.pin.Composition()
	used := m.candidates[m.using]
	if used == c || used != nil && m.onTrial(used) {
		used = nil
	}
	switch {
	case c.verdict == Inside && pinned && comp.VPN:
		// Not asked for, and not followed: the pin says VPN.
	case c.verdict == Inside && used != nil && m.mode.Plaintext() && m.prefer(used, c) < 0:
		m.letBe(now, c, fmt.Sprintf("%s is inside too, and %s is preferred", c.iface.Name, used.iface.Name))
	case c.verdict == Inside:
		m.use(now, c, why)
	case used != nil && m.mode.Plaintext():
		// Direct access through the other interface is preferred over the VPN through this one (MOD-prefer).
		if c.verdict == Outside {
			m.letBe(now, c, fmt.Sprintf("%s is outside, and direct access through %s is preferred", c.iface.Name, used.iface.Name))
		}
	case used != nil && m.prefer(used, c) < 0:
		if c.verdict == Outside {
			m.letBe(now, c, fmt.Sprintf("%s is outside too, and %s is preferred", c.iface.Name, used.iface.Name))
		}
	case pinned && !comp.VPN:
		if c.verdict == Outside {
			m.refuse(c, fmt.Sprintf("mode %s is pinned but %s is not proven to be inside (%s): nothing is sent in the clear; "+
				"choose `mipvpn mode auto` or a mode with a VPN", m.pin, c.iface.Name, why))
		}
	case c.verdict == Outside || m.vpnLive:
		m.use(now, c, why)
	}
}

// letBe ends an attempt that gave no reason to leave the path in use.
func (m *Machine) letBe(now link.Instant, c *candidate, reason string) {
	c.notBefore = never
	if m.config.Probe > 0 {
		c.notBefore = now.Boot + m.config.Probe
	}
	m.abandon(c, reason)
	if m.using != 0 {
		m.emit(Keep{m.using, reason})
	}
}

// never is later than any boot time.
const never = time.Duration(1<<63 - 1)

// unreachable takes account of an interface on which nobody answers. Without another path its requests go on, and the VPN is
// tried straight from it where that may be (DET-18).
func (m *Machine) unreachable(now link.Instant, c *candidate, why string) {
	switch {
	case c.pursuit == probing:
		m.letBe(now, c, fmt.Sprintf("%s is not inside: the i-HA does not answer there", c.iface.Name))
	case m.using != 0 && m.using != c.iface.Index && !m.betters(c):
		wait := min(retryFirst<<min(c.tries, 10), retryMost)
		c.tries++
		c.notBefore = now.Boot + wait
		reason := fmt.Sprintf("no home agent answers through %s: tried again in %v", c.iface.Name, wait)
		m.abandon(c, reason)
		m.emit(Keep{m.using, reason})
	case m.choose(c).Mode != stack.ModeNone:
		m.lastResort(now, why)
	default:
		m.refuse(c, fmt.Sprintf("%s: no home agent answers: %s", c.iface.Name, why))
	}
}

// refuse says why nothing is sent through c, and blocks when nothing else carries traffic or may do so soon.
func (m *Machine) refuse(c *candidate, reason string) {
	if m.using == c.iface.Index {
		m.hold(reason)
	}
	if m.using != 0 {
		return
	}
	for _, o := range m.ranked(m.order) {
		if o != c && (o.pursuit == idle || o.undecided() || o.pursuit == racing && o.outside() && m.mayUse(o)) {
			return
		}
	}
	m.block(reason)
}

// mayUse reports whether the pin allows c as it stands.
func (m *Machine) mayUse(c *candidate) bool {
	comp, pinned := m.pin.Composition()
	return !pinned || comp.VPN || c.verdict == Inside
}

// use takes c into use and lets the former interface go.
func (m *Machine) use(now link.Instant, c *candidate, reason string) {
	if _, usable := c.attachment(m.pin); !usable {
		return
	}
	choice := m.choose(c)
	if choice.Mode == stack.ModeNone {
		m.refuse(c, c.iface.Name+": "+choice.Why)
		return
	}
	before := m.choice
	m.choice = choice
	if m.using == c.iface.Index && before.equal(choice) {
		return
	}
	former, lost := m.candidates[m.using], m.lost
	m.using, m.mode, m.quiet, m.lost = c.iface.Index, choice.Mode, quiet{}, nil
	c.pursuit = racing
	fallBack := lost != nil && lost != c && m.prefer(lost, c) < 0
	m.emit(Use{Index: c.iface.Index, Epoch: c.epoch, Choice: choice, FallBack: fallBack, Reason: reason})
	if former != nil && former != c {
		former.notBefore = never
		if m.config.Probe > 0 {
			former.notBefore = now.Boot + m.config.Probe
		}
		m.abandon(former, fmt.Sprintf("%s has taken over", c.iface.Name))
	}
	for _, o := range m.sorted() { // what was tried beside it, and cannot better it any more or does not answer
		switch {
		case o == c || o.pursuit == idle:
		case m.worth(o) == idle:
			m.abandon(o, fmt.Sprintf("%s has taken over", c.iface.Name))
		case o.verdict == Unreachable:
			m.unreachable(now, o, "")
		}
	}
}

// wanted says what the pin is waiting for.
func (m *Machine) wanted() string {
	comp, pinned := m.pin.Composition()
	switch {
	case pinned && comp.ForeignAgent:
		return fmt.Sprintf(": mode %s is pinned and no foreign agent is heard", m.pin)
	case pinned:
		return fmt.Sprintf(": mode %s is pinned and no interface has an address and a default route", m.pin)
	}
	return ": plug in a cable, join a wireless network, or wait for an address"
}
