package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Switching is zero-overhead tunnelling as a mobile node does it (draft appendix D, docs/zero-overhead.md): the flows of a
// home address's link that lead to the default destination and qualify go straight over flows of the same protocol and ports
// between the care-of address and the home agent, whose headers stand in the place of their own. Everything else goes by the
// link's carrier.
//
// It belongs to one attachment and lives as long; a link uses that of the attachment in use (PacketLink.SetSwitching).
type Switching struct {
	below       link.Link
	agent       netip.Addr
	destination netip.Addr
	home        *PacketLink

	flows  atomic.Pointer[map[flowKey]link.Flow] // replaced whole under mu
	mu     sync.Mutex
	closed bool
	failed error
}

// ErrNotSwitched means that a flow of the care-of address could not be opened that the home agent's switched packets would come
// to: without it they would be lost, so zero-overhead tunnelling cannot be used.
var ErrNotSwitched = errors.New("stack: no flow for packets with switched addresses")

// newSwitching returns the switching of an attachment.
func newSwitching(below link.Link, agent, destination netip.Addr, home *PacketLink) *Switching {
	s := &Switching{below: below, agent: agent, destination: destination, home: home}
	s.flows.Store(&map[flowKey]link.Flow{})
	return s
}

// Destination returns the default destination.
func (s *Switching) Destination() netip.Addr { return s.destination }

// qualifies reports whether the flow of the home address may travel with switched addresses.
func (s *Switching) qualifies(key flowKey, remote netip.AddrPort) bool {
	if remote.Addr() != s.destination {
		return false
	}
	return key.protocol == packet.ProtocolESP || key.protocol == packet.ProtocolUDP && tunnel.SwitchedBy(remote.Port()) != tunnel.NotSwitched
}

// flow returns the flow that carries f's packets with switched addresses, nil for none.
func (s *Switching) flow(f *packetFlow) link.Flow {
	if d := (*s.flows.Load())[f.key]; d != nil {
		return d
	}
	if !s.qualifies(f.key, f.remote) {
		return nil
	}
	d, err := s.open(f)
	if err != nil {
		return nil
	}
	return d
}

// open opens the flow that carries f's packets, unless it is open.
func (s *Switching) open(f *packetFlow) (link.Flow, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.flows.Load()
	if d := old[f.key]; d != nil {
		return d, nil
	}
	if s.closed {
		return nil, ErrNotSwitched
	}
	if s.failed != nil {
		return nil, s.failed
	}
	key, home, remote := f.key, s.home, f.remote
	d, err := s.below.Open(link.FlowSpec{
		Protocol: key.protocol, Port: f.port, Remote: netip.AddrPortFrom(s.agent, remote.Port()), Unsummed: f.unsummed, Signalling: f.signalling,
	}, func(b *packet.Batch) { home.deliverSwitched(key, remote, b) })
	if err != nil {
		s.failed = fmt.Errorf("%w: protocol %d, port %d: %w", ErrNotSwitched, key.protocol, f.port, err)
		return nil, s.failed
	}
	next := make(map[flowKey]link.Flow, len(old)+1)
	for k, v := range old {
		next[k] = v
	}
	next[key] = d
	s.flows.Store(&next)
	return d, nil
}

// Err returns why packets of the home agent may have nowhere to arrive: ErrNotSwitched, or nil.
func (s *Switching) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// take notes that s has flows for the link, and closes those of others between the same addresses: an attachment that drains
// would hold the ports, and get a copy of each packet.
func (l *PacketLink) take(s *Switching) error {
	l.mu.Lock()
	var old []*Switching
	l.switched = slices.DeleteFunc(l.switched, func(o *Switching) bool {
		if same := o != s && o.below.Addr() == s.below.Addr() && o.agent == s.agent; same {
			old = append(old, o)
			return true
		}
		return o == s
	})
	l.switched = append(l.switched, s)
	l.mu.Unlock()
	var errs []error
	for _, o := range old {
		errs = append(errs, o.close())
	}
	return errors.Join(errs...)
}

