package underlay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// A host has each UDP port of an address once, and the VPN and x-MIP may both want IKE's: to the gateway, and, with switched
// addresses (draft appendix D), to the x-HA. Flows that name both their port and their remote endpoint therefore share the
// socket of that port.

// shareKey names a UDP port of a link.
type shareKey struct {
	index int
	addr  netip.Addr
	port  uint16
}

// ports are the UDP ports of a Host that branches share.
type ports struct {
	drops  *packet.Drops
	mu     sync.Mutex
	shared map[shareKey]*sharedPort
}

// portFlow is the flow of a socket, as a shared port needs it.
type portFlow interface {
	link.Flow
	// reaches tells whether an address is of the flow's IP version.
	reaches(netip.Addr) bool
	// receiving reports whether the calling goroutine is one that receives on the flow.
	receiving() bool
}

// sharedPort is the flow of one UDP port that several branches share.
type sharedPort struct {
	ports *ports
	key   shareKey
	flow  portFlow // unconnected
	// branches is replaced whole under the ports' mu.
	branches atomic.Pointer[[]*branch]
}

// branch is the flow of a shared port to one remote endpoint.
type branch struct {
	port   *sharedPort
	remote netip.AddrPort
	recv   link.Receiver
	closed atomic.Bool
	inside sync.RWMutex // read-held while the receiver is called
}

var _ link.Flow = (*branch)(nil)

// branch opens a flow that names its port and its remote endpoint, on the interface with this index and from the address. The
// first of a port opens the port's own with open.
func (h *ports) branch(index int, addr netip.Addr, spec link.FlowSpec, recv link.Receiver, open func(link.FlowSpec, link.Receiver) (portFlow, error)) (*branch, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := shareKey{index, addr, spec.Port}
	s := h.shared[key]
	b := &branch{port: s, remote: spec.Remote, recv: recv}
	if s == nil {
		s = &sharedPort{ports: h, key: key}
		b.port = s
		s.branches.Store(&[]*branch{b})
		base := spec
		base.Remote = netip.AddrPort{}
		f, err := open(base, s.receive)
		if err != nil {
			return nil, err
		}
		s.flow = f
		if h.shared == nil {
			h.shared = make(map[shareKey]*sharedPort)
		}
		h.shared[key] = s
		return b, nil
	}
	all := *s.branches.Load()
	if slices.ContainsFunc(all, func(o *branch) bool { return o.remote == b.remote }) {
		return nil, fmt.Errorf("underlay: open flow of port %d from %v to %v: it is open already", spec.Port, addr, spec.Remote)
	}
	if !s.flow.reaches(spec.Remote.Addr()) {
		return nil, fmt.Errorf("underlay: open flow of port %d from %v: remote address %v: expected the IP version of %v", spec.Port, addr, spec.Remote.Addr(), addr)
	}
	next := append(slices.Clone(all), b)
	s.branches.Store(&next)
	return b, nil
}

// receive gives what arrives to the branches, in runs that keep the order.
func (s *sharedPort) receive(b *packet.Batch) {
	all := *s.branches.Load()
	find := func(peer netip.AddrPort) *branch {
		for _, o := range all {
			if o.remote == peer {
				return o
			}
		}
		return nil
	}
	to := find(b.Bufs[0].Peer)
	same := true
	for _, p := range b.Bufs[1:] {
		if same = p.Peer == b.Bufs[0].Peer; !same {
			break
		}
	}
	if same {
		s.hand(to, b)
		return
	}
	run := packet.GetBatch()
	for _, p := range b.Bufs {
		if o := find(p.Peer); o != to {
			s.hand(to, run)
			to, run = o, packet.GetBatch()
		}
		run.Append(p)
	}
	s.hand(to, run)
	b.Forget()
}

// hand gives a batch to a branch, nil for what is nobody's. It takes ownership.
func (s *sharedPort) hand(to *branch, b *packet.Batch) {
	switch {
	case b.Len() == 0:
		b.Forget()
	case to == nil:
		b.Drop(s.ports.drops, packet.DropNoFlow)
	default:
		to.inside.RLock()
		defer to.inside.RUnlock()
		if to.closed.Load() {
			b.Drop(s.ports.drops, packet.DropNoFlow)
			return
		}
		to.recv(b)
	}
}

func (b *branch) Local() netip.AddrPort { return b.port.flow.Local() }

func (b *branch) Remote() netip.AddrPort { return b.remote }

func (b *branch) Send(to netip.AddrPort, payload []byte) error {
	if b.closed.Load() {
		return fmt.Errorf("underlay: send to %v: %w", b.remote, net.ErrClosed)
	}
	if !to.IsValid() {
		to = b.remote
	}
	return b.port.flow.Send(to, payload)
}

func (b *branch) Path(c link.Class) link.Path {
	p := b.port.flow.Path(c)
	p.Out = &branchSender{branch: b, out: p.Out}
	return p
}

// branchSender is the end of a path over a branch.
type branchSender struct {
	branch *branch
	out    link.Sender
}

// Send implements link.Sender.
func (s *branchSender) Send(b *packet.Batch) error {
	if s.branch.closed.Load() {
		b.Drop(s.branch.port.ports.drops, packet.DropSendFailed)
		return fmt.Errorf("underlay: send to %v: %w", s.branch.remote, net.ErrClosed)
	}
	for _, p := range b.Bufs {
		p.Peer = s.branch.remote
	}
	return s.out.Send(b)
}

// Close ends the branch, and with the last one the port.
func (b *branch) Close() error {
	s := b.port
	h := s.ports
	h.mu.Lock()
	if b.closed.Swap(true) {
		h.mu.Unlock()
		return nil
	}
	next := slices.DeleteFunc(slices.Clone(*s.branches.Load()), func(o *branch) bool { return o == b })
	s.branches.Store(&next)
	last := len(next) == 0
	if last {
		delete(h.shared, s.key)
	}
	h.mu.Unlock()
	if last {
		return s.flow.Close()
	}
	if !s.flow.receiving() {
		b.inside.Lock() // what is being handed over comes first
		defer b.inside.Unlock()
	}
	return nil
}
