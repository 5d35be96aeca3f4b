package stack

import (
	"bytes"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// nonESPMarker precedes IKE messages on esp.PortNATT (RFC 3948 §2.2).
var nonESPMarker [esp.MarkerLen]byte

// Message is an IKE message that arrived, without the non-ESP marker.
type Message struct {
	Local, Remote netip.AddrPort
	// TCP is set when it came in the TCP connection between the two (RFC 9329).
	TCP bool
	// Payload belongs to the receiver.
	Payload []byte
}

// VPN is the data side of the VPN layer: the flows of IKE and ESP to one gateway, by each of the links that it stands on and to
// each of the gateway's addresses that is used, and the security associations. IKE itself is a machine that the client drives.
type VPN struct {
	drops    *packet.Drops
	messages func(Message)

	mu      sync.Mutex
	bearers map[netip.Addr]*bearer // by their own addresses
	peers   []netip.Addr           // further addresses of the gateway
	closed  bool
	current atomic.Pointer[ends] // where packets go

	lifeOver atomic.Pointer[func()]
	inbound  esp.Table
	arrivals sync.Map // *arrival by SPI
	outbound atomic.Pointer[outboundSA]
	stream   atomic.Pointer[Stream] // nil while data does not go in TCP
	link     atomic.Pointer[PacketLink]
	before   atomic.Pointer[PacketLink] // the one that link has replaced
}

// outboundSA is the security association that packets leave through.
type outboundSA struct {
	sa       *esp.Outbound
	overhead int  // of ESP alone, in octets
	udp      bool // in UDP on esp.PortNATT (RFC 3948 §2.1)
}

// OpenVPN opens the flows to the gateway on the link below, where packets go until Follow says otherwise. messages is called with
// each IKE message and must not block.
func OpenVPN(below link.Link, gateway netip.Addr, drops *packet.Drops, messages func(Message)) (*VPN, error) {
	v := &VPN{drops: drops, messages: messages, bearers: make(map[netip.Addr]*bearer)}
	if err := v.Stand(below, gateway); err != nil {
		return nil, err
	}
	return v, nil
}

// Send sends an IKE message from the local endpoint, which says by which link and from which port, to an address of the gateway,
// with the non-ESP marker unless the port is esp.PortIKE. Errors: ErrNoBearer, those of opening flows and of sending.
func (v *VPN) Send(local netip.AddrPort, gateway netip.Addr, payload []byte) error {
	e, err := v.to(local, gateway)
	if err != nil {
		return err
	}
	if local.Port() == esp.PortIKE {
		return e.ike.Send(netip.AddrPort{}, payload)
	}
	return e.natt.Send(netip.AddrPort{}, append(nonESPMarker[:], payload...))
}

// SendKeepalive sends a NAT keepalive (RFC 3948 §2.3) from the local endpoint to an address of the gateway. Errors are those of
// Send.
func (v *VPN) SendKeepalive(local netip.AddrPort, gateway netip.Addr) error {
	e, err := v.to(local, gateway)
	if err != nil {
		return err
	}
	return e.natt.Send(netip.AddrPort{}, []byte{esp.Keepalive})
}

// Link returns the link whose address is the VPN's (VPN-TIA). Its packets go through the outbound security association. The
// one returned before, for another address, goes on receiving what is for that, and is returned again for it; earlier ones receive
// nothing any more.
func (v *VPN) Link(address netip.Addr) *PacketLink {
	last, before := v.link.Load(), v.before.Load()
	if last != nil && last.Addr() == address {
		return last
	}
	if before != nil && before.Addr() == address {
		v.link.Store(before)
		v.before.Store(last)
		return before
	}
	l := NewPacketLink(address, v.drops, nil)
	l.SetCarrier(func(c link.Class) link.Path {
		out := v.outbound.Load()
		if out == nil {
			return v.current.Load().esp.Path(c).Over(sealer{v}, 0, true)
		}
		below := v.carrier(c, out)
		p := below.Over(sealer{v}, out.overhead, true)
		p.MTU = out.sa.Fits(below.MTU)
		return p
	})
	v.link.Store(l)
	v.before.Store(last)
	return l
}

// carrier returns the path that sealed packets take.
func (v *VPN) carrier(c link.Class, out *outboundSA) link.Path {
	if s := v.stream.Load(); s != nil {
		return s.path(c)
	}
	to := v.current.Load()
	if out.udp {
		return to.natt.Path(c)
	}
	return to.esp.Path(c)
}

// arrival is where packets of one security association have come to.
type arrival struct {
	packets atomic.Uint64
	local   atomic.Pointer[netip.AddrPort]
}

// note takes note of packets at an endpoint.
func (a *arrival) note(local netip.AddrPort, packets int) {
	if before := a.local.Load(); before == nil || *before != local {
		at := local
		a.local.Store(&at)
	}
	a.packets.Add(uint64(packets))
}

// Install makes an inbound security association known. It reports false when its SPI is taken.
func (v *VPN) Install(sa *esp.Inbound) bool {
	if !v.inbound.Add(sa) {
		return false
	}
	v.arrivals.Store(sa.SPI(), &arrival{})
	return true
}

// Remove forgets the inbound security association with the SPI.
func (v *VPN) Remove(spi uint32) {
	v.inbound.Remove(spi)
	v.arrivals.Delete(spi)
}

// Arrived returns to which endpoint of ours the latest packets of the inbound security association with the SPI have come, with port
// 0 outside of UDP and TCP, and how many there have been; dummy packets do not count. The zero AddrPort is for none.
func (v *VPN) Arrived(spi uint32) (local netip.AddrPort, packets uint64) {
	a, ok := v.arrivals.Load(spi)
	if !ok {
		return netip.AddrPort{}, 0
	}
	note := a.(*arrival)
	if packets = note.packets.Load(); packets != 0 {
		local = *note.local.Load()
	}
	return local, packets
}

// Use makes sa the security association that packets leave through, with the octets that ESP adds, in UDP or not; a nil sa
// for none. A pipeline that was compiled for another overhead or choice of UDP is to be compiled anew.
func (v *VPN) Use(sa *esp.Outbound, overhead int, udp bool) {
	if sa == nil {
		v.outbound.Store(nil)
		return
	}
	v.outbound.Store(&outboundSA{sa, overhead, udp})
}

// OnLifeOver has f called, from any goroutine, when the soft or the hard lifetime of a security association in octets, packets
// or sequence numbers is over. f must not block.
func (v *VPN) OnLifeOver(f func()) { v.lifeOver.Store(&f) }

// tell calls what OnLifeOver was given, if over.
func (v *VPN) tell(over bool) {
	if f := v.lifeOver.Load(); over && f != nil {
		(*f)()
	}
}

// Close closes the flows and stops sending.
func (v *VPN) Close() error {
	v.Use(nil, 0, false)
	var errs []error
	v.mu.Lock()
	v.closed = true
	all := v.bearers
	v.bearers = nil
	v.mu.Unlock()
	for _, b := range all {
		errs = append(errs, b.close())
	}
	return errors.Join(errs...)
}

func (v *VPN) receiveIKE(local, remote netip.AddrPort, b *packet.Batch) {
	for _, p := range b.Bufs {
		v.messages(Message{Local: local, Remote: remote, Payload: bytes.Clone(p.Bytes())})
	}
	b.Release()
}

// receiveEither tells keepalives, IKE and ESP apart (RFC 3948 §2.2, §2.3): from UDP port 4500 or a TCP connection.
func (v *VPN) receiveEither(local, remote netip.AddrPort, b *packet.Batch, tcp bool) {
	b.Keep(v.drops, func(p *packet.Buf) packet.DropReason {
		switch esp.Classify(p.Bytes()) {
		case esp.KindKeepalive:
			return packet.Delivered
		case esp.KindIKE:
			v.messages(Message{Local: local, Remote: remote, TCP: tcp, Payload: bytes.Clone(p.Bytes()[esp.MarkerLen:])})
			return packet.Delivered
		case esp.KindESP:
			return packet.NotDropped
		}
		return packet.DropMalformed
	})
	v.receiveESP(local, b)
}

// receiveESP opens ESP packets and hands what was in them to the VPN's link. The security associations do not depend on
// the pipeline, so that late packets of an old path are still opened.
func (v *VPN) receiveESP(local netip.AddrPort, b *packet.Batch) {
	v.inbound.Open(b, v.drops)
	if b.Len() == 0 {
		b.Release()
		return
	}
	last := b.Bufs[b.Len()-1].SA
	if a, ok := v.arrivals.Load(last); ok {
		a.(*arrival).note(local, b.Len())
	}
	if in := v.inbound.Lookup(last); in != nil {
		v.tell(in.LifeOver())
	}
	v.deliver(b)
}

// deliver hands packets that came out of ESP to the links.
func (v *VPN) deliver(b *packet.Batch) {
	l, before := v.link.Load(), v.before.Load()
	if l == nil {
		b.Drop(v.drops, packet.DropNoPath)
		return
	}
	if before != nil && before.Addr() != l.Addr() {
		deliverBefore(before, b)
	}
	if b.Len() == 0 {
		b.Release()
		return
	}
	l.Deliver(b)
}

// deliverBefore hands what is for an earlier link to it and leaves the others in b.
func deliverBefore(l *PacketLink, b *packet.Batch) {
	theirs, others := packet.GetBatch(), b.Bufs[:0]
	for _, p := range b.Bufs {
		if ip := packet.IPv4(p.Bytes()); ip.Valid() && ip.Dst() == l.Addr() {
			theirs.Append(p)
		} else {
			others = append(others, p)
		}
	}
	clear(b.Bufs[len(others):])
	b.Bufs = others
	if theirs.Len() == 0 {
		theirs.Release()
		return
	}
	l.Deliver(theirs)
}

// sealer is the ESP step: it seals with whatever security association is in use, so that a rekeying changes no pipeline.
type sealer struct{ vpn *VPN }

// Apply implements link.Step. What it seals may be fragmented on the way, whatever the packet inside says (RFC 4301 §8.1,
// "clear"), until the path MTU has been measured: a path that is narrower than thought then loses nothing.
func (s sealer) Apply(b *packet.Batch) {
	for _, p := range b.Bufs {
		p.DontFragment = false
	}
	out := s.vpn.outbound.Load()
	if out == nil {
		b.Keep(s.vpn.drops, func(*packet.Buf) packet.DropReason { return packet.DropNoPath })
		return
	}
	out.sa.Apply(b)
	s.vpn.tell(out.sa.LifeOver())
}
