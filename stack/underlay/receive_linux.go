package underlay

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// receiveMessages is the number of messages that one recvmmsg takes at most, and receiveTrains while they are trains of up to
// 64 datagrams each: what is received is dealt with while the processor's caches still hold it.
const (
	receiveMessages = 32
	receiveTrains   = 4
)

// slot is where one message is received: into a small Buf, and past its end into a slab, so that a single packet has a Buf of
// its own and the datagrams of a train are views. Pages of a slab that were never needed take no memory.
type slot struct {
	head []byte // what is received before the Buf: nothing for flows, the link-layer headers for frames
	buf  *packet.Buf
	n    int // octets that the Buf takes
	slab *packet.Slab
	iov  [3]unix.Iovec
}

// receiveSlots is the prepared memory for receiving on one socket, used by its receiving goroutine alone.
type receiveSlots struct {
	msgs    [receiveMessages]mmsghdr
	slots   []slot                        // one for each message that is received at once, receiveMessages at most
	names   [receiveMessages]endpointName // the longest of the kinds used
	control [receiveMessages]control
	// first is how much of a message goes into the Buf: all that it holds, or, while trains come, one of their datagrams, so
	// that none lies across the Buf's end.
	first int
}

// bufOctets is how much of a message a small Buf takes: its Tailroom is for those who seal the packet.
const bufOctets = packet.SmallSize

// newReceiveSlots prepares for n messages at once with headLen octets in front of what goes into the Buf.
func newReceiveSlots(headLen, n int) *receiveSlots {
	r := &receiveSlots{first: bufOctets, slots: make([]slot, n)}
	for i := range r.slots {
		r.slots[i].head = make([]byte, headLen)
		r.refill(i)
	}
	return r
}

// refill makes slot i ready for the next message, with a fresh Buf and a fresh slab if the last ones have been taken.
func (r *receiveSlots) refill(i int) {
	s := &r.slots[i]
	if s.buf == nil {
		s.buf = packet.GetSmall()
	}
	if s.slab == nil {
		s.slab = packet.GetSlab()
	}
	s.n = r.first
	n := 0
	for _, p := range [...][]byte{s.head, s.buf.Free()[:s.n], s.slab.Bytes()[:packet.LargeSize]} {
		if len(p) == 0 {
			continue
		}
		s.iov[n].Base = &p[0]
		s.iov[n].SetLen(len(p))
		n++
	}
	m := &r.msgs[i]
	m.hdr = unix.Msghdr{
		Name:    (*byte)(unsafe.Pointer(&r.names[i])),
		Namelen: uint32(unsafe.Sizeof(r.names[i])),
		Iov:     &s.iov[0],
		Control: (*byte)(unsafe.Pointer(&r.control[i])),
	}
	m.hdr.SetIovlen(n)
	m.hdr.SetControllen(int(unsafe.Sizeof(r.control[i])))
}

// take returns the n octets of slot i behind its head as one packet, without a copy when the Buf holds it all.
func (r *receiveSlots) take(i, n int) *packet.Buf {
	s := &r.slots[i]
	if b := s.buf; n <= s.n {
		b.Extend(n)
		s.buf = nil
		return b
	}
	r.first = bufOctets
	b := packet.Get(n)
	r.copyOut(i, 0, b.Extend(n))
	return b
}

// takeTrain appends the n octets of slot i as datagrams of size octets each, the last with what is left. The first takes the
// Buf, the others are views of the slab; only what lies across the two is copied.
func (r *receiveSlots) takeTrain(i, n, size int, batch *packet.Batch) {
	s := &r.slots[i]
	for off := 0; off < n; off += size {
		l := min(size, n-off)
		switch at := off - s.n; {
		case off == 0 && l <= s.n:
			batch.Append(s.buf) // extended below: copyOut reads what is behind it
		case at >= 0:
			batch.Append(s.slab.View(at, at, at+l, at+l))
		default:
			b := packet.Get(l)
			r.copyOut(i, off, b.Extend(l))
			batch.Append(b)
		}
	}
	if size <= s.n {
		s.buf.Extend(size)
		s.buf = nil
	}
	if n > s.n {
		s.slab.Release()
		s.slab = nil
	}
	r.first = min(size, bufOctets)
}

