package roam

import (
	"fmt"
	"time"

	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// RaceDelay is how long the interface that is tried first may be silent before the next one joins the race.
const RaceDelay = 300 * time.Millisecond

const (
	// An interface that is preferred over the one in use, and on which nobody answered, is tried again after retryFirst, then
	// after twice that, and so on up to retryMost.
	retryFirst = 10 * time.Second
	retryMost  = 10 * time.Minute
)

// Config is the policy's configuration. The zero value prefers wired interfaces and probes each interface once an epoch.
type Config struct {
	// Prefer are the names of interfaces in the order in which they are preferred, patterns of path.Match allowed. Those not
	// named come behind them.
	Prefer []string
	// Probe is how long after an interface was found not to be inside it is probed again while another path carries the
	// traffic; 0 for never in the same epoch.
	Probe time.Duration
	// Update says when the VPN may stand straight on an interface.
	Update Policy
	// NoExternal is set when there is no x-HA.
	NoExternal bool
	// NoPlaintext is set where the system cannot send in the clear safely: the VPN is used inside too.
	NoPlaintext bool
}

// Machine is the roam policy. Its zero value is not ready; use New.
type Machine struct {
	config     Config
	candidates map[int]*candidate
	epochs     uint64
	pin        stack.Mode // ModeNone: auto
	stopped    bool

	using  int // the interface that carries the traffic, 0 for none
	mode   stack.Mode
	choice Choice // that mode was taken from
	known  Mechanisms
	// deaf is set when the x-HA was not heard where it was asked last.
	deaf bool
	// vpnLive is set while an IKE SA lives, alone when the i-HA keeps one binding only.
	vpnLive, alone bool
	lost           *candidate // what carried the traffic before it was lost
	quiet          quiet
	wake           time.Duration // when consider has something to do again; never
	wakes          bool

	events queue.FIFO[Event]
}

// quiet is what was last said while nothing carries traffic, so that it is said once.
type quiet struct {
	blocked bool
	reason  string
}

// New returns a machine that knows of no interface and is stopped until Start.
func New(config Config) *Machine {
	return &Machine{config: config, candidates: make(map[int]*candidate), stopped: true}
}

// Successor returns a machine like a new one, with the same configuration and pin, whose epochs go on where those of m end:
// no epoch is ever told twice.
func (m *Machine) Successor() *Machine {
	n := New(m.config)
	n.pin, n.epochs, n.alone, n.known, n.deaf = m.pin, m.epochs, m.alone, m.known, m.deaf
	n.known.Ground, n.known.GatewayAgent = GroundNone, false
	return n
}

// PollEvent returns the next decision; drain it after every Handle.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Deadline returns the boot time at which HandleTimeout has something to do, and false when it has not.
func (m *Machine) Deadline() (time.Duration, bool) { return m.wake, m.wakes }

// HandleTimeout begins what was put off until now.
func (m *Machine) HandleTimeout(now link.Instant) {
	if m.wakes && now.Boot >= m.wake {
		m.consider(now, "it is time to try")
	}
}

// Using returns the interface that carries traffic and the mode; index 0 for none.
func (m *Machine) Using() (index int, mode stack.Mode) { return m.using, m.mode }

// Pin returns the pinned mode, ModeNone for auto.
func (m *Machine) Pin() stack.Mode { return m.pin }

// Standing says why nothing is under way on an interface: for people.
func (m *Machine) Standing(index int) string {
	c := m.candidates[index]
	used := m.candidates[m.using]
	switch {
	case c == nil:
		return "not used: the configuration leaves it out"
	case !c.iface.Up:
		return "not connected"
	}
	if _, usable := c.attachment(m.pin); !usable {
		return "no address with a default route, and no foreign agent, that the mode policy could use"
	}
	switch {
	case c.damper.on:
		return "it changes all the time and is tried seldom until it has been quiet"
	case c.why != "":
		return c.why
	case used != nil:
		return fmt.Sprintf("standing by: %s carries the traffic and is preferred", used.iface.Name)
	}
	return "not tried yet"
}

// Start lets the machine make attempts.
func (m *Machine) Start(now link.Instant) {
	m.stopped = false
	m.consider(now, "started")
}

// Stop abandons everything and makes no attempt until Start.
func (m *Machine) Stop(reason string) {
	m.stopped, m.wakes = true, false
	m.abandonAll(reason)
	m.quiet, m.lost = quiet{}, nil
}

// HandlePin pins a mode (ModeNone: auto). All attempts begin again, since what has to be found out differs.
func (m *Machine) HandlePin(now link.Instant, pin stack.Mode) {
	if m.pin == pin {
		return
	}
	m.pin = pin
	reason := "mode is chosen automatically"
	if pin != stack.ModeNone {
		reason = fmt.Sprintf("mode %s is pinned", pin)
	}
	m.abandonAll(reason)
	for _, c := range m.sorted() {
		m.renew(c, reason)
	}
	m.consider(now, reason)
}

// HandleVPN says whether an IKE SA lives, so that a tentative verdict is enough to go on outside (DET-7).
func (m *Machine) HandleVPN(now link.Instant, live bool) {
	m.vpnLive = live
	if !live || m.using != 0 {
		return
	}
	for _, c := range m.ranked(m.prefer) {
		if c.pursuit == racing && c.verdict == TentativelyOutside {
			m.judge(now, c, "the x-HA answered and a VPN SA lives")
			m.consider(now, "a VPN SA lives")
			return
		}
	}
}

// HandleSimultaneous says whether the i-HA keeps several bindings at once. Where it does not (code 1, RFC 5944 §3.4), no
// interface is probed while another path carries the traffic, unless it is preferred over that one.
func (m *Machine) HandleSimultaneous(supported bool) { m.alone = !supported }

// HandleHint says whether something hints that the interface is inside in this epoch. It only changes the order in which
// interfaces are tried (DET-11).
func (m *Machine) HandleHint(index int, epoch uint64, likelyInside bool) {
	if c := m.candidates[index]; c != nil && c.epoch == epoch {
		c.likely = likelyInside
	}
}

// HandleResume begins a new epoch of every interface after a suspend (DET-2).
func (m *Machine) HandleResume(now link.Instant) {
	for _, c := range m.sorted() {
		m.renew(c, "resumed from suspend")
		c.damper = damper{at: now.Boot}
	}
	m.consider(now, "resumed from suspend")
}

// HandleReload takes another configuration. With anew a new epoch of every interface begins, since what has to be found out there
// differs.
func (m *Machine) HandleReload(now link.Instant, config Config, anew bool, reason string) {
	m.config = config
	for _, c := range m.sorted() {
		c.notBefore, c.tries = 0, 0
		if anew {
			m.renew(c, reason)
		}
	}
	m.consider(now, reason)
}

// HandleRetry begins a new epoch of an interface that could not be used in the given one, unless something else has begun
// meanwhile.
func (m *Machine) HandleRetry(now link.Instant, index int, epoch uint64) {
	if c := m.candidates[index]; c != nil && c.epoch == epoch && c.verdict == Unreachable {
		m.renew(c, c.iface.Name+": trying again")
		m.consider(now, c.iface.Name+": trying again")
	}
}

// HandleSnapshot takes the interfaces as they are now.
func (m *Machine) HandleSnapshot(now link.Instant, ifaces []link.Interface) {
	seen := make(map[int]bool, len(ifaces))
	reason := ""
	for _, i := range ifaces {
		seen[i.Index] = true
		c, known := m.candidates[i.Index]
		if !known {
			c = &candidate{iface: i, damper: damper{at: now.Boot}}
			m.candidates[i.Index] = c
			reason = i.Name + ": interface appeared"
			m.renew(c, reason)
			continue
		}
		before := c.iface
		why := changed(before, i, c.agent)
		if why == "" {
			c.iface = remember(before, i)
			continue
		}
		c.iface = i
		reason = i.Name + ": " + why
		relinked := relinked(before, i)
		if relinked {
			c.agent = false
		}
		m.renewOn(c, reason, relinked)
		if !configured(before, i) && c.damper.change(now.Boot) {
			until := c.damper.until(now.Boot)
			m.emit(Damped{i.Index, until, fmt.Sprintf("%s changes all the time: it is tried seldom until it has been quiet for %v",
				i.Name, (until - now.Boot).Round(time.Second))})
		}
	}
	for _, c := range m.sorted() {
		if !seen[c.iface.Index] {
			reason = c.iface.Name + ": interface vanished"
			m.epochs++
			m.drop(c, reason)
			m.emit(Epoch{Interface: c.iface, Epoch: m.epochs, Gone: true, Reason: reason})
			delete(m.candidates, c.iface.Index)
		}
	}
	if reason != "" {
		m.consider(now, reason)
	}
}

// HandleAgent says that a foreign agent has been found on the interface, or that the last one is lost.
func (m *Machine) HandleAgent(now link.Instant, index int, present bool) {
	c := m.candidates[index]
	if c == nil || c.agent == present {
		return
	}
	fa, usable := c.attachment(m.pin)
	six := c.six(m.pin)
	c.agent = present
	reason := c.iface.Name + ": foreign agent found"
	if !present {
		reason = c.iface.Name + ": foreign agent lost"
	}
	if now, _ := c.attachment(m.pin); usable && (fa || six && now) { // it was in use, or could have been
		m.renew(c, reason)
	}
	m.consider(now, reason)
}

// renew begins a new epoch of c on the same link. Traffic over it stops at once.
func (m *Machine) renew(c *candidate, reason string) { m.renewOn(c, reason, false) }

// renewOn begins a new epoch of c, whose link may be another.
func (m *Machine) renewOn(c *candidate, reason string, relinked bool) {
	m.epochs++
	m.drop(c, reason)
	c.epoch, c.verdict, c.likely, c.notBefore, c.tries = m.epochs, Unknown, false, 0, 0
	c.external, c.mute, c.why = ExternalAsked, false, ""
	m.emit(Epoch{Interface: c.iface, Epoch: c.epoch, Relinked: relinked, Reason: reason})
}

// drop ends what was begun or used on c.
func (m *Machine) drop(c *candidate, reason string) {
	if m.using == c.iface.Index {
		m.hold(reason)
	}
	m.abandon(c, reason)
}

// abandon ends what is under way on c.
func (m *Machine) abandon(c *candidate, reason string) {
	if c.pursuit == idle {
		return
	}
	c.pursuit, c.why = idle, reason
	m.emit(Abandon{c.iface.Index, c.epoch, reason})
}

func (m *Machine) abandonAll(reason string) {
	for _, c := range m.sorted() {
		m.drop(c, reason)
		c.verdict = Unknown
	}
}

func (m *Machine) hold(reason string) {
	m.lost = m.candidates[m.using]
	m.using, m.mode, m.choice = 0, stack.ModeNone, Choice{}
	m.quiet = quiet{reason: reason}
	m.emit(Hold{reason})
}

func (m *Machine) block(reason string) {
	if m.quiet.blocked && m.quiet.reason == reason {
		return
	}
	m.quiet = quiet{true, reason}
	m.emit(Blocked{reason})
}

func (m *Machine) emit(e Event) { m.events.Push(e) }
