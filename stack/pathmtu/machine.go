package pathmtu

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Path is what is measured: the composition in use between the home address and its home agent. It is comparable.
type Path struct {
	// Home is the i-HoA, Agent the i-HA.
	Home, Agent netip.Addr
	// Max is the largest packet of the home address in octets that the interface takes and the device gives.
	Max int
	// Overhead is the most octets that the composition adds to it.
	Overhead int
}

// outstanding is a probe that has not been answered.
type outstanding struct {
	seq  uint16
	size int
	at   time.Duration
}

// remembered is how many unanswered probes an answer is looked up among.
const remembered = 16

type timer uint8

const (
	timerSend     timer = iota // the probe of target may go
	timerAnswer                // PROBE_TIMER
	timerPatience              // see patienceLeast
	timerRaise                 // PMTU_RAISE_TIMER
	timerConfirm               // CONFIRMATION_TIMER
	timerRetry                 // see retryFirst
	numTimers
)

// Machine measures one path at a time. Its sizes are those of the home address's packets, before any encapsulation.
type Machine struct {
	cfg  Config
	rand io.Reader
	err  error

	path        Path
	floor, base int
	id          uint16
	token       Token
	seq         uint16
	state       State

	low  int // the largest size that has been answered, 0 for none
	high int // the least size that counts as too large
	// unmeasured counts while nothing casts doubt on it.
	unmeasured int
	doubted    bool
	leap       int // the size to try straight after the base, 0 when it has been
	hint       int // a size that a message named, 0 for none
	target     int // the size being tried
	tries      int // probes of it so far
	rtt        time.Duration
	sent       bool          // something, into this path
	lastSent   time.Duration // boot time
	lastHint   time.Duration
	hinted     bool
	retry      time.Duration
	waiting    []outstanding
	timers     [numTimers]struct {
		at    time.Duration
		armed bool
	}

	packets, long uint64 // as last told by HandleTraffic
	packetsThen   uint64 // when timerRaise or timerRetry was set
	longThen      uint64 // at the last look of timerConfirm
	flowing       bool   // long packets were sent before the last look

	told       Event
	transmits  [][]byte
	events     []Event
	statistics Statistics
}

// NewMachine returns a machine without a path. Errors wrap ErrConfig.
func NewMachine(cfg Config, rand io.Reader) (*Machine, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return &Machine{cfg: cfg, rand: rand}, nil
}

// Start begins to measure another path, or the same one as if nothing were known of it. An error wraps ErrConfig, or says
// that there are no random numbers; then the machine is idle.
func (m *Machine) Start(now link.Instant, p Path) error {
	m.Stop()
	if !p.Home.Is4() || !p.Agent.Is4() || p.Max < minIPv4MTU || p.Max > packet.LargeSize || p.Overhead < 0 {
		return fmt.Errorf("%w: path from %v to %v with an MTU of %d and %d octets of overhead", ErrConfig, p.Home, p.Agent, p.Max, p.Overhead)
	}
	var random [2 + len(Token{})]byte
	if _, err := io.ReadFull(m.rand, random[:]); err != nil {
		m.err = fmt.Errorf("pathmtu: no random numbers: %w", err)
		return m.err
	}
	m.id, m.token = binary.BigEndian.Uint16(random[:]), Token(random[2:])
	m.path = p
	m.base = max(min(m.cfg.Base-p.Overhead, p.Max), min(minProbe, p.Max))
	m.floor = max(min(m.cfg.Floor-p.Overhead, m.base), min(minProbe, p.Max))
	m.rtt, m.sent, m.retry, m.hinted, m.told = 0, false, retryFirst, false, Event{}
	m.search(now, p.Max, p.Max+1)
	m.tell("a path of which nothing is known")
	return nil
}

// Stop forgets the path.
func (m *Machine) Stop() {
	m.state = Idle
	m.waiting, m.transmits, m.events = nil, nil, nil
	for t := range m.timers {
		m.timers[t].armed = false
	}
}

// State returns the state.
func (m *Machine) State() State { return m.state }

// ID returns the identifier of the echo requests to the present path.
func (m *Machine) ID() uint16 { return m.id }

