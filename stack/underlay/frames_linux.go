package underlay

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// ethernetLen is the length in octets of an Ethernet header: destination, source, type (RFC 894).
	ethernetLen = 14
	// frameHead is what a packet socket with PACKET_VNET_HDR gives and takes in front of the IPv4 packet.
	frameHead = virtio.HeaderLen + ethernetLen
)

// frames is a packet socket of one interface. It sees frames before nftables' prerouting, so that packets shielded from
// the kernel's own IP layer (link.Settings) still arrive here.
//
// The socket has PACKET_VNET_HDR: what arrives may be a superpacket of generic receive offload, or carry checksums that
// a sender on the same machine has left open; both are mended.
type frames struct {
	*socket
	host     *Host
	index    int
	hardware packet.HardwareAddr
	recv     link.Receiver
	tx       *transmitter
	kind     framesKind
	signals  *socket     // what is signalling goes this way; nil where there is only one socket
	cut      atomic.Bool // superpackets are not to go whole
}

var (
	_ link.Frames            = (*frames)(nil)
	_ link.AdvertisementHost = (*Host)(nil)
)

// framesKind says what of an interface's frames arrives.
type framesKind uint8

const (
	allFrames      framesKind = iota
	advertisements            // ICMP router advertisements alone
)

func openFrames(h *Host, index int, kind framesKind, recv link.Receiver) (*frames, error) {
	f := &frames{host: h, index: index, kind: kind, recv: recv}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("underlay: open frames of interface %d: %w", index, err)
	}
	return f, nil
}

func (f *frames) open() error {
	l, err := netlink.LinkByIndex(f.index)
	if err != nil {
		return err
	}
	hw := l.Attrs().HardwareAddr
	if len(hw) != len(f.hardware) {
		return fmt.Errorf("interface %s has a link-layer address of %d octets, expected Ethernet's %d", l.Attrs().Name, len(hw), len(f.hardware))
	}
	copy(f.hardware[:], hw)
	// Protocol 0 receives nothing until bind names the type and the interface.
	s, err := newSocket(unix.AF_PACKET, unix.SOCK_RAW, 0, f.host.opts.mark(link.Protected))
	if err != nil {
		return err
	}
	f.socket = s
	if err := f.prepare(s); err != nil {
		s.discard()
		return err
	}
	f.tx = newTransmitter(s)
	if f.kind == advertisements {
		s.start(newFrameReceiver(f, s, signalMessages).run)
		return nil
	}
	f.openSignals()
	s.start(newFrameReceiver(f, s, receiveMessages).run)
	if f.signals != nil {
		f.signals.start(newFrameReceiver(f, f.signals, signalMessages).run)
	}
	return nil
}

// prepare sets what both sockets have in common and binds one.
func (f *frames) prepare(s *socket) error {
	if err := s.set("PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return err
	}
	if err := s.set("SO_RXQ_OVFL", unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1); err != nil {
		return err
	}
	_ = s.set("PACKET_IGNORE_OUTGOING", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1) // since Linux 4.20; else sorted out on receipt
	if f.kind == advertisements {
		if err := s.filter(onlyAdvertisements()); err != nil {
			return err
		}
	}
	return s.control(func(fd int) error {
		// Agents are found through groups that the kernel does not listen to (RFC 5944 §2.4: 224.0.0.11).
		mreq := unix.PacketMreq{Ifindex: int32(f.index), Type: unix.PACKET_MR_ALLMULTI}
		if f.kind == allFrames {
			if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq); err != nil {
				return fmt.Errorf("receive all groups: %w", err)
			}
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherTypeIPv4(), Ifindex: f.index}); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		return nil
	})
}

// etherTypeIPv4 returns ETH_P_IP as sockaddr_ll wants it, in network order.
func etherTypeIPv4() uint16 {
	var p [2]byte
	binary.BigEndian.PutUint16(p[:], unix.ETH_P_IP)
	return binary.NativeEndian.Uint16(p[:])
}

func (f *frames) Hardware() packet.HardwareAddr { return f.hardware }

func (f *frames) Close() error { return closeBoth(f.socket, f.signals) }

func (f *frames) Out(c link.Class) link.Sender { return &frameSender{frames: f, class: c} }

// frameSender sends packets of one class in frames.
type frameSender struct {
	frames *frames
	class  link.Class
}

