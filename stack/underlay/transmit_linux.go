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
)

// transmitter is the prepared memory for sending on one socket. It is used under its mutex.
type transmitter struct {
	mu     sync.Mutex
	socket *socket

	msgs    [transmitMessages]mmsghdr
	names   [transmitMessages]unix.RawSockaddrInet4
	control [transmitMessages]control
	iovs    [transmitPackets]unix.Iovec
	runs    [transmitMessages]int // packets in each message

	messages int // messages filled
	packets  int // iovs filled
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

// begin starts a message of a run of packets, of which the first follows with add.
func (t *transmitter) begin() (*mmsghdr, *unix.RawSockaddrInet4, *control) {
	i := t.messages
	t.messages++
	t.runs[i] = 0
	m := &t.msgs[i]
	m.hdr = unix.Msghdr{Iov: &t.iovs[t.packets]}
	return m, &t.names[i], &t.control[i]
}

// add puts one packet into the message begun last.
func (t *transmitter) add(p []byte) {
	iov := &t.iovs[t.packets]
	t.packets++
	if len(p) > 0 {
		iov.Base = &p[0]
	}
	iov.SetLen(len(p))
	i := t.messages - 1
	t.runs[i]++
	t.msgs[i].hdr.SetIovlen(t.runs[i])
}

// full reports whether no further message of n packets fits.
func (t *transmitter) full(n int) bool {
	return t.messages == transmitMessages || t.packets+n > transmitPackets
}

// flush sends the messages and returns how many packets went, and the error of the first message when none did. An error
// of the socket itself, such as its being closed, is fatal.
func (t *transmitter) flush() (packets int, errno syscall.Errno, fatal error) {
	if fatal = t.socket.conn.Write(t.call); fatal != nil {
		fatal = net.ErrClosed // the one reason why the poller refuses
	}
	clear(t.iovs[:t.packets]) // keep no packet alive
	sent := t.sent
	if fatal != nil || t.errno != 0 {
		sent = 0
	}
	for i := range sent {
		packets += t.runs[i]
	}
	errno = t.errno
	t.messages, t.packets = 0, 0
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
