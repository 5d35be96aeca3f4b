package pinned

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// endpoint is where the other end is, learnt from what it sent last. It is the link.Step that has packets go there.
type endpoint struct {
	drops *packet.Drops
	at    atomic.Pointer[netip.AddrPort]
}

// learn takes the sender of a batch that is not empty for the other end.
func (e *endpoint) learn(b *packet.Batch) {
	from := &b.Bufs[b.Len()-1].Peer
	if at := e.at.Load(); at == nil || *at != *from {
		peer := *from
		e.at.Store(&peer)
	}
}

// Apply implements link.Step. While the other end is not known packets are dropped.
func (e *endpoint) Apply(b *packet.Batch) {
	at := e.at.Load()
	if at == nil {
		b.Keep(e.drops, func(*packet.Buf) packet.DropReason { return packet.DropNoPath })
		return
	}
	for _, p := range b.Bufs {
		p.Peer = *at
	}
}

// path returns how packets leave by the flow: to its remote endpoint, or to e where it has none.
func (e *endpoint) path(f link.Flow) link.Path {
	p := f.Path(link.Protected)
	if f.Remote().IsValid() {
		return p
	}
	return p.Over(e, 0, false)
}

// null is an end of a null tunnel.
type null struct {
	drops  *packet.Drops
	device link.Device
	flow   link.Flow
	path   link.Path
	learns bool // the other end
	other  endpoint
}

// newNull puts the end together: the device, and its flow on the link below.
func newNull(e End, below link.Link, device link.Device, drops *packet.Drops) (*null, error) {
	n := &null{drops: drops, device: device, learns: !e.Remote.IsValid(), other: endpoint{drops: drops}}
	var err error
	if n.flow, err = below.Open(e.flow(), n.receive); err != nil {
		return nil, err
	}
	n.path = n.other.path(n.flow)
	return n, nil
}

// flow returns the spec of the null tunnel's flow.
func (e End) flow() link.FlowSpec {
	return link.FlowSpec{Protocol: packet.ProtocolUDP, Port: e.Local.Port(), Remote: e.Remote}
}

func (n *null) run() error { return pump(n.device, n.send) }

func (n *null) close() error { return n.flow.Close() }

// isIPv4 is all that the null tunnel asks of a packet.
func isIPv4(p *packet.Buf) packet.DropReason {
	if !packet.IPv4(p.Bytes()).Valid() {
		return packet.DropUnsupported
	}
	return packet.NotDropped
}

// send takes a batch from the device to the other end. Superpackets stay whole: the flow cuts them.
func (n *null) send(b *packet.Batch) {
	b.Keep(n.drops, isIPv4)
	if b.Len() == 0 {
		b.Release()
		return
	}
	_ = n.path.Send(b) // what cannot be sent has been counted
}

// receive takes a batch from the other end to the device.
func (n *null) receive(b *packet.Batch) {
	b.Keep(n.drops, isIPv4)
	if b.Len() == 0 {
		b.Release()
		return
	}
	if n.learns {
		n.other.learn(b)
	}
	_ = n.device.Write(b) // what the host does not take has been counted
}

// pump reads the device until it is closed and gives each batch to send, which owns it.
func pump(d link.Device, send func(*packet.Batch)) error {
	for {
		b := packet.GetBatch()
		if err := d.Read(b); err != nil {
			b.Release()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		send(b)
	}
}

// relay is a hop of a null tunnel.
type relay struct {
	here, there link.Flow                 // where near ends send to; to the next hop
	up, down    atomic.Pointer[link.Path] // nil until both flows are there
	near        endpoint
}

// newRelay opens both flows on the link below.
func newRelay(e End, below link.Link, drops *packet.Drops) (*relay, error) {
	r := &relay{near: endpoint{drops: drops}}
	var err error
	if r.here, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: e.Local.Port()}, r.receiveHere); err != nil {
		return nil, err
	}
	if r.there, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: e.Remote}, r.receiveThere); err != nil {
		return nil, errors.Join(err, r.here.Close())
	}
	up, down := r.there.Path(link.Protected), r.near.path(r.here)
	r.up.Store(&up)
	r.down.Store(&down)
	return r, nil
}

func (r *relay) close() error { return errors.Join(r.here.Close(), r.there.Close()) }

func (r *relay) receiveHere(b *packet.Batch) {
	r.near.learn(b)
	r.pass(&r.up, b)
}

func (r *relay) receiveThere(b *packet.Batch) { r.pass(&r.down, b) }

func (r *relay) pass(path *atomic.Pointer[link.Path], b *packet.Batch) {
	p := path.Load()
	if p == nil {
		b.Drop(r.near.drops, packet.DropNoPath)
		return
	}
	_ = p.Send(b) // what cannot be sent has been counted
}
