package mobilenode

import (
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// State is where a machine stands.
type State uint8

const (
	// StateIdle has no binding and asks for none.
	StateIdle State = iota
	// StateRegistering has no binding and asks for one.
	StateRegistering
	// StateRegistered has a binding; it may be renewing it.
	StateRegistered
	// StateDeregistering is taking its binding back.
	StateDeregistering
)

// String returns the state in one lower-case word.
func (s State) String() string {
	switch s {
	case StateRegistering:
		return "registering"
	case StateRegistered:
		return "registered"
	case StateDeregistering:
		return "deregistering"
	}
	return "idle"
}

// purpose is what a request is sent for.
type purpose uint8

const (
	register purpose = iota
	deregister
	deregisterAll
)

// offer is which tunnel a request asks for; a higher one asks for less.
type offer uint8

const (
	offerForcedUDP offer = iota // UDP Tunnel Request with F
	offerUDP                    // UDP Tunnel Request, if the home agent sees a NAT; through a foreign agent with R
	offerMinimal                // M bit
	offerGRE                    // G bit
	offerIPIP                   // none: what every agent must have (RFC 5944 §4.1)
)

// udp reports whether the offer is a UDP Tunnel Request.
func (o offer) udp() bool { return o == offerForcedUDP || o == offerUDP }

// mostOf returns the first offer that the configuration has made.
func mostOf(c Config) offer {
	direct := !c.ForeignAgent.IsValid()
	switch {
	case c.AtHome:
		return offerIPIP // no tunnel is asked for
	case c.Encapsulation == EncapsulationMinimal && (direct || c.CoLocated || c.AgentMinimal):
		return offerMinimal
	case c.Encapsulation == EncapsulationGRE && (direct || c.CoLocated || c.AgentGRE):
		return offerGRE
	case !direct && !c.halfBinds():
		return offerIPIP
	case !direct && c.Encapsulation != EncapsulationIPIP:
		return offerUDP // R has the same effect as F
	case c.Encapsulation == EncapsulationAuto, c.Encapsulation == EncapsulationUDP:
		return offerForcedUDP
	case c.Encapsulation == EncapsulationNAT:
		return offerUDP
	}
	return offerIPIP
}

// request is a request that may still be answered.
type request struct {
	stamp     stamp
	sentAt    time.Duration
	series    uint64
	purpose   purpose
	offer     offer
	zero      ZeroOverhead            // as asked for
	support   *wire.RevocationSupport // as sent, nil for none
	lifetime  uint16
	careOf    netip.Addr
	home      netip.Addr // 0.0.0.0 to be given one
	homeAgent netip.Addr
	suspected bool   // Unverified has been reported for it
	denied    bool   // a foreign agent has denied it
	payload   []byte // as sent, for a repetition; nil where each transmission is another request
}

// maxOutstanding bounds the requests that are remembered; the oldest goes first.
const maxOutstanding = 16

// timer names an entry of the machine's timer table.
type timer uint8

const (
	timerRetransmit timer = iota
	timerRenew
	timerExpire
	numTimers
)

// series is a run of transmissions for one purpose.
type series struct {
	number        uint64
	active        bool
	purpose       purpose
	transmissions int
	since         time.Duration
	mends         int
	resyncs       int
	refused       struct { // the last UDP tunnel that was asked for in vain; code is 0 for none
		offer offer
		code  wire.Code
	}
}

// Machine is the registration machine for one home agent, home address, care-of address and path.
type Machine struct {
	cfg    Config
	random io.Reader

	// What requests ask for: most is the most of UDP tunnelling that the configuration wants, the others are as things stand,
	// after what has been refused.
	most, offer   offer
	lifetime      uint16
	home          netip.Addr // 0.0.0.0 while none is known
	homeAgent     netip.Addr // as requests name it
	reverseTunnel bool
	switching     bool // zero-overhead tunnelling is asked for in this series

	// Where the home agent is found by asking: where requests go, who has sent the mobile node elsewhere, and whether home agents are
	// named because one does not seem to know RFC 4433.
	requested netip.Addr
	redirects []netip.Addr
	legacy    bool

	outstanding []request // oldest first
	series      series
	lastSent    struct {
		at      time.Duration
		purpose purpose
		valid   bool
	}
	binding   VerifiedReply
	bound     bool
	revocable revocable
	// challenge is the foreign agent's that the next request answers, answeredChallenge the one of the last request.
	challenge, answeredChallenge []byte

	timers [numTimers]struct {
		at    time.Duration
		armed bool
	}
	transmits queue.FIFO[Transmit]
	events    queue.FIFO[Event]
	err       error
}

// Transmit is a request to be sent.
type Transmit struct {
	// To is the home agent or foreign agent, port 434.
	To netip.AddrPort
	// TTL for the IPv4 header: 255 with the T bit (RFC 3024 §3.2).
	TTL uint8
	// Payload is the UDP payload. The receiver owns it.
	Payload []byte
}

// NewMachine makes an idle machine. random yields the low bits of Identifications. Errors wrap ErrConfig.
func NewMachine(cfg Config, random io.Reader) (*Machine, error) {
	if cfg.Lifetime == 0 {
		cfg.Lifetime = DefaultLifetime
	}
	cfg.Retransmission = cfg.Retransmission.withDefaults()
	if cfg.Refusals == nil {
		cfg.Refusals = new(Refusals)
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, random: random,
		lifetime:      uint16(cfg.Lifetime / time.Second),
		home:          cfg.HomeAddress,
		reverseTunnel: cfg.ReverseTunnel,
	}
	m.SetChallenge(cfg.Challenge)
	m.most = mostOf(cfg)
	if !m.home.IsValid() {
		m.home = netip.IPv4Unspecified()
	}
	m.findAnew()
	m.offer = m.most
	m.openSwitching(link.Instant{})
	return m, nil
}

// Config returns the configuration with its defaults filled in.
func (m *Machine) Config() Config { return m.cfg }

// State returns where the machine stands.
func (m *Machine) State() State {
	switch {
	case m.series.active && m.series.purpose != register:
		return StateDeregistering
	case m.bound:
		return StateRegistered
	case m.series.active:
		return StateRegistering
	}
	return StateIdle
}

// Binding returns the last verified reply that accepted the registration, and false when there is no binding.
func (m *Machine) Binding() (VerifiedReply, bool) { return m.binding, m.bound }

// Register starts a series of transmissions that registers, or repeats a registration. Each request has a fresh
// Identification, or with nonces is the one before once more. The first leaves at once, or when a second has passed since the last one (RFC 5944 §3.6).
func (m *Machine) Register(now link.Instant) { m.start(now, register) }

// SetSimultaneous says whether requests from now on ask the home agent to keep other bindings (the S bit, RFC 5944 §3.6.1.2).
// A registration accepted without it replaces all others.
func (m *Machine) SetSimultaneous(on bool) {
	if m.cfg.Simultaneous != on {
		m.cfg.Simultaneous = on
		m.forbidRepetition()
	}
}

// Deregister starts a series that takes back the binding of this care-of address. Replies to earlier registration
// requests are not accepted any more.
func (m *Machine) Deregister(now link.Instant) { m.start(now, deregister) }

// DeregisterAll starts a series that takes back every binding of the home address (RFC 5944 §3.6.1.2).
func (m *Machine) DeregisterAll(now link.Instant) { m.start(now, deregisterAll) }

// Stop ends the running series: nothing is retransmitted. A reply to a request already sent still counts, and a binding
// goes on being renewed.
func (m *Machine) Stop(link.Instant) {
	m.endSeries()
	m.armRenewal(0)
}

// HandleTimeout does what is due at now.
func (m *Machine) HandleTimeout(now link.Instant) {
	if m.due(timerExpire, now) {
		m.unbind()
		m.events.Push(Expired{})
	}
	if m.due(timerRenew, now) && !m.series.active {
		m.start(now, register)
	}
	if m.due(timerRetransmit, now) && m.series.active {
		if m.series.transmissions < m.cfg.Retransmission.Count {
			m.transmit(now)
		} else {
			m.unanswered(now)
		}
	}
}

// unanswered ends a series that got no usable reply.
func (m *Machine) unanswered(now link.Instant) {
	s := m.series
	m.endSeries()
	m.tryOtherwise()
	m.events.Push(Unanswered{
		Transmissions: s.transmissions, Since: s.since, Deregistration: s.purpose != register,
	})
	m.armRenewal(now.Boot + m.cfg.Retransmission.Max)
}

// PollTransmit returns the next request to be sent.
func (m *Machine) PollTransmit() (Transmit, bool) { return m.transmits.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Deadline returns the boot time of the earliest timer, and false when none is armed.
func (m *Machine) Deadline() (time.Duration, bool) {
	var at time.Duration
	found := false
	for _, t := range m.timers {
		if t.armed && (!found || t.at < at) {
			at, found = t.at, true
		}
	}
	return at, found
}

// Err returns why the machine can do nothing any more: its randomness has failed. Otherwise it is nil.
func (m *Machine) Err() error { return m.err }

// start begins a series for p.
func (m *Machine) start(now link.Instant, p purpose) {
	if m.err != nil {
		return
	}
	if m.series.purpose != p {
		m.outstanding = nil
	}
	before := m.series
	m.series = series{number: before.number + 1, active: true, purpose: p, since: now.Boot}
	switch {
	case p == register && before.active && before.purpose == register:
		m.series.refused = before.refused
	case p == register:
		m.open(now)
	default:
		m.disarm(timerRenew)
		m.disarm(timerExpire)
	}
	if m.lastSent.valid && m.lastSent.purpose == p && now.Since(m.lastSent.at) < minInterval {
		m.arm(timerRetransmit, m.lastSent.at+minInterval)
		return
	}
	m.transmit(now)
}

// endSeries stops transmissions. A deregistration that ends without an answer leaves no binding either: nobody wants it.
func (m *Machine) endSeries() {
	if m.series.active && m.series.purpose != register {
		m.unbind()
	}
	m.series.active = false
	m.disarm(timerRetransmit)
}

// unbind forgets the binding.
func (m *Machine) unbind() {
	m.bound, m.binding = false, VerifiedReply{}
	m.disarm(timerRenew)
	m.disarm(timerExpire)
}

// renewalMargin is the longest time before the end of a lifetime at which renewal begins: a default series fits in. A
// short lifetime is renewed at three quarters.
const renewalMargin = 60 * time.Second

// armRenewal arms the renewal of the binding, if there is one that ends, but not before the boot time earliest.
func (m *Machine) armRenewal(earliest time.Duration) {
	b := m.binding
	if m.bound && b.lifetime != Infinite && !m.cfg.AtHome {
		m.arm(timerRenew, max(earliest, b.sentAt+b.lifetime-min(b.lifetime/4, renewalMargin)))
	}
}

// die makes the machine dead.
func (m *Machine) die(err error) {
	m.err = fmt.Errorf("mipv4/mobilenode: registration with home agent %v: %w", m.cfg.HomeAgent, err)
	m.endSeries()
	m.unbind()
	m.outstanding = nil
}

func (m *Machine) arm(t timer, at time.Duration) { m.timers[t].at, m.timers[t].armed = at, true }

func (m *Machine) disarm(t timer) { m.timers[t].armed = false }

// due reports whether t has expired, and disarms it then.
func (m *Machine) due(t timer, now link.Instant) bool {
	if !m.timers[t].armed || m.timers[t].at > now.Boot {
		return false
	}
	m.disarm(t)
	return true
}

// throughForeignAgent reports whether requests go through a foreign agent.
func (m *Machine) throughForeignAgent() bool { return m.cfg.ForeignAgent.IsValid() }

// coLocated reports whether the care-of address is the path's own.
func (m *Machine) coLocated() bool { return !m.throughForeignAgent() || m.cfg.CoLocated }

// destination returns where requests are sent. A home agent that gives another address as its own goes on being asked
// where it has answered: it may stand behind an address translator.
func (m *Machine) destination() netip.AddrPort {
	if m.throughForeignAgent() {
		return netip.AddrPortFrom(m.cfg.ForeignAgent, wire.Port)
	}
	return netip.AddrPortFrom(m.requested, wire.Port)
}
