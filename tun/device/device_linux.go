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
	udp   bool // the kernel knows UDP segmentation offload

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
	if d.udp, err = configure(fd, d.name, mtu); err != nil {
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

// configure reports whether the kernel knows UDP segmentation offload.
func configure(fd int, name string, mtu int) (udp bool, err error) {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, virtio.HeaderLen); err != nil {
		return false, fmt.Errorf("TUNSETVNETHDRSZ: %w", err)
	}
	for _, o := range offloads {
		// TUNSETOFFLOAD takes its argument by value.
		if err = ioctlInt(fd, unix.TUNSETOFFLOAD, uintptr(o)); err == nil {
			udp = o&unix.TUN_F_USO4 != 0
			break
		}
	}
	if err != nil {
		return false, fmt.Errorf("TUNSETOFFLOAD: %w", err)
	}
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(sock)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return false, err
	}
	req.SetUint32(uint32(mtu))
	if err := unix.IoctlIfreq(sock, unix.SIOCSIFMTU, req); err != nil {
		return false, fmt.Errorf("set MTU %d: %w", mtu, err)
	}
	return udp, nil
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

// readOctets is how many octets Read gathers at most, so that a superpacket goes on at once.
const readOctets = 32 << 10

// readCall is one read: the header, then the packet into a small Buf and what does not fit it into a large one. Either keeps its
// Tailroom: ESP writes behind the packet.
type readCall struct {
	header [virtio.HeaderLen]byte
	small  *packet.Buf
	large  *packet.Buf
	iov    [3]unix.Iovec

	wait  bool // wait for a packet
	n     int
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func (r *readCall) init() {
	r.iov[0].Base = &r.header[0]
	r.iov[0].SetLen(len(r.header))
	r.call = r.try
}

// refill has Bufs ready for the next read.
func (r *readCall) refill() {
	if r.small != nil && r.large != nil {
		return
	}
	if r.small == nil {
		r.small = packet.GetSmall()
		free := r.small.Free()[:packet.SmallSize]
		r.iov[1].Base = &free[0]
		r.iov[1].SetLen(len(free))
	}
	if r.large == nil {
		r.large = packet.GetLarge()
		rest := r.large.Free()[packet.SmallSize:packet.LargeSize] // behind the place of what the small Buf takes
		r.iov[2].Base = &rest[0]
		r.iov[2].SetLen(len(rest))
	}
}

// release gives the Bufs back.
func (r *readCall) release() {
	if r.small != nil {
		r.small.Release()
		r.large.Release()
		r.small, r.large = nil, nil
	}
}

// try is a raw system call, as that of writeCall is: it does not block, and may take longer than the 20 µs after which Go's
// scheduler takes the processor away from a goroutine in a system call, which costs it more than a tenth of its time.
func (r *readCall) try(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.iov[0])), uintptr(len(r.iov)))
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

// Read blocks until at least one packet from the host is there, takes what more is there without blocking, up to
// packet.BatchSize packets or some readOctets, and appends it all to b. Superpackets come whole (packet.Buf.Super).
func (d *Device) Read(b *packet.Batch) error {
	d.reading.Lock()
	defer d.reading.Unlock()
	r := &d.read
	r.wait = true
	for packets, octets := 0, 0; packets < packet.BatchSize && octets < readOctets; packets++ {
		r.refill()
		if err := d.conn.Read(r.call); err != nil {
			if packets > 0 {
				return nil // the next call says so
			}
			r.release()
			return fmt.Errorf("device: read %s: %w", d.name, net.ErrClosed) // the one reason why the poller refuses
		}
		if r.errno == unix.EAGAIN {
			return nil
		}
		if r.errno != 0 {
			if packets > 0 {
				return nil
			}
			return fmt.Errorf("device: read %s: %w", d.name, r.errno)
		}
		octets += r.n
		d.take(b)
		r.wait = b.Len() == 0
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
	p, from := r.small, &r.small
	if n > packet.SmallSize {
		p, from = r.large, &r.large
		copy(p.Free(), r.small.Free()[:packet.SmallSize])
	}
	p.Extend(n)
	var err error
	if h.GSOType == virtio.GSONone {
		err = h.Complete(p.Bytes())
	} else if h.MakeSuper(p) != nil { // it may be in another packet
		if err = h.Split(p.Bytes(), b); err == nil {
			p.Trim(0)
			return
		}
	}
	if err != nil {
		d.drops.Count(packet.DropMalformed, 1)
		p.Trim(0)
		return
	}
	*from = nil
	b.Append(p)
}
