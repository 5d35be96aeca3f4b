package ike

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// trail is what the initiator of an SA without MOBIKE knows of whether its peer follows authentic packets to where they come
// from (RFC 7296 §2.23). It is proved by one change of the source port, before this end relies on it: a response goes back to
// where the request came from in any case, so that the responder's own ESP packets have to be seen as well, where there are any.
type trail struct {
	state follows
	// home is the path before the proof, the zero path when its address is gone.
	home path
	// begun is when the proof began, answered when the peer has answered from where this end is now, 0 until then.
	begun, answered time.Duration
	// esp is set when ESP has arrived where this end is now, astray is where it has arrived otherwise.
	esp    bool
	astray netip.AddrPort
	// rounds counts the checks that ESP packets have been seen astray after, in a row.
	rounds int
	// told is set when Following has said that ESP was seen. tickAt is when to look again.
	told   bool
	tickAt time.Duration
}

// follows is where the proof stands.
type follows uint8

const (
	followsUnknown follows = iota
	followsTrying
	followsYes
	followsNo
)

const (
	// followTick is how often the driver is to look for ESP packets while that matters.
	followTick = 250 * time.Millisecond
	// followLimit is how long the proof may take in all, and followTries how often its request is sent from the new port.
	followLimit, followTries = 20 * time.Second, 4
	// followSettle is how old the peer's answer has to be until ESP packets that arrive elsewhere mean something: those that
	// were under way have arrived then. followPatience is how long ESP packets are waited for.
	followSettle, followPatience = time.Second, 5 * time.Second
	// followRounds is how many checks in a row have to fail.
	followRounds = 2
)

// Following tells an initiator whether its peer follows authentic packets of an SA in UDP to where they come from (RFC 7296
// §2.23), as ProveFollowing has found out; SetAddresses works when it does. It may be told again: when ESP packets have been seen
// at last, or when the peer does not follow any more.
type Following struct {
	Follows bool
	// IKE is set when the peer has answered at the new endpoint, ESP when its ESP packets have arrived there. Without any ESP packet
	// at either endpoint a peer that answers counts as one that follows.
	IKE, ESP bool
}

// ESPWanted asks for an ESP packet in each child SA that is sent through: a dummy packet (RFC 4303 §2.6) will do. The peer is to see
// where this end is now.
type ESPWanted struct {
	// Answer is set when an ESP packet of the peer would tell more than anything else, such as the answer to a packet inside: it does
	// answer in IKE, and nothing of ESP has been seen.
	Answer bool
}

func (Following) event() {}
func (ESPWanted) event() {}

// ProveFollowing has an initiator whose peer does not support MOBIKE find out whether the peer follows its packets all the same: it
// goes over to another local UDP port of its address, one that nobody has used with this peer, and asks the peer from there.
// EndpointChanged says so, and the driver receives at both ports from then on; ESPWanted asks it for ESP packets, HandleSource is
// told of those that arrive, and Following brings the result. A peer that does not follow is met at the port before again.
// One that does is met at the new port as long as this end keeps the address; at others everything is on port 4500.
// Errors: ErrClosed; ErrUnexpected for a responder, with MOBIKE, in TCP, outside of UDP, or when it is known already.
func (m *Machine) ProveFollowing(now link.Instant, port uint16) error {
	f := &m.trail
	switch {
	case !m.running():
		return fmt.Errorf("ike: prove following: %w", ErrClosed)
	case m.initiator == nil || m.mobike.on || m.tcp || !m.encapsulate || f.state != followsUnknown || port == m.local.Port() || port == 0:
		return fmt.Errorf("ike: prove following: %w: want an SA in UDP without MOBIKE, once, from another port", ErrUnexpected)
	}
	*f = trail{state: followsTrying, home: m.path(), begun: now.Boot, tickAt: now.Boot + followTick}
	if b := &m.mobike; !slices.Contains(b.addresses, m.local.Addr()) {
		b.addresses = append(b.addresses, m.local.Addr())
	}
	m.shift(now, path{local: netip.AddrPortFrom(m.local.Addr(), port), remote: m.remote}, false)
	return m.err
}

// movable tells whether the SAs move when this end's addresses change.
func (m *Machine) movable() bool { return m.mobike.on || m.trail.state == followsYes }

// shift has an initiator send from another endpoint, and asks the peer from there, which takes note of it by that (RFC 7296
// §2.23). A peer that is reached at this endpoint already is asked again. anew is set when the network behind the address may be
// another one.
func (m *Machine) shift(now link.Instant, to path, anew bool) {
	b, f := &m.mobike, &m.trail
	b.generation++
	b.search = search{}
	f.answered, f.esp, f.astray, f.tickAt = 0, false, netip.AddrPort{}, now.Boot+followTick
	if before := m.path(); to != before || anew {
		b.tests, m.keep = nil, keepalives{}
		m.use(to)
		if anew || to.local.Addr() != before.local.Addr() {
			f.rounds, f.home = 0, path{}
			m.nat.Local = true // nobody says whether there is a NAT
			m.startKeepalive(now)
		}
		m.updateEndpoints(m.isProven(m.remote))
		m.repeatOutstanding(now)
	}
	if !m.queued(func(t task) bool { _, ok := t.(*followTask); return ok }) {
		m.current.queue = slices.Insert(m.current.queue, 0, newExchange(message.Informational, &followTask{}))
	}
	m.startNext(now, m.current)
}