// Send sends each packet as a frame to its Buf.Hardware, superpackets whole. What the kernel refuses is dropped and counted,
// the rest still sent; the first refusal is returned.
func (s *frameSender) Send(b *packet.Batch) error {
	f, t := s.frames, s.frames.tx
	defer b.Release()
	if f.signals != nil && s.class == link.Protected {
		f.takeSignals(b)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !f.takes(b) {
		b.Cut()
	}
	if err := s.send(b.Bufs); err != nil {
		return fmt.Errorf("underlay: send frames on interface %d: %w", f.index, err)
	}
	return nil
}

// takes reports whether the superpackets of the batch may go whole.
func (f *frames) takes(b *packet.Batch) bool {
	for _, p := range b.Bufs {
		if ip := packet.IPv4(p.Bytes()); p.Super() && (f.cut.Load() || !ip.Valid() || ip.TotalLen() != len(ip)) {
			return false
		}
	}
	return true
}

// send sends packets, which stay the caller's, and returns the first refusal.
func (s *frameSender) send(bufs []*packet.Buf) error {
	f, t := s.frames, s.frames.tx
	drops := f.host.opts.Drops
	for _, p := range bufs {
		f.head(p)
	}
	var first error
	for i := 0; i < len(bufs); {
		for _, p := range bufs[i:] {
			if t.full(1) {
				break
			}
			m, _, c := t.begin()
			t.add(p.Bytes())
			if s.class == link.Plaintext {
				data, n := c.putCmsg(0, unix.SOL_SOCKET, unix.SO_MARK, 4)
				binary.NativeEndian.PutUint32(data, f.host.opts.mark(s.class))
				m.setControl(c, n)
			}
		}
		sent, errno, err := t.flush()
		i += sent
		if err != nil {
			drops.Count(packet.DropSendFailed, segments(bufs[i:]))
			return err
		}
		if errno == 0 {
			continue
		}
		p := bufs[i]
		i++
		if p.Super() && (errno == unix.EINVAL || errno == unix.EOPNOTSUPP) { // the kernel is too old for this kind
			f.cut.Store(true)
			err = s.sendCut(p)
		} else {
			drops.Count(refusalReason(errno), p.Segments())
			err = refusal(errno)
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// head pushes the frame's head.
func (f *frames) head(p *packet.Buf) {
	var h virtio.Header // nothing to be completed or cut
	if p.Super() {
		h = virtio.Super(p)
		h.HdrLen += ethernetLen
		h.CsumStart += ethernetLen
	}
	head := p.Push(frameHead)
	h.Put(head)
	e := head[virtio.HeaderLen:]
	copy(e[0:], p.Hardware[:])
	copy(e[6:], f.hardware[:])
	binary.BigEndian.PutUint16(e[12:], unix.ETH_P_IP)
}

// sendCut sends the segments of a superpacket that has its frame's head in front.
func (s *frameSender) sendCut(p *packet.Buf) error {
	p.Pull(frameHead)
	b := packet.GetBatch()
	defer b.Release()
	p.CutTo(b)
	return s.send(b.Bufs)
}

// frameReceiver is the receiving side of frames, on one of the sockets.
type frameReceiver struct {
	frames *frames
	slots  *receiveSlots
	call   *receiveCall
	joined []byte // where a superpacket is put together
	lost   losses
}

// newFrameReceiver receives up to n frames at once from s.
func newFrameReceiver(f *frames, s *socket, n int) *frameReceiver {
	slots := newReceiveSlots(frameHead, n)
	return &frameReceiver{frames: f, slots: slots, call: newReceiveCall(s, slots.msgs[:n]), joined: make([]byte, packet.LargeSize)}
}

func (r *frameReceiver) run() {
	defer r.slots.release()
	for {
		n, err := r.call.wait()
		if err != nil {
			return
		}
		batch := packet.GetBatch()
		for i := range n {
			r.message(i, batch)
			r.slots.refill(i)
			if batch.Len() >= packet.BatchSize/2 || i == n-1 {
				if r.frames.closed.Load() {
					batch.Release()
					return
				}
				if batch.Len() == 0 {
					continue
				}
				r.frames.recv(batch)
				batch = packet.GetBatch()
			}
		}
		batch.Forget()
		r.call.expect(n, false)
	}
}

// message takes frame i apart into packets of the batch.
func (r *frameReceiver) message(i int, batch *packet.Batch) {
	f, m := r.frames, &r.slots.msgs[i]
	drops := f.host.opts.Drops
	r.lost.note(r.slots.control[i].parse(int(m.hdr.Controllen)), drops)
	switch (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.slots.names[i])).Pkttype {
	case unix.PACKET_HOST, unix.PACKET_BROADCAST, unix.PACKET_MULTICAST:
	default: // to another station, or from this one
		return
	}
	n := int(m.len) - frameHead
	head := r.slots.slots[i].head
	if n < packet.IPv4Len || n > packet.LargeSize || m.hdr.Flags&unix.MSG_TRUNC != 0 {
		drops.Count(packet.DropMalformed, 1)
		return
	}
	h, _ := virtio.Parse(head)
	if h.CsumStart >= ethernetLen {
		h.CsumStart -= ethernetLen
	} else {
		h.Flags &^= virtio.FlagNeedsChecksum
	}
	before := batch.Len()
	var err error
	if h.GSOType == virtio.GSONone {
		b := r.slots.take(i, n)
		if ip := packet.IPv4(b.Bytes()); ip.Valid() {
			b.Trim(ip.TotalLen()) // Ethernet pads to 46 octets
		}
		if err = h.Complete(b.Bytes()); err == nil {
			batch.Append(b)
		} else {
			b.Release()
		}
	} else {
		r.slots.copyOut(i, 0, r.joined[:n])
		err = h.Split(r.joined[:n], batch)
	}
	if err != nil {
		drops.Count(packet.DropMalformed, 1)
	}
	src := packet.HardwareAddr(head[virtio.HeaderLen+6 : virtio.HeaderLen+12])
	for _, b := range batch.Bufs[before:] {
		b.Hardware, b.Interface = src, f.index
	}
}
