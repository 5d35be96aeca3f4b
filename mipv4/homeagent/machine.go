package homeagent

import (
	"net/netip"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Machine is the home agent's protocol machine.
type Machine struct {
	cfg         Config
	nodes       map[netip.Addr]*node // by home address
	nais        map[string]*node
	homes       homes
	retired     map[Identity]*node // taken out of nodes by a Reload, for their state of replay protection
	agents      map[netip.Addr]*auth.SecurityAssociation
	table       Table
	ends        queue.Agenda[*binding]
	revocations revocations
	asking      asking
	count       int // bindings

	transmits queue.FIFO[Transmit]
	touched   queue.FIFO[*node] // their records have changed
	unclaimed map[string]Record // restored, by key, of mobile nodes that are not configured
	events    queue.FIFO[Event]
}

// Request is a registration request as it arrived.
type Request struct {
	// Source is where it came from: the reply goes there.
	Source netip.AddrPort
	// Destination is the address it was sent to, or the zero Addr for the home agent's own. A request that was broadcast
	// on the home network is denied with code 136 (RFC 5944 §3.8.2.1).
	Destination netip.Addr
	// Payload is that of the UDP datagram.
	Payload []byte
}

// Transmit is a message to be sent from the home agent's address and port 434.
type Transmit struct {
	// To is the request's source for a reply.
	To netip.AddrPort
	// Payload of the UDP datagram.
	Payload []byte
}

// New returns a home agent without bindings. Errors wrap ErrConfig.
func New(cfg Config) (*Machine, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, nodes: make(map[netip.Addr]*node), nais: make(map[string]*node), homes: newHomes(cfg.DynamicAddresses),
		agents: make(map[netip.Addr]*auth.SecurityAssociation), unclaimed: make(map[string]Record),
	}
	for _, n := range cfg.MobileNodes {
		m.serve(link.Instant{}, n)
	}
	for _, f := range cfg.ForeignAgents {
		m.agents[f.Address] = f.Association
	}
	return m, nil
}

// Table returns the bindings for the data path. It is the same for the machine's whole life.
func (m *Machine) Table() *Table { return &m.table }

// HandleKeepalive takes a keepalive, already decapsulated and checked to be an echo request from the home address to the
// home agent, that came from remote: the first one binds a tunnel that is half bound (RFC 3519 §4.6, R flag).
func (m *Machine) HandleKeepalive(_ link.Instant, home netip.Addr, remote netip.AddrPort) {
	n := m.nodes[home]
	if n == nil || remote.Port() == 0 {
		return
	}
	for _, b := range n.bindings {
		if b.tunnel.HalfBound() && b.tunnel.Remote.Addr() == remote.Addr() {
			b.tunnel = &Tunnel{Encapsulation: tunnel.UDP, Remote: remote, ReverseTunnel: b.tunnel.ReverseTunnel, Broadcasts: b.tunnel.Broadcasts}
			m.table.set(home, n.tunnels())
			m.touch(n)
			return
		}
	}
}

// HandleTimeout deletes the bindings whose lifetimes have ended (RFC 5944 §4.2.3). No reply is sent about that.
func (m *Machine) HandleTimeout(now link.Instant) {
	for b, due := m.ends.Due(now.Boot); due; b, due = m.ends.Due(now.Boot) {
		m.remove(b, Expired)
		m.table.set(b.node.home, b.node.tunnels())
	}
	m.sendRevocations(now)
}

// PollTransmit returns the next reply to send.
func (m *Machine) PollTransmit() (Transmit, bool) { return m.transmits.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Deadline returns the boot time at which HandleTimeout wants to be called, and false while no binding can expire and no
// revocation waits.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, ok := m.ends.Deadline()
	other, more := m.revocations.order.Deadline()
	return queue.Earliest(at, ok, other, more)
}

// Err returns nil: no input kills a home agent.
func (m *Machine) Err() error { return nil }
