package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
	"mipvpn/tun/queue"
)

var (
	// ErrConfig means that a machine cannot be made of the configuration given.
	ErrConfig = errors.New("mipv4/discovery: unusable configuration")
	// ErrSource means that an advertisement comes from an address that no agent can have.
	ErrSource = errors.New("mipv4/discovery: unusable source")
	// ErrTooMany means that more agents are heard than are kept track of.
	ErrTooMany = errors.New("mipv4/discovery: too many agents")
)

const (
	// initialSolicitations leave at the highest rate, one a second; then the interval doubles (RFC 5944 §2.4).
	initialSolicitations = 3
	solicitationInterval = time.Second
	// leastMaxInterval is the least that the longest interval should be (RFC 5944 §2.4).
	leastMaxInterval = time.Minute
	// maxAgents bounds the agents that are kept track of.
	maxAgents = 16
)

// Config is what a Machine goes by.
type Config struct {
	// MaxInterval is the longest interval between solicitations, one minute by default and at least.
	MaxInterval time.Duration
}

// Transmit is a solicitation to be sent in an ICMP packet.
type Transmit struct {
	// To is the destination address.
	To netip.Addr
	// TTL for the IPv4 header, always 1 (RFC 5944 §2.2).
	TTL uint8
	// Payload is the ICMP message. The receiver owns it.
	Payload []byte
}

// Machine discovers the agents of one link. While it searches and knows none it solicits, the first time at once: what
// starts a search, a change of the link, comes at no common time for many nodes, so that RFC 1256's initial delay would
// only cost time.
type Machine struct {
	cfg    Config
	random io.Reader

	searching bool
	sent      int
	interval  time.Duration
	lastSent  time.Duration
	solicitAt time.Duration
	armed     bool

	agents    []Agent // in the order they were found
	transmits queue.FIFO[Transmit]
	events    queue.FIFO[Event]
	err       error
}

// NewMachine makes a machine that does not search yet. random spreads the solicitations. Errors wrap ErrConfig.
func NewMachine(cfg Config, random io.Reader) (*Machine, error) {
	if cfg.MaxInterval == 0 {
		cfg.MaxInterval = leastMaxInterval
	}
	if cfg.MaxInterval < leastMaxInterval {
		return nil, fmt.Errorf("%w: longest solicitation interval %v, at least %v is expected (RFC 5944 §2.4)", ErrConfig, cfg.MaxInterval, leastMaxInterval)
	}
	return &Machine{cfg: cfg, random: random}, nil
}

// Start begins a search at the highest rate of solicitation, unless an agent is known: on a new link, or when an
// indication says that the node has moved.
func (m *Machine) Start(now link.Instant) {
	m.searching = true
	m.lastSent = now.Boot - solicitationInterval
	m.search(now)
}

// Stop ends solicitation. Advertisements are still heeded.
func (m *Machine) Stop() { m.searching, m.armed = false, false }

// Forget drops every agent without events, for a link that is known to be another one, and ends solicitation.
func (m *Machine) Forget() {
	m.Stop()
	m.agents = nil
}

// Agents returns the agents that are known, in the order they were found. The caller owns the result.
func (m *Machine) Agents() []Agent {
	out := make([]Agent, len(m.agents))
	for i, a := range m.agents {
		out[i] = a.clone()
	}
	return out
}

