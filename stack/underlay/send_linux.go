package underlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// maxSegments is the most datagrams of one UDP_SEGMENT send that every kernel with the option takes.
	maxSegments = 64
	// maxDatagram is the longest UDP payload over IPv4 in octets, and so that of all segments together.
	maxDatagram = 65507
)

// Send sends one payload as Protected.
func (f *flow) Send(to netip.AddrPort, payload []byte) error {
	if !to.IsValid() {
		to = f.remote
	}
	if !f.reaches(to.Addr()) {
		return fmt.Errorf("underlay: send to %v from %v: expected an endpoint of the same IP version", to, f.local)
	}
	if f.signals != nil {
		if err := f.signal(to, 0, payload); err != nil {
			return fmt.Errorf("underlay: send %d octets of protocol %d to %v: %w", len(payload), f.protocol, to, err)
		}
		return nil
	}
	t := f.tx
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.whole {
		if err := f.discover(false); err != nil {
			return fmt.Errorf("underlay: send protocol %d from %v: %w", f.protocol, f.local, err)
		}
	}
	f.begin(to, 0, 0, link.Protected, 0)
	t.add(payload)
	_, errno, err := t.flush()
	if err == nil && errno != 0 {
		err = refusal(errno)
	}
	if err != nil {
		return fmt.Errorf("underlay: send %d octets of protocol %d to %v: %w", len(payload), f.protocol, to, err)
	}
	return nil
}

// flowSender is the end of a path over a flow for one class of packets.
type flowSender struct {
	flow  *flow
	class link.Class
}

