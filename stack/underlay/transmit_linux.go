package underlay

import (
	"net"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/packet"
)

const (
	// transmitMessages is the most messages of one sendmmsg.
	transmitMessages = 64
	// transmitPackets is the most packets in them.
	transmitPackets = packet.BatchSize
	// transmitHeads is the room in octets for the heads of a superpacket's segments: transmitPackets with TCP options.
	transmitHeads = 96 * transmitPackets
)

// transmitter is the prepared memory for sending on one socket. It is used under its mutex.
type transmitter struct {
	mu     sync.Mutex
	socket *socket

	msgs    [transmitMessages]mmsghdr
	names   [transmitMessages]endpointName
	control [transmitMessages]control
	iovs    [2 * transmitPackets]unix.Iovec // a head and a payload for each segment of a superpacket
	runs    [transmitMessages]int           // packets in each message
	heads   [transmitHeads]byte
	cutter  packet.Cutter

	messages int // messages filled
	packets  int // in them
	vectors  int // iovs filled
	headed   int // octets of heads filled
	sent     int
	errno    syscall.Errno
	call     func(fd uintptr) bool // the method value, made once
}

func newTransmitter(s *socket) *transmitter {
	t := &transmitter{socket: s}
	t.call = t.try
	return t
}

func (t *transmitter) try(fd uintptr) bool {
	for {
		t.sent, t.errno = sendmmsg(fd, t.msgs[:t.messages])
		switch t.errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false // wait for room
		}
		return true
	}
}

// begin starts a message of a run of packets, of which the first follows with add or addSegment.
func (t *transmitter) begin() (*mmsghdr, *endpointName, *control) {
	i := t.messages
	t.messages++
	t.runs[i] = 0
	m := &t.msgs[i]
	m.hdr = unix.Msghdr{Iov: &t.iovs[t.vectors]}
	return m, &t.names[i], &t.control[i]
}

// add puts one packet into the message begun last.
func (t *transmitter) add(p []byte) {
	t.vector(p)
	t.runs[t.messages-1]++
	t.packets++
}

// addSegment puts the present segment of the cutter into the message begun last.
func (t *transmitter) addSegment(payload []byte) {
	n := t.cutter.HeadLen()
	head := t.heads[t.headed : t.headed+n]
	t.headed += n
	t.cutter.PutHead(head)
	t.vector(head)
	t.add(payload)
}

// vector adds p to the message begun last.
func (t *transmitter) vector(p []byte) {
	iov := &t.iovs[t.vectors]
	t.vectors++
	if len(p) > 0 {
		iov.Base = &p[0]
	}
	iov.SetLen(len(p))
	h := &t.msgs[t.messages-1].hdr
	h.SetIovlen(int(h.Iovlen) + 1)
}

// full reports whether no further message of n packets fits.
func (t *transmitter) full(n int) bool {
	return t.messages == transmitMessages || t.packets+n > transmitPackets
}

// fullOfHeads reports whether no further segment of the cutter fits.
func (t *transmitter) fullOfHeads() bool {
	return t.packets == transmitPackets || t.headed+t.cutter.HeadLen() > transmitHeads
}

// flush sends the messages and returns how many packets went, and the error of the first message when none did. An error
// of the socket itself, such as its being closed, is fatal.
func (t *transmitter) flush() (packets int, errno syscall.Errno, fatal error) {
	if fatal = t.socket.conn.Write(t.call); fatal != nil {
		fatal = net.ErrClosed // the one reason why the poller refuses
	}
	clear(t.iovs[:t.vectors]) // keep no packet alive
	sent := t.sent
	if fatal != nil || t.errno != 0 {
		sent = 0
	}
	for i := range sent {
		packets += t.runs[i]
	}
	errno = t.errno
	t.messages, t.packets, t.vectors, t.headed = 0, 0, 0, 0
	return packets, errno, fatal
}

// setControl notes that n octets of ancillary data stand in c.
func (m *mmsghdr) setControl(c *control, n int) {
	if n == 0 {
		return
	}
	m.hdr.Control = (*byte)(unsafe.Pointer(c))
	m.hdr.SetControllen(n)
}