// MTU returns the largest packet of the home address in octets that may be sent into the path, 0 without a path.
func (m *Machine) MTU() int {
	switch {
	case m.state == Idle:
		return 0
	case !m.doubted:
		return m.unmeasured
	case m.low > 0:
		return m.low
	}
	return m.base
}

// Measured returns the largest size in octets that has been answered in the present or last search, 0 for none.
func (m *Machine) Measured() int { return m.low }

// Statistics returns the counters.
func (m *Machine) Statistics() Statistics { return m.statistics }

// Err returns why the machine is dead, nil while it lives: it dies when there are no random numbers.
func (m *Machine) Err() error { return m.err }

// search begins a search with the base size. leap is the size to try after it, and sizes from high on are left out.
func (m *Machine) search(now link.Instant, leap, high int) {
	m.statistics.Searches++
	m.state, m.low, m.high, m.hint = Base, 0, high, 0
	m.unmeasured, m.leap = min(leap, m.path.Max), leap
	m.doubted = false
	m.waiting = m.waiting[:0]
	m.stop(timerPatience, timerConfirm, timerRetry)
	m.aim(now, m.base)
}

// aim makes size the one to be tried, one round trip after the last probe at the earliest (RFC 8899 §3, item 7).
func (m *Machine) aim(now link.Instant, size int) {
	m.target, m.tries = size, 0
	m.stop(timerSend, timerAnswer, timerPatience)
	apart := m.rtt
	if apart == 0 { // not known yet
		apart = m.cfg.Timeout
	}
	if at := m.lastSent + apart; m.sent && at > now.Boot {
		m.start(timerSend, at)
		return
	}
	m.probe(now)
}

// probe tries the target once more.
func (m *Machine) probe(now link.Instant) {
	m.tries++
	m.send(now, m.target)
	m.start(timerAnswer, now.Boot+max(m.cfg.Timeout, 3*m.rtt))
	if m.state == Searching && m.tries == 1 && (!m.doubted || m.rung(m.low, m.target) != 0) {
		m.start(timerPatience, now.Boot+2*m.rtt+patienceLeast)
	}
}

// send sends a probe.
func (m *Machine) send(now link.Instant, size int) {
	m.seq++
	m.statistics.Probes++
	m.lastSent, m.sent = now.Boot, true
	if len(m.waiting) == remembered {
		m.waiting = slices.Delete(m.waiting, 0, 1)
	}
	m.waiting = append(m.waiting, outstanding{m.seq, size, now.Boot})
	m.transmits = append(m.transmits, AppendProbe(nil, m.path.Home, m.path.Agent, m.id, m.seq, m.token, size))
}

// rung returns the next size to try between low and high, both left out, 0 for none.
func (m *Machine) rung(low, high int) int {
	for _, r := range rungs {
		if size := r - m.path.Overhead; size >= low+gain && size < min(high, m.path.Max) {
			return size
		}
	}
	if m.path.Max > low && m.path.Max < high {
		return m.path.Max
	}
	return 0
}

// next goes on after a size has been answered or given up.
func (m *Machine) next(now link.Instant) {
	if m.state == Confirming || m.low >= m.path.Max {
		m.complete(now)
		return
	}
	m.state = Searching
	m.stop(timerRetry)
	between := func(size int) bool { return size > m.low && size < m.high }
	size := 0
	switch leap, hint := m.leap, m.hint; {
	case between(leap):
		m.leap, size = 0, leap
	case between(hint):
		m.hint, size = 0, hint
	default:
		size = m.rung(m.low, m.high)
	}
	if size == 0 {
		m.complete(now)
		return
	}
	m.aim(now, size)
}