// Send sends the batch: superpackets whole, and runs of equal length to one endpoint, as UDP_SEGMENT messages where that
// works. What the kernel refuses is dropped and counted, the rest still sent; the first refusal is returned.
func (s *flowSender) Send(b *packet.Batch) error {
	f, t := s.flow, s.flow.tx
	defer b.Release()
	if f.signals != nil && s.class == link.Protected {
		f.takeSignals(b)
	}
	if !f.gso.Load() {
		b.Cut()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var first error
	note := func(err error) bool {
		if first == nil {
			first = err
		}
		return !errors.Is(err, net.ErrClosed)
	}
	for bufs := b.Bufs; len(bufs) > 0; {
		n := 0
		for n < len(bufs) && !bufs[n].Super() {
			n++
		}
		if n > 0 && !note(s.send(bufs[:n])) {
			f.host.opts.Drops.Count(packet.DropSendFailed, segments(bufs[n:]))
			break
		}
		if n < len(bufs) {
			if !note(s.sendSuper(bufs[n])) {
				f.host.opts.Drops.Count(packet.DropSendFailed, segments(bufs[n+1:]))
				break
			}
			n++
		}
		bufs = bufs[n:]
	}
	if first != nil {
		return fmt.Errorf("underlay: send protocol %d from %v: %w", f.protocol, f.local, first)
	}
	return nil
}

// segments returns how many packets on the wire bufs stand for.
func segments(bufs []*packet.Buf) int {
	n := 0
	for _, p := range bufs {
		n += p.Segments()
	}
	return n
}

// bear has what is sent from now on bear DF or not.
func (f *flow) bear(whole bool) error {
	if whole == f.whole {
		return nil
	}
	return f.discover(whole)
}

// sendSuper sends a superpacket, head and payload of each segment from where they are. Where the offload does not take it, its
// segments go as packets of their own. The packet stays the caller's; the error is that of the first refusal and wraps
// net.ErrClosed when the flow has ended.
func (s *flowSender) sendSuper(p *packet.Buf) error {
	f, t := s.flow, s.flow.tx
	if p.SegmentLen()+f.overhead() > f.mtu || p.SegmentHeaderLen() > transmitHeads/2 {
		return s.sendCut(p, 0)
	}
	if err := f.bear(p.Whole()); err != nil {
		f.host.opts.Drops.Count(packet.DropSendFailed, p.Segments())
		return err
	}
	size, total := p.SegmentLen(), p.Segments()
	for done := 0; done < total; {
		c := &t.cutter
		c.Reset(p)
		for range done {
			c.Next()
		}
		for c.Left() > 0 && t.messages < transmitMessages && !t.fullOfHeads() {
			n := min(c.Left(), maxSegments, max(1, maxDatagram/size))
			segment := size
			if n == 1 {
				segment = 0
			}
			f.begin(f.peer(p), p.TOS, p.TTL, s.class, segment)
			for i := 0; i < n && !t.fullOfHeads(); i++ {
				payload, _ := c.Next()
				t.addSegment(payload)
			}
		}
		sent, errno, err := t.flush()
		done += sent
		if err != nil {
			f.host.opts.Drops.Count(packet.DropSendFailed, total-done)
			return err
		}
		if errno != 0 {
			f.refusedOffload(errno)
			return s.sendCut(p, done)
		}
	}
	return nil
}

// sendCut sends the segments of a superpacket from number done on as packets of their own.
func (s *flowSender) sendCut(p *packet.Buf, done int) error {
	b := packet.GetBatch()
	defer b.Release()
	p.CutTo(b)
	return s.send(b.Bufs[done:])
}

// refusedOffload notes that a run was refused: for good where the device cannot checksum.
func (f *flow) refusedOffload(errno syscall.Errno) {
	if errno == unix.EIO || errno == unix.EOPNOTSUPP {
		f.gso.Store(false)
	}
}

// send sends ordinary packets, which stay the caller's. The error is that of the first refusal and wraps net.ErrClosed when
// the flow has ended.
func (s *flowSender) send(bufs []*packet.Buf) error {
	f, t := s.flow, s.flow.tx
	drops := f.host.opts.Drops
	var first error
	single := 0 // packets before this one are sent without segmentation offload
	for i := 0; i < len(bufs); {
		if err := f.bear(bufs[i].Whole()); err != nil {
			drops.Count(packet.DropSendFailed, len(bufs)-i)
			return err
		}
		for j := i; j < len(bufs) && bufs[j].Whole() == f.whole; {
			n := 1
			if j >= single && f.gso.Load() {
				n = f.run(bufs[j:])
			}
			if t.full(n) {
				break
			}
			p, segment := bufs[j], 0
			if n > 1 {
				segment = p.Len()
			}
			f.begin(f.peer(p), p.TOS, p.TTL, s.class, segment)
			for _, p := range bufs[j : j+n] {
				t.add(p.Bytes())
			}
			j += n
		}
		run := t.runs[0]
		sent, errno, err := t.flush()
		i += sent
		if err != nil {
			drops.Count(packet.DropSendFailed, len(bufs)-i)
			return err
		}
		switch {
		case errno == 0:
		case run > 1: // try again without the offload
			f.refusedOffload(errno)
			single = i + run
		default:
			drops.Count(refusalReason(errno), 1)
			if first == nil {
				first = refusal(errno)
			}
			i++
		}
	}
	return first
}

// refusal returns the error for what the kernel said about one packet.
func refusal(errno syscall.Errno) error {
	if errno == unix.EMSGSIZE {
		return fmt.Errorf("%w: %w", link.ErrTooBig, errno)
	}
	return errno
}

// refusalReason returns what such a packet is counted under.
func refusalReason(errno syscall.Errno) packet.DropReason {
	if errno == unix.EMSGSIZE {
		return packet.DropTooBig
	}
	return packet.DropSendFailed
}

// peer returns where p goes.
func (f *flow) peer(p *packet.Buf) netip.AddrPort {
	if f.remote.IsValid() {
		return f.remote
	}
	return p.Peer
}

// run returns how many packets from the first on can go as segments of one message: all as long as the first, or the last
// shorter; to one endpoint, with one TOS and one DF, none longer than the link carries unfragmented.
func (f *flow) run(bufs []*packet.Buf) int {
	size := bufs[0].Len()
	if size == 0 || size+f.overhead() > f.mtu {
		return 1
	}
	total, n := size, 1
	for n < len(bufs) && n < maxSegments {
		p := bufs[n]
		l := p.Len()
		if l == 0 || l > size || total+l > maxDatagram || p.TOS != bufs[0].TOS || p.TTL != bufs[0].TTL || p.Whole() != bufs[0].Whole() || f.peer(p) != f.peer(bufs[0]) {
			break
		}
		total += l
		n++
		if l < size {
			break
		}
	}
	return n
}

// begin starts a message to an endpoint. A ttl of 0 is the flow's, as is any on IPv6. segment is the length of each datagram of a run, 0 for a single one.
func (f *flow) begin(to netip.AddrPort, tos, ttl uint8, class link.Class, segment int) {
	m, name, c := f.tx.begin()
	if !f.reaches(to.Addr()) {
		to = netip.AddrPort{} // the kernel refuses it, and it is counted
		if f.six {
			to = netip.AddrPortFrom(netip.IPv6Unspecified(), 0)
		} else {
			to = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
	}
	putSockaddr(name, to, f.six)
	m.setName(name, f.six)
	off := 0
	var data []byte
	if class == link.Plaintext {
		data, off = c.putCmsg(off, unix.SOL_SOCKET, unix.SO_MARK, 4)
		binary.NativeEndian.PutUint32(data, f.host.opts.mark(class))
	}
	if tos != 0 {
		level, typ := tosItem(f.six)
		data, off = c.putCmsg(off, level, typ, 4)
		binary.NativeEndian.PutUint32(data, uint32(tos))
	}
	if ttl != 0 && !f.six {
		data, off = c.putCmsg(off, unix.IPPROTO_IP, unix.IP_TTL, 4)
		binary.NativeEndian.PutUint32(data, uint32(ttl))
	}
	if segment != 0 {
		data, off = c.putCmsg(off, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(data, uint16(segment))
	}
	m.setControl(c, off)
}
