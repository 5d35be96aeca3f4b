package device

import (
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// offloads that are asked of the kernel, the first that it takes: what it then leaves to the reader. TUN_F_USO4 and
// TUN_F_USO6 go together only; they came with Linux 6.2.
var offloads = []uint{
	unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN | unix.TUN_F_USO4 | unix.TUN_F_USO6,
	unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO_ECN,
	unix.TUN_F_CSUM,
}

// Device is a TUN device of the Linux kernel. It exists in the network namespace it was made in until Close, or the end
// of the process.
type Device struct {
	name  string
	file  *os.File
	conn  syscall.RawConn
	drops *packet.Drops

	reading sync.Mutex
	read    readCall
	writing sync.Mutex
	write   writeCall
}

// Open makes a TUN device in the network namespace of the calling thread, with an MTU in octets. With an empty name the
// system picks one; see Name. It is down and has no address: see package hostnet. drops counts what Read finds malformed
// and what the kernel does not take; nil counts nothing. It needs /dev/net/tun and CAP_NET_ADMIN.
func Open(name string, mtu int, drops *packet.Drops) (*Device, error) {
	d, err := open(name, mtu, drops)
	if err != nil {
		return nil, fmt.Errorf("device: open TUN device %q: %w", name, err)
	}
	return d, nil
}

func open(name string, mtu int, drops *packet.Drops) (*Device, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUNSETIFF: %w", err)
	}
	d := &Device{name: req.Name(), drops: drops}
	if err := configure(fd, d.name, mtu); err != nil {
		unix.Close(fd)
		return nil, err
	}
	d.file = os.NewFile(uintptr(fd), "/dev/net/tun")
	if d.conn, err = d.file.SyscallConn(); err != nil {
		d.file.Close()
		return nil, err
	}
	d.read.init()
	d.write.init()
	return d, nil
}

func configure(fd int, name string, mtu int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, virtio.HeaderLen); err != nil {
		return fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
	}
	var err error
	for _, o := range offloads {
		// TUNSETOFFLOAD takes its argument by value.
		if err = ioctlInt(fd, unix.TUNSETOFFLOAD, uintptr(o)); err == nil {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(sock)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(sock, unix.SIOCSIFMTU, req); err != nil {
		return fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	return nil
}

func ioctlInt(fd int, request uint, value uintptr) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), value); errno != 0 {
		return errno
	}
	return nil
}

// Name returns the interface's name.
func (d *Device) Name() string { return d.name }

// Close removes the device. Read then returns an error that wraps net.ErrClosed.
func (d *Device) Close() error { return d.file.Close() }

// readCall is one read: the header, then the packet into a small Buf and past its end into spill.
type readCall struct {
	header [virtio.HeaderLen]byte
	buf    *packet.Buf
	spill  []byte
	iov    [3]unix.Iovec
	joined []byte // where a packet that has spilled is put together

	wait  bool // wait for a packet
	n     int
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func (r *readCall) init() {
	r.spill = make([]byte, packet.LargeSize)
	r.joined = make([]byte, 2*packet.LargeSize)
	r.iov[0].Base = &r.header[0]
	r.iov[0].SetLen(len(r.header))
	r.iov[2].Base = &r.spill[0]
	r.iov[2].SetLen(len(r.spill))
	r.call = r.try
}

func (r *readCall) try(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.iov[0])), uintptr(len(r.iov)))
		r.n, r.errno = int(n), errno
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return !r.wait
		}
		return true
	}
}

// Read blocks until at least one packet from the host is there, takes what more is there without blocking, up to some
// packet.BatchSize, and appends it all to b. A superpacket is appended whole, so that b may grow past BatchSize.
func (d *Device) Read(b *packet.Batch) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	r := &d.read
	before := b.Len()
	r.wait = true
	for b.Len() < packet.BatchSize {
		if r.buf == nil {
			r.buf = packet.GetSmall()
			free := r.buf.Free()
			r.iov[1].Base = &free[0]
			r.iov[1].SetLen(len(free))
		}
		if err := d.conn.Read(r.call); err != nil {
			if b.Len() > before {
				return nil // the next call says so
			}
			r.buf.Release()
			r.buf = nil
			return fmt.Errorf("device: read %s: %w", d.name, net.ErrClosed) // the one reason why the poller refuses
		}
		if r.errno == unix.EAGAIN {
			return nil
		}
		if r.errno != 0 {
			if b.Len() > before {
				return nil
			}
			return fmt.Errorf("device: read %s: %w", d.name, r.errno)
		}
		d.take(b)
		r.wait = b.Len() == before
	}
	return nil
}

// take appends what has been read.
func (d *Device) take(b *packet.Batch) {
	r := &d.read
	h, _ := virtio.Parse(r.header[:])
	n := r.n - virtio.HeaderLen
	if n <= 0 {
		d.drops.Count(packet.DropMalformed, 1)
		return
	}
	free := r.buf.Free()
	if h.GSOType == virtio.GSONone && n <= len(free) {
		if err := h.Complete(free[:n]); err != nil {
			d.drops.Count(packet.DropMalformed, 1)
			return
		}
		r.buf.Extend(n)
		b.Append(r.buf)
		r.buf = nil
		return
	}
	p := free[:min(n, len(free))]
	if n > len(free) {
		m := copy(r.joined, free)
		copy(r.joined[m:n], r.spill)
		p = r.joined[:n]
	}
	if err := h.Split(p, b); err != nil {
		d.drops.Count(packet.DropMalformed, 1)
	}
}