// complete ends a search.
func (m *Machine) complete(now link.Instant) {
	m.state = Complete
	m.doubted = m.doubted || m.low < m.unmeasured
	if m.low >= m.unmeasured {
		m.unmeasured, m.doubted = m.low, false
	}
	m.retry = retryFirst
	m.longThen = m.long
	m.stop(timerSend, timerAnswer, timerPatience, timerRetry)
	switch {
	case m.low >= m.path.Max:
		m.stop(timerRaise)
	case !m.timers[timerRaise].armed:
		m.packetsThen = m.packets
		m.start(timerRaise, now.Boot+m.cfg.Raise)
	}
	if m.low > m.base {
		m.start(timerConfirm, now.Boot+m.cfg.Confirm/2)
	}
	m.flowing = false
	m.tell(fmt.Sprintf("packets of %d octets get through", m.low))
}

// HandleAnswer takes an echo reply from the i-HA and reports whether it answers one of the probes.
func (m *Machine) HandleAnswer(now link.Instant, ip packet.IPv4) bool {
	if m.state == Idle {
		return false
	}
	seq, ok := parseAnswer(ip, m.path.Home, m.path.Agent, m.id, m.token)
	if !ok {
		return false
	}
	i := slices.IndexFunc(m.waiting, func(o outstanding) bool { return o.seq == seq })
	if i < 0 {
		return false
	}
	p := m.waiting[i]
	m.waiting = slices.Delete(m.waiting, i, i+1)
	m.statistics.Answers++
	m.rtt = max(now.Boot-p.at, time.Millisecond)
	for _, o := range m.waiting {
		if o.at < p.at && o.size > p.size {
			m.missed(o.size)
		}
	}
	if p.size >= m.high { // it gets through after all
		m.high = m.path.Max + 1
	}
	m.low = max(m.low, p.size)
	if m.low >= m.unmeasured {
		m.unmeasured, m.doubted = m.low, false
	}
	switch m.state {
	case Unanswered, Base, Searching, Confirming:
		if p.size >= m.target || m.state == Unanswered {
			m.next(now)
		}
	case Complete: // late
		m.complete(now)
	}
	m.tell("probes of other sizes are answered")
	return true
}

// missed casts doubt on what counts: packets of that size, which is within it, do not seem to get through.
func (m *Machine) missed(size int) {
	if size <= m.MTU() && m.state != Confirming {
		m.doubted = true
	}
}

// HandleHint takes in that a message from outside, which may be forged, says that packets of the home address of more than
// size octets do not get through; 0 when it does not say how many do. It begins a search at most, and names a size to try
// that is never under the floor.
func (m *Machine) HandleHint(now link.Instant, size int) {
	if m.state == Idle || size >= m.high {
		return
	}
	if size != 0 {
		size = max(size, m.floor)
	}
	switch m.state {
	case Complete, Confirming, Unanswered:
		if size >= m.MTU() || m.hinted && now.Since(m.lastHint) < hintInterval {
			return
		}
		m.hinted, m.lastHint = true, now.Boot
		m.statistics.Hints++
		m.search(now, m.MTU(), m.MTU()+1)
		m.hint = size
	case Base, Searching:
		if size <= m.low || size >= m.target || m.tries == 0 {
			return
		}
		m.statistics.Hints++
		if m.state == Base {
			m.aim(now, size)
			return
		}
		m.hint = size
		m.next(now)
	}
	m.tell("a router says that packets are too large")
}

// HandleRefused takes in that the interface itself does not take a probe of that many octets.
func (m *Machine) HandleRefused(now link.Instant, size int) {
	m.waiting = slices.DeleteFunc(m.waiting, func(o outstanding) bool { return o.size == size })
	if m.state == Idle || size != m.target {
		return
	}
	m.missed(size)
	m.failed(now)
	m.tell("the interface takes no packets of this size")
}

// HandleTraffic takes in how many packets, and how many longer than the base size, have been sent in all. Without any,
// nothing is probed once a search has come to its end (RFC 8899 §5.1.1).
func (m *Machine) HandleTraffic(packets, long uint64) { m.packets, m.long = packets, long }