// followTask asks the peer from where this end is now, by a request that is fresh, so that it may follow.
type followTask struct {
	generation uint64
	path       path
}

func (t *followTask) needed(m *Machine) bool { return m.running() && !m.mobike.on && !m.tcp }

func (t *followTask) request(_ link.Instant, m *Machine, _ *exchange) error {
	t.generation, t.path = m.mobike.generation, m.path()
	return nil
}

func (t *followTask) response(now link.Instant, m *Machine, x *exchange, _ *message.Message) error {
	f := &m.trail
	switch {
	case t.generation != m.mobike.generation: // another one follows
	case x.spread: // the peer may have taken another address that the request came from
		m.shift(now, m.path(), false)
	case m.arrived.Local != t.path.local && f.open():
		f.astray = m.arrived.Local
		m.followsNot(now)
	default:
		f.answered = now.Boot
		if !m.isProven(m.remote) {
			m.noteProven(m.remote)
			m.updateEndpoints(true)
		}
		m.judge(now)
	}
	return nil
}

func (t *followTask) abandon(now link.Instant, m *Machine) {
	if m.err == nil && t.generation == m.mobike.generation {
		m.current.queue = slices.Insert(m.current.queue, 0, newExchange(message.Informational, &followTask{}))
	}
}

// accompany asks for ESP packets beside each sending of the check.
func (m *Machine) accompany(x *exchange) {
	if _, ok := x.tasks[0].(*followTask); ok {
		m.emit(ESPWanted{})
	}
}

// noteESP takes note of where an initiator's ESP packets arrive.
func (m *Machine) noteESP(now link.Instant, local netip.AddrPort, s esp.Source) {
	f := &m.trail
	if !f.open() || m.childByIn(s.SPI()) == nil {
		return
	}
	testing := m.current.exchange != nil && m.current.exchange.test != (path{})
	switch {
	case local == m.local:
		f.esp, f.astray, f.rounds = true, netip.AddrPort{}, 0
	case f.answered != 0 && now.Since(f.answered) >= followSettle && !testing:
		f.esp, f.astray = false, local
	}
	m.judge(now)
}

// open tells whether what is seen matters.
func (f *trail) open() bool { return f.state == followsTrying || f.state == followsYes }

// judge draws the conclusion from what has been seen so far.
func (m *Machine) judge(now link.Instant) {
	f := &m.trail
	switch {
	case f.answered == 0 || !f.open():
		return
	case f.esp:
		m.followsYes(Following{Follows: true, IKE: true, ESP: true})
	case f.astray.IsValid() && f.rounds+1 >= followRounds:
		m.followsNot(now)
		return
	case f.astray.IsValid():
		f.rounds++
		m.shift(now, m.path(), false)
		return
	case now.Since(f.answered) < followPatience:
		f.tickAt = now.Boot + followTick
		return
	default:
		m.followsYes(Following{Follows: true, IKE: true})
	}
	f.tickAt = 0
	if m.mobike.lapsed && !m.parked {
		m.mobike.lapsed = false // this path works
		m.followAddresses(now)
	}
}

// followsYes tells that the peer follows, unless that is known.
func (m *Machine) followsYes(e Following) {
	f := &m.trail
	known := f.state == followsYes && (!e.ESP || f.told)
	f.state, f.told = followsYes, f.told || e.ESP
	if !known {
		m.emit(e)
	}
}

// followsNot goes back to where the peer sends its packets to, and lets it see that this end is there.
func (m *Machine) followsNot(now link.Instant) {
	f := &m.trail
	e := Following{IKE: f.answered != 0, ESP: f.esp}
	back := f.home
	if f.astray.IsValid() {
		back = path{local: f.astray, remote: m.remote}
	}
	*f = trail{state: followsNo}
	m.emit(e)
	if back != (path{}) && slices.Contains(m.mobike.addresses, back.local.Addr()) {
		m.shift(now, back, false)
	}
}

// followTimeout looks at what is under way.
func (m *Machine) followTimeout(now link.Instant) {
	f := &m.trail
	if !due(now, f.tickAt) {
		return
	}
	f.tickAt = 0
	switch {
	case !m.running() || !f.open():
	case f.answered != 0:
		if m.judge(now); f.tickAt != 0 {
			m.emit(ESPWanted{Answer: now.Since(f.answered) >= followSettle})
		}
	case f.state == followsTrying && now.Since(f.begun) >= followLimit:
		m.followsNot(now)
	case f.state == followsTrying:
		f.tickAt = now.Boot + followTick
	}
}