// HandleAdvertisement takes an ICMP message from its type octet on, with its IPv4 source and link-layer source. An error
// means that it was rejected; it wraps one of this package's sentinels, ErrNotAgent for the advertisement of an ordinary
// router.
func (m *Machine) HandleAdvertisement(now link.Instant, message []byte, src netip.Addr, hw packet.HardwareAddr) error {
	adv, err := ParseAdvertisement(message)
	if err != nil {
		return fmt.Errorf("from %v: %w", src, err)
	}
	if !src.Is4() || src.IsUnspecified() || src.IsMulticast() || src == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return fmt.Errorf("%w: address %v", ErrSource, src)
	}
	if hw.IsZero() || hw[0]&1 != 0 {
		return fmt.Errorf("%w: link-layer address %v of %v", ErrSource, hw, src)
	}
	a := Agent{
		Address: src, Hardware: hw,
		CareOfAddresses: adv.CareOfAddresses, Flags: adv.Flags,
		RegistrationLifetime: adv.RegistrationLifetime, Networks: adv.Networks(), NAI: adv.NAI, Challenge: adv.Challenge, Sequence: adv.Sequence,
		HeardAt: now.Boot, Expires: now.Boot + adv.Lifetime,
	}
	i := slices.IndexFunc(m.agents, func(k Agent) bool { return k.Address == src })
	switch {
	case adv.Lifetime == 0 && i >= 0:
		m.lose(now, i, true)
	case adv.Lifetime == 0:
	case i < 0 && len(m.agents) == maxAgents:
		return fmt.Errorf("%w: %d are known, %v is ignored", ErrTooMany, maxAgents, src)
	case i < 0:
		m.agents = append(m.agents, a)
		m.armed = false
		m.events.Push(AgentFound{Agent: a.clone()})
	default:
		before := m.agents[i]
		m.agents[i] = a
		if a.Sequence < before.Sequence && a.Sequence < 256 {
			m.events.Push(AgentRebooted{Agent: a.clone()})
		}
		if !a.sameOffer(before) {
			m.events.Push(AgentChanged{Agent: a.clone(), Before: before.clone()})
		}
	}
	return nil
}

// HandleTimeout does what is due at now.
func (m *Machine) HandleTimeout(now link.Instant) {
	for i := 0; i < len(m.agents); {
		if m.agents[i].Expires <= now.Boot {
			m.lose(now, i, false)
		} else {
			i++
		}
	}
	if m.armed && m.solicitAt <= now.Boot {
		m.solicit(now)
	}
}

// PollTransmit returns the next solicitation to be sent.
func (m *Machine) PollTransmit() (Transmit, bool) { return m.transmits.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Deadline returns the boot time of the earliest timer, and false when none is armed.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, found := m.solicitAt, m.armed
	for _, a := range m.agents {
		if !found || a.Expires < at {
			at, found = a.Expires, true
		}
	}
	return at, found
}

// Err returns why the machine solicits no more: its randomness has failed. Otherwise it is nil.
func (m *Machine) Err() error { return m.err }

// lose takes agent i off the list and searches again when it was the last one.
func (m *Machine) lose(now link.Instant, i int, withdrawn bool) {
	a := m.agents[i]
	m.agents = slices.Delete(m.agents, i, i+1)
	m.events.Push(AgentLost{Agent: a, Withdrawn: withdrawn})
	m.search(now)
}

// search begins soliciting at the highest rate if it is wanted and no agent is known. Agents that come and go do not
// raise the rate.
func (m *Machine) search(now link.Instant) {
	if !m.searching || len(m.agents) > 0 {
		return
	}
	m.sent, m.interval = 0, solicitationInterval
	if at := m.lastSent + solicitationInterval; at > now.Boot {
		m.solicitAt, m.armed = at, true
		return
	}
	m.solicit(now)
}

// solicit queues a solicitation and arms the next one: three at one a second, then with doubled intervals, each spread
// by up to a fifth so that nodes do not keep step (RFC 5944 §2.4, RFC 1256 §5.3).
func (m *Machine) solicit(now link.Instant) {
	m.armed = false
	if m.err != nil {
		return
	}
	var r [2]byte
	if _, err := io.ReadFull(m.random, r[:]); err != nil {
		m.err = fmt.Errorf("mipv4/discovery: random bits for a solicitation: %w", err)
		return
	}
	m.transmits.Push(Transmit{To: AllRouters, TTL: SolicitationTTL, Payload: AppendSolicitation(nil)})
	m.lastSent = now.Boot
	m.sent++
	if m.sent >= initialSolicitations {
		m.interval = min(2*m.interval, m.cfg.MaxInterval)
	}
	spread := time.Duration(binary.BigEndian.Uint16(r[:])) * (m.interval / 5) / 0xffff
	m.solicitAt, m.armed = now.Boot+m.interval+spread, true
}