// failed gives the target up.
func (m *Machine) failed(now link.Instant) {
	m.stop(timerSend, timerAnswer, timerPatience)
	switch m.state {
	case Confirming:
		m.statistics.BlackHoles++
		m.stop(timerRaise)
		size := m.target
		m.search(now, 0, size)
		m.unmeasured, m.doubted = size, true
		m.tell("a size that got through is no longer answered")
	case Base:
		if m.target > m.floor {
			m.leap = 0
			m.aim(now, m.floor)
			return
		}
		m.state, m.doubted = Unanswered, true
		m.packetsThen = m.packets
		m.start(timerRetry, now.Boot+m.retry)
		m.retry = min(2*m.retry, m.cfg.Raise)
		m.tell("no probe is answered")
	default:
		m.high = min(m.high, m.target)
		m.next(now)
	}
}

// HandleTimeout does what is due at now.
func (m *Machine) HandleTimeout(now link.Instant) {
	for t := range numTimers {
		if timer := &m.timers[t]; timer.armed && timer.at <= now.Boot {
			timer.armed = false
			m.expired(now, t)
		}
	}
}

func (m *Machine) expired(now link.Instant, t timer) {
	switch t {
	case timerSend:
		m.probe(now)
	case timerAnswer:
		m.missed(m.target)
		if m.tries < m.cfg.Probes {
			m.probe(now)
			m.tell("a probe is not answered")
			return
		}
		m.failed(now)
		m.tell("probes are not answered")
	case timerPatience:
		// The target goes unanswered so far. What lies under it is tried meanwhile, and itself again in the end. With nothing
		// between, a size that got through before shows whether the target alone is lost.
		size := m.rung(m.low, m.target)
		if m.hint > m.low && m.hint < m.target {
			m.hint, size = 0, m.hint
		}
		if size == 0 {
			m.send(now, m.low)
			return
		}
		m.aim(now, size)
	case timerRaise:
		switch {
		case m.state != Complete: // a search that something else has begun goes first
			m.start(timerRaise, now.Boot+m.cfg.Confirm)
			return
		case m.packets == m.packetsThen:
			m.start(timerRaise, now.Boot+m.cfg.Raise)
			return
		}
		m.statistics.Searches++
		m.stop(timerConfirm)
		m.high, m.leap = m.path.Max+1, m.path.Max
		m.next(now)
	case timerConfirm:
		// Long packets before this look and the one before: they are being sent now, and not only were. Those that get lost are
		// sent again for that long.
		before := m.flowing
		m.flowing, m.longThen = m.long != m.longThen, m.long
		if !before || !m.flowing {
			m.start(timerConfirm, now.Boot+m.cfg.Confirm/2)
			return
		}
		m.state = Confirming
		m.aim(now, m.low)
	case timerRetry:
		if m.packets == m.packetsThen {
			m.start(timerRetry, now.Boot+m.retry)
			return
		}
		m.search(now, m.path.Max, m.path.Max+1)
		m.doubted = true
	}
}

func (m *Machine) start(t timer, at time.Duration) {
	m.timers[t].at, m.timers[t].armed = at, true
}

func (m *Machine) stop(timers ...timer) {
	for _, t := range timers {
		m.timers[t].armed = false
	}
}

// tell makes an event of what differs from what was told last.
func (m *Machine) tell(reason string) {
	e := Event{MTU: m.MTU(), State: m.state}
	settled := e.State == Complete || e.State == Unanswered
	if e.MTU == m.told.MTU && (e.State == m.told.State || !settled) {
		return
	}
	m.told = e
	e.Reason = reason
	m.events = append(m.events, e)
}

// PollTransmit returns the next probe: a whole IPv4 packet of the home address, to be sent with DF in every header. The
// caller owns it.
func (m *Machine) PollTransmit() ([]byte, bool) {
	if len(m.transmits) == 0 {
		return nil, false
	}
	p := m.transmits[0]
	m.transmits = m.transmits[1:]
	return p, true
}

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) {
	if len(m.events) == 0 {
		return Event{}, false
	}
	e := m.events[0]
	m.events = m.events[1:]
	return e, true
}

// Deadline returns the boot time at which HandleTimeout wants to be called, false for never.
func (m *Machine) Deadline() (time.Duration, bool) {
	var next time.Duration
	armed := false
	for _, t := range m.timers {
		if t.armed && (!armed || t.at < next) {
			next, armed = t.at, true
		}
	}
	return next, armed
}