// copyOut copies len(to) octets from offset off behind the head of slot i.
func (r *receiveSlots) copyOut(i, off int, to []byte) {
	s := &r.slots[i]
	n := 0
	if off < s.n {
		n = copy(to, s.buf.Free()[off:s.n])
		off += n
	}
	if n < len(to) {
		copy(to[n:], s.slab.Bytes()[off-s.n:])
	}
}

// release gives the Bufs and slabs back.
func (r *receiveSlots) release() {
	for i := range r.slots {
		s := &r.slots[i]
		if s.buf != nil {
			s.buf.Release()
			s.buf = nil
		}
		if s.slab != nil {
			s.slab.Release()
			s.slab = nil
		}
	}
}

// losses counts what the kernel has dropped because a socket's receive buffer was full, modulo 2^32.
type losses uint32

// note counts what is new in what a message tells.
func (l *losses) note(a ancillary, drops *packet.Drops) {
	if a.counted {
		drops.Count(packet.DropQueueFull, int(a.lost-uint32(*l)))
		*l = losses(a.lost)
	}
}

// flowReceiver is the receiving side of a flow, on one of its sockets.
type flowReceiver struct {
	flow   *flow
	slots  *receiveSlots
	call   *receiveCall
	batch  *packet.Batch
	trains bool // there was one among the last messages
	lost   losses
}

// newFlowReceiver receives up to n messages at once from s.
func newFlowReceiver(f *flow, s *socket, n int) *flowReceiver {
	slots := newReceiveSlots(0, n)
	return &flowReceiver{flow: f, slots: slots, call: newReceiveCall(s, slots.msgs[:n])}
}

func (r *flowReceiver) run() {
	defer r.slots.release()
	for {
		n, err := r.call.wait()
		if err != nil {
			return
		}
		r.batch, r.trains = packet.GetBatch(), false
		for i := range n {
			r.message(i)
			r.slots.refill(i)
			if r.batch.Len() >= packet.BatchSize/2 && i < n-1 {
				if !r.deliver() {
					return
				}
				r.batch = packet.GetBatch()
			}
		}
		if !r.deliver() {
			return
		}
		r.call.expect(n, r.trains)
	}
}

// deliver hands the batch to the receiver and reports whether the flow is still open.
func (r *flowReceiver) deliver() bool {
	b := r.batch
	r.batch = nil
	if r.flow.closed.Load() {
		b.Release()
		return false
	}
	if b.Len() == 0 {
		b.Forget()
		return true
	}
	r.flow.recv(b)
	return true
}

// message takes message i apart into packets of the batch.
func (r *flowReceiver) message(i int) {
	f, m := r.flow, &r.slots.msgs[i]
	drops := f.host.opts.Drops
	a := r.slots.control[i].parse(int(m.hdr.Controllen))
	r.lost.note(a, drops)
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		drops.Count(packet.DropTooBig, 1)
		return
	}
	peer := sockaddr(&r.slots.names[i])
	if f.remote.IsValid() && (peer.Addr() != f.remote.Addr() || f.protocol == packet.ProtocolUDP && peer.Port() != f.remote.Port()) {
		drops.Count(packet.DropNoFlow, 1)
		return
	}
	if f.index != 0 {
		a.ifindex = f.index
	}
	n := int(m.len)
	before := r.batch.Len()
	switch {
	case f.protocol != packet.ProtocolUDP:
		r.raw(r.slots.take(i, n), a.tos)
	case a.segment <= 0 || n <= a.segment:
		r.batch.Append(r.slots.take(i, n))
	default:
		r.slots.takeTrain(i, n, a.segment, r.batch)
		r.trains = true
	}
	udp := f.protocol == packet.ProtocolUDP
	if !udp {
		peer = netip.AddrPortFrom(peer.Addr(), 0)
	}
	for _, b := range r.batch.Bufs[before:] {
		b.Peer, b.Interface = peer, a.ifindex
		if udp {
			b.TOS = a.tos
		}
	}
}