// close gives the flows back.
func (s *Switching) close() error {
	s.home.mu.Lock()
	s.home.switched = slices.DeleteFunc(s.home.switched, func(o *Switching) bool { return o == s })
	s.home.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	open := *s.flows.Load()
	s.flows.Store(&map[flowKey]link.Flow{})
	s.mu.Unlock()
	var errs []error
	for _, f := range open {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Switch has what qualifies of the link of the home address travel with switched addresses to and from the default
// destination that a reply has confirmed (mobilenode.Tunnel.Switched): from now on what comes so is delivered to the link, and
// the result is for PacketLink.SetSwitching. Errors wrap ErrNotSwitched: the registration is to be made anew without it.
func (a *CoLocated) Switch(home *PacketLink, destination netip.Addr) (*Switching, error) {
	a.mu.Lock()
	s := a.switching
	if s == nil || s.destination != destination || s.home != home || s.Err() != nil {
		s = newSwitching(a.below, a.agent.Addr(), destination, home)
		if a.switching != nil { // to another gateway: what it has opened goes with the attachment
			a.switched = append(a.switched, a.switching)
		}
		a.switching = s
	}
	a.mu.Unlock()
	if err := home.take(s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSwitched, err)
	}
	for _, f := range *home.flows.Load() {
		if s.qualifies(f.key, f.remote) {
			if _, err := s.open(f); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// SetSwitching has qualifying packets travel by s, which belongs to the attachment whose carrier the link has; nil has all
// of them go by the carrier. SetCarrier takes it back.
func (l *PacketLink) SetSwitching(s *Switching) { l.switching.Store(s) }

// Switching returns what qualifying packets travel by, nil for the carrier.
func (l *PacketLink) Switching() *Switching { return l.switching.Load() }

// deliverSwitched hands what has come with switched addresses to the flow whose packets these are.
func (l *PacketLink) deliverSwitched(key flowKey, remote netip.AddrPort, b *packet.Batch) {
	f := (*l.flows.Load())[key]
	if f == nil {
		b.Drop(l.drops, packet.DropNoFlow)
		return
	}
	for _, p := range b.Bufs {
		p.Peer = remote
	}
	if m := l.meter.Load(); m != nil {
		m.received(tallyOf(b, headersOf(key.protocol, l.addr)))
	}
	f.deliver(b)
}

// switched is the path of a flow whose packets travel with switched addresses, as far as they fit into one packet: longer ones
// would become fragments, and take the other way.
func (f *packetFlow) switched(direct link.Flow, c link.Class, escape link.Path) link.Path {
	p := direct.Path(c)
	if m := f.link.meter.Load(); m != nil {
		p.Out = &meteredSender{p.Out, m, headersOf(f.key.protocol, f.link.addr)}
	}
	p.Out = &switchedSender{direct: p.Out, most: p.MTU, escape: escape}
	return p
}

// switchedSender is the end of such a path.
type switchedSender struct {
	direct link.Sender
	most   int // octets of payload
	escape link.Path
}

// Send implements link.Sender. What must not be fragmented is not: the flow refuses it, as any other would.
func (s *switchedSender) Send(b *packet.Batch) error {
	escapes := func(p *packet.Buf) bool { return p.SegmentLen() > s.most && !p.Whole() }
	i := 0
	for i < len(b.Bufs) && !escapes(b.Bufs[i]) {
		i++
	}
	if i == len(b.Bufs) {
		return s.direct.Send(b)
	}
	straight, around := packet.GetBatch(), packet.GetBatch()
	for _, p := range b.Bufs {
		if escapes(p) {
			around.Append(p)
		} else {
			straight.Append(p)
		}
	}
	b.Forget()
	var err error
	if straight.Len() > 0 {
		err = s.direct.Send(straight)
	} else {
		straight.Forget()
	}
	if e := s.escape.Send(around); err == nil {
		err = e
	}
	return err
}
