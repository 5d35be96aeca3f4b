package device

import (
	"fmt"
	"net"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// writeCall is one write: the header, and the packet, or the headers of the first packet and the payloads of a run.
type writeCall struct {
	header [virtio.HeaderLen]byte
	iov    [1 + packet.BatchSize]unix.Iovec
	n      int // iovs in use
	errno  syscall.Errno
	call   func(fd uintptr) bool
}

func (w *writeCall) init() {
	w.iov[0].Base = &w.header[0]
	w.iov[0].SetLen(len(w.header))
	w.call = w.try
}

func (w *writeCall) try(fd uintptr) bool {
	for {
		_, _, w.errno = unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iov[0])), uintptr(w.n))
		switch w.errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		return true
	}
}

// add appends p to what is to be written.
func (w *writeCall) add(p []byte) {
	if len(p) == 0 {
		return
	}
	w.iov[w.n].Base = &p[0]
	w.iov[w.n].SetLen(len(p))
	w.n++
}

// prepare takes the first packets of bufs that make one write and returns how many they are. udp says that datagrams may be
// joined too.
func (w *writeCall) prepare(bufs []*packet.Buf, udp bool) int {
	n, h := virtio.Join(bufs, udp)
	if bufs[0].Super() {
		h = virtio.Super(bufs[0])
	}
	h.Put(w.header[:])
	w.n = 1
	w.add(bufs[0].Bytes())
	for _, p := range bufs[1:n] {
		w.add(p.Bytes()[h.HdrLen:])
	}
	return n
}

// Write gives the packets to the host; superpackets go whole, and TCP segments and UDP datagrams that follow each other as one.
// What the kernel refuses is dropped and counted and the rest still written; an error means that the device is closed or down.
func (d *Device) Write(b *packet.Batch) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	defer b.Release()
	w := &d.write
	if !d.takes(b) {
		b.Cut()
	}
	for i := 0; i < b.Len(); {
		n := w.prepare(b.Bufs[i:], d.udp)
		if w.n == 1 { // an empty packet
			d.drops.Count(packet.DropMalformed, 1)
			i++
			continue
		}
		err := d.conn.Write(w.call)
		clear(w.iov[1:w.n]) // keep no packet alive
		if err != nil {
			d.drops.Count(packet.DropSendFailed, b.Len()-i)
			return fmt.Errorf("device: write to %s: %w", d.name, net.ErrClosed) // the one reason why the poller refuses
		}
		switch w.errno {
		case 0:
		case unix.EIO, unix.EBADFD: // the interface is down, or gone
			d.drops.Count(packet.DropSendFailed, b.Len()-i)
			return fmt.Errorf("device: write to %s: %w", d.name, w.errno)
		default:
			d.drops.Count(packet.DropMalformed, max(n, b.Bufs[i].Segments()))
		}
		i += n
	}
	return nil
}

// takes reports whether the kernel takes the superpackets of the batch whole.
func (d *Device) takes(b *packet.Batch) bool {
	for _, p := range b.Bufs {
		if !p.Super() {
			continue
		}
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || ip.TotalLen() != len(ip) || ip.Protocol() == packet.ProtocolUDP && !d.udp {
			return false
		}
	}
	return true
}