// raw strips the outer header of a packet from a raw socket and appends what is in it. The IPv6 header is not there.
func (r *flowReceiver) raw(b *packet.Buf, tos uint8) {
	if r.flow.six {
		b.TOS = tos
		r.batch.Append(b)
		return
	}
	ip := packet.IPv4(b.Bytes())
	if !ip.Valid() {
		r.flow.host.opts.Drops.Count(packet.DropMalformed, 1)
		b.Release()
		return
	}
	tos = ip.TOS()
	if r.flow.protocol == packet.ProtocolMinimal {
		if ip.HeaderLen() != packet.IPv4Len { // options would be the inner packet's, and lost
			r.flow.host.opts.Drops.Count(packet.DropUnsupported, 1)
			b.Release()
			return
		}
		packet.MinimalHeader(b, ip)
	}
	b.Trim(ip.TotalLen())
	b.Pull(ip.HeaderLen())
	before := r.batch.Len()
	switch r.flow.protocol {
	case packet.ProtocolIPIP:
		r.mend(b, r.flow.mtu-packet.IPv4Len)
	case packet.ProtocolGRE:
		r.mendGRE(b)
	default:
		r.batch.Append(b)
	}
	for _, b := range r.batch.Bufs[before:] {
		b.TOS = tos
	}
}

// mend completes what the kernel leaves open in packets inside IP in IP. Generic receive offload merges TCP segments
// also inside a tunnel header, and a raw socket, unlike a packet socket, is not told so: such a packet shows by a TCP
// checksum that covers the pseudo header only, as does one that a local tunnel interface has not finished. TCP may be cut
// into segments of any size, so one that the link could not have carried is cut to limit octets.
func (r *flowReceiver) mend(b *packet.Buf, limit int) {
	h, partial := virtio.Partial(b.Bytes())
	if !partial {
		r.batch.Append(b)
		return
	}
	if b.Len() > limit {
		h = h.SegmentTCP(b.Bytes(), limit)
	}
	if h.GSOType == virtio.GSONone {
		h.Complete(b.Bytes())
		r.batch.Append(b)
		return
	}
	if err := h.Split(b.Bytes(), r.batch); err != nil {
		r.flow.host.opts.Drops.Count(packet.DropMalformed, 1)
	}
	b.Release()
}

// The bits of a GRE header that receive offload takes: checksum and key (RFC 2890 §2).
const (
	greChecksum = 0x8000
	greKey      = 0x2000
)

// mendGRE does for packets inside GRE what mend does for IP in IP. Their GRE header, which was one segment's, goes in front of each
// that comes out, but for the checksum, which the kernel has verified and which is none of any of them.
func (r *flowReceiver) mendGRE(b *packet.Buf) {
	p := b.Bytes()
	if len(p) < 4 {
		r.batch.Append(b)
		return
	}
	flags, sum, n := binary.BigEndian.Uint16(p), 0, 4
	if flags&greChecksum != 0 {
		sum = 4
	}
	if flags&greKey != 0 {
		n += 4
	}
	if flags&^(greChecksum|greKey) != 0 || len(p) < n+sum {
		r.batch.Append(b)
		return
	}
	if _, partial := virtio.Partial(p[n+sum:]); !partial {
		r.batch.Append(b)
		return
	}
	var header [8]byte
	binary.BigEndian.PutUint16(header[:], flags&^greChecksum)
	copy(header[2:4], p[2:])
	copy(header[4:n], p[4+sum:])
	b.Pull(n + sum)
	before := r.batch.Len()
	r.mend(b, r.flow.mtu-packet.IPv4Len-n)
	for _, q := range r.batch.Bufs[before:] {
		copy(q.Push(n), header[:n])
	}
}
