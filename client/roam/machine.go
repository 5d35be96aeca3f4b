package roam

import (
	"fmt"

	"mipvpn/stack"
	"mipvpn/tun/link"
)

// Machine is the roam policy. Its zero value is not ready; use New.
type Machine struct {
	candidates map[int]*candidate
	epochs     uint64
	pin        stack.Mode // ModeNone: auto
	stopped    bool

	// trying is the interface that an attempt is under way on, using the one that carries traffic; 0 is none.
	trying, using int
	mode          stack.Mode
	vpnLive       bool
	quiet         quiet

	events []Event
}

// quiet is what was last said while nothing carries traffic, so that it is said once.
type quiet struct {
	blocked bool
	reason  string
}

// New returns a machine that knows of no interface and is stopped until Start.
func New() *Machine { return &Machine{candidates: make(map[int]*candidate), stopped: true} }

// Successor returns a machine like a new one, with the same pin, whose epochs go on where those of m end: no epoch is ever
// told twice.
func (m *Machine) Successor() *Machine {
	n := New()
	n.pin, n.epochs = m.pin, m.epochs
	return n
}

// PollEvent returns the next decision; drain it after every Handle.
func (m *Machine) PollEvent() (Event, bool) {
	if len(m.events) == 0 {
		return nil, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// Using returns the interface that carries traffic and the mode; index 0 for none.
func (m *Machine) Using() (index int, mode stack.Mode) { return m.using, m.mode }

// Trying returns the interface that an attempt is under way on; 0 for none.
func (m *Machine) Trying() int { return m.trying }

// Pin returns the pinned mode, ModeNone for auto.
func (m *Machine) Pin() stack.Mode { return m.pin }

// Start lets the machine make attempts.
func (m *Machine) Start() {
	m.stopped = false
	m.choose("started")
}

// Stop abandons everything and makes no attempt until Start.
func (m *Machine) Stop(reason string) {
	m.stopped = true
	m.abandonAll(reason)
	m.quiet = quiet{}
}

// HandlePin pins a mode (ModeNone: auto). All attempts begin again, since what has to be found out differs.
func (m *Machine) HandlePin(pin stack.Mode) {
	if m.pin == pin {
		return
	}
	m.pin = pin
	reason := "mode is chosen automatically"
	if pin != stack.ModeNone {
		reason = fmt.Sprintf("mode %s is pinned", pin)
	}
	m.abandonAll(reason)
	for _, c := range m.candidates {
		m.renew(c, reason)
	}
	m.choose(reason)
}

// HandleVPN says whether an IKE SA lives, so that a tentative verdict is enough to go on outside (DET-7).
func (m *Machine) HandleVPN(live bool) {
	m.vpnLive = live
	if c := m.candidates[m.trying]; live && c != nil && c.verdict == TentativelyOutside {
		m.use(c, "the x-HA answered and a VPN SA lives")
	}
}

// HandleResume begins a new epoch of every interface after a suspend (DET-2).
func (m *Machine) HandleResume() {
	for _, c := range m.candidates {
		m.renew(c, "resumed from suspend")
	}
	m.choose("resumed from suspend")
}

// HandleRetry begins a new epoch of an interface that could not be used in the given one, unless something else has begun
// meanwhile.
func (m *Machine) HandleRetry(index int, epoch uint64) {
	if c := m.candidates[index]; c != nil && c.epoch == epoch && c.verdict == Unreachable {
		m.renew(c, c.iface.Name+": trying again")
		m.choose(c.iface.Name + ": trying again")
	}
}

// HandleSnapshot takes the interfaces as they are now.
func (m *Machine) HandleSnapshot(ifaces []link.Interface) {
	seen := make(map[int]bool, len(ifaces))
	reason := ""
	for _, now := range ifaces {
		seen[now.Index] = true
		c, known := m.candidates[now.Index]
		if !known {
			c = &candidate{iface: now}
			m.candidates[now.Index] = c
			reason = now.Name + ": interface appeared"
			m.renew(c, reason)
			continue
		}
		before := c.iface
		why := changed(before, now)
		if why == "" {
			c.iface = remember(before, now)
			continue
		}
		c.iface = now
		reason = now.Name + ": " + why
		relinked := relinked(before, now)
		if relinked {
			c.agent = false
		}
		m.renewOn(c, reason, relinked)
	}
	for index, c := range m.candidates {
		if !seen[index] {
			reason = c.iface.Name + ": interface vanished"
			m.epochs++
			m.drop(c, reason)
			m.emit(Epoch{Interface: c.iface, Epoch: m.epochs, Gone: true, Reason: reason})
			delete(m.candidates, index)
		}
	}
	if reason != "" {
		m.choose(reason)
	}
}

// HandleAgent says that a foreign agent has been found on the interface, or that the last one is lost.
func (m *Machine) HandleAgent(index int, present bool) {
	c := m.candidates[index]
	if c == nil || c.agent == present {
		return
	}
	fa, usable := c.attachment(m.pin)
	c.agent = present
	reason := c.iface.Name + ": foreign agent found"
	if !present {
		reason = c.iface.Name + ": foreign agent lost"
	}
	if fa && usable { // it was in use, or could have been
		m.renew(c, reason)
	}
	m.choose(reason)
}

// HandleHint says whether a hint makes it likely that the interface is inside in the given epoch. While nothing carries
// traffic it changes in which order interfaces are tried, and nothing else ever: no verdict, no attempt that is under way
// and nothing that carries traffic (DET-11). A hint for an earlier epoch is ignored.
func (m *Machine) HandleHint(index int, epoch uint64, likelyInside bool) {
	if c := m.candidates[index]; c != nil && c.epoch == epoch {
		c.likely = likelyInside
	}
}

// HandleVerdict takes the detector's verdict for the epoch of the interface. One for an earlier epoch is ignored. Why is
// what the detector says about it.
func (m *Machine) HandleVerdict(index int, epoch uint64, v Verdict, why string) {
	c := m.candidates[index]
	if c == nil || c.epoch != epoch || !c.tried {
		return
	}
	before := c.verdict
	c.verdict = v
	comp, pinned := m.pin.Composition()
	switch {
	case v == Inside && pinned && comp.VPN:
		// Not asked for, and not followed: the pin says VPN.
	case v == Inside:
		m.use(c, why)
	case (v == Outside || v == TentativelyOutside) && m.using != 0 && m.using != index && m.mode.Plaintext():
		// Direct access through the other interface is preferred over the VPN through this one (MOD-prefer).
		if v == Outside {
			m.trying, c.tried = 0, false
			m.emit(Abandon{index, epoch, "direct access through another interface is preferred"})
		}
	case v == Outside || v == TentativelyOutside && m.vpnLive:
		if pinned && !comp.VPN {
			m.refuse(c, fmt.Sprintf("mode %s is pinned but %s is not proven to be inside (%s): nothing is sent in the clear; "+
				"choose `mipvpn mode auto` or a mode with a VPN", m.pin, c.iface.Name, why))
			return
		}
		m.use(c, why)
	case v == Unreachable:
		m.refuse(c, fmt.Sprintf("%s: no home agent answers: %s", c.iface.Name, why))
		m.rotate(c)
		m.choose(c.iface.Name + ": no home agent answers")
	case v == Unknown && before != Unknown:
		if m.using == index {
			m.hold(why)
		}
	}
}

// renew begins a new epoch of c on the same link. Traffic over it stops at once.
func (m *Machine) renew(c *candidate, reason string) { m.renewOn(c, reason, false) }

// renewOn begins a new epoch of c, whose link may be another.
func (m *Machine) renewOn(c *candidate, reason string, relinked bool) {
	m.epochs++
	m.drop(c, reason)
	c.epoch, c.verdict, c.tried, c.likely = m.epochs, Unknown, false, false
	m.emit(Epoch{Interface: c.iface, Epoch: c.epoch, Relinked: relinked, Reason: reason})
}

// drop ends what was begun or used on c.
func (m *Machine) drop(c *candidate, reason string) {
	if m.using == c.iface.Index {
		m.hold(reason)
	}
	if m.trying == c.iface.Index {
		m.trying = 0
	}
	if c.tried {
		c.tried = false
		m.emit(Abandon{c.iface.Index, c.epoch, reason})
	}
}

func (m *Machine) abandonAll(reason string) {
	for _, c := range m.candidates {
		m.drop(c, reason)
		c.verdict = Unknown
	}
}

func (m *Machine) hold(reason string) {
	m.using, m.mode = 0, stack.ModeNone
	m.quiet = quiet{reason: reason}
	m.emit(Hold{reason})
}

// refuse says why nothing is sent through c, and blocks when nothing else carries traffic.
func (m *Machine) refuse(c *candidate, reason string) {
	if m.using == c.iface.Index {
		m.hold(reason)
	}
	if m.using == 0 {
		m.block(reason)
	}
}

func (m *Machine) block(reason string) {
	if m.quiet.blocked && m.quiet.reason == reason {
		return
	}
	m.quiet = quiet{true, reason}
	m.emit(Blocked{reason})
}

// use takes c into use and lets the former interface go.
func (m *Machine) use(c *candidate, reason string) {
	fa, usable := c.attachment(m.pin)
	if !usable {
		return
	}
	mode := stack.Outside(fa)
	if c.verdict == Inside {
		mode = stack.Direct(fa)
	}
	if m.trying == c.iface.Index {
		m.trying = 0
	}
	if m.using == c.iface.Index && m.mode == mode {
		return
	}
	former := m.using
	m.using, m.mode, m.quiet = c.iface.Index, mode, quiet{}
	m.emit(Use{c.iface.Index, c.epoch, mode, reason})
	if old := m.candidates[former]; old != nil && former != c.iface.Index && old.tried {
		old.tried = false
		m.emit(Abandon{former, old.epoch, fmt.Sprintf("%s has taken over", c.iface.Name)})
	}
}

// choose begins an attempt on the best interface, unless it carries the traffic or is being tried already. What carries
// traffic meanwhile goes on doing so until the new one is proven (make before break).
func (m *Machine) choose(reason string) {
	if m.stopped {
		return
	}
	list := m.ranked()
	if len(list) == 0 {
		if m.using == 0 {
			m.block("no interface is connected" + m.wanted())
		}
		return
	}
	best := m.worthTrying(list)
	if best == nil {
		return
	}
	if c := m.candidates[m.trying]; c != nil { // a worse one was being tried
		c.tried = false
		m.emit(Abandon{c.iface.Index, c.epoch, best.iface.Name + " is preferred"})
	}
	fa, _ := best.attachment(m.pin)
	comp, pinned := m.pin.Composition()
	m.trying, best.tried, best.verdict = best.iface.Index, true, Unknown
	m.quiet = quiet{} // whatever comes next has to be said
	m.emit(Attempt{best.iface, best.epoch, fa, pinned && comp.VPN, reason})
}

// rotate gives the other interfaces another chance once all have been found unreachable, so that each is tried in turn.
// A single one goes on being asked by its detector.
func (m *Machine) rotate(last *candidate) {
	list := m.ranked()
	for _, c := range list {
		if c.verdict != Unreachable {
			return
		}
	}
	for _, c := range list {
		if c != last {
			c.verdict = Unknown
		}
	}
}

// worthTrying returns the best of the list that an attempt could improve things with, or nil.
func (m *Machine) worthTrying(list []*candidate) *candidate {
	direct := m.using != 0 && m.mode.Plaintext()
	for _, c := range list {
		switch {
		case c.iface.Index == m.using || c.iface.Index == m.trying && c.verdict != Unreachable:
			return nil
		case c.verdict == Unreachable, c.verdict == Outside && direct:
			continue
		}
		return c
	}
	return nil
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

func (m *Machine) emit(e Event) { m.events = append(m.events, e) }
