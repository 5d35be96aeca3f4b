package underlay

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of sendmmsg(2) and recvmmsg(2): a message, and how many octets of it went.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
}

// The calls of the data path are raw: none of them blocks, and with superpackets one takes longer than the 20 µs after which Go's
// scheduler takes the processor away from a goroutine in a system call, which costs it more than a tenth of its time.

// recvmmsg receives into msgs without blocking and returns how many messages came.
func recvmmsg(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// sendmmsg sends msgs without blocking and returns how many went, or the error of the first.
func sendmmsg(fd uintptr, msgs []mmsghdr) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	return int(n), errno
}

// endpointName is room for the kernel's struct sockaddr_in or, with six, sockaddr_in6. Family and port stand at the same place in
// both, the port in network order.
type endpointName = unix.RawSockaddrInet6

// putSockaddr writes an endpoint of the family.
func putSockaddr(sa *endpointName, to netip.AddrPort, six bool) {
	if !six {
		in := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		*in = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	} else {
		*sa = unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: to.Addr().As16()}
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], to.Port())
}

// sockaddr reads an endpoint.
func sockaddr(sa *endpointName) netip.AddrPort {
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:])
	if sa.Family == unix.AF_INET6 {
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), port)
}

// address returns the endpoint for the calls of package unix, in the family.
func address(to netip.AddrPort, six bool) unix.Sockaddr {
	if six {
		return &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
}

// tosItem is the ancillary item that sets TOS or, with six, the traffic class.
func tosItem(six bool) (level, typ int) {
	if six {
		return unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	return unix.IPPROTO_IP, unix.IP_TOS
}

// control is room for the ancillary data of one message, aligned as cmsghdr wants it: up to four items on sending
// (mark, TOS, time to live, segment size), four on receipt.
type control [18]uint64

func (c *control) bytes() []byte { return unsafe.Slice((*byte)(unsafe.Pointer(c)), len(c)*8) }

// putCmsg appends one ancillary item of n octets at off and returns its data and the offset after it.
func (c *control) putCmsg(off, level, typ, n int) (data []byte, next int) {
	b := c.bytes()
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[off]))
	h.Level, h.Type = int32(level), int32(typ)
	h.SetLen(unix.CmsgLen(n))
	data = b[off+unix.CmsgLen(0) : off+unix.CmsgLen(n)]
	return data, off + unix.CmsgSpace(n)
}

// ancillary is what a received message's ancillary data says.
type ancillary struct {
	tos       uint8
	ifindex   int
	segment   int    // octets of each datagram but the last in a UDP_GRO train; 0 for a single one
	lost      uint32 // messages that have been dropped because the receive buffer was full, modulo 2^32, if counted
	counted   bool
	truncated bool // an item did not fit its own length
}

// parse reads the first n octets of c, as filled by the kernel.
func (c *control) parse(n int) (a ancillary) {
	b := c.bytes()
	b = b[:min(n, len(b))]
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		length := int(h.Len)
		if length < unix.CmsgLen(0) || length > len(b) {
			a.truncated = true
			return a
		}
		data := b[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			a.tos = data[0]
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data))) // struct in_pktinfo begins with ipi_ifindex
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			a.tos = uint8(binary.NativeEndian.Uint32(data))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			a.ifindex = int(int32(binary.NativeEndian.Uint32(data[16:]))) // behind ipi6_addr
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4:
			a.lost, a.counted = binary.NativeEndian.Uint32(data), true
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			a.segment = int(int32(binary.NativeEndian.Uint32(data)))
		}
		next := unix.CmsgSpace(length - unix.CmsgLen(0))
		if next > len(b) {
			break
		}
		b = b[next:]
	}
	return a
}

// setName names the endpoint that the message goes to.
func (m *mmsghdr) setName(sa *endpointName, six bool) {
	m.hdr.Name = (*byte)(unsafe.Pointer(sa))
	m.hdr.Namelen = unix.SizeofSockaddrInet4
	if six {
		m.hdr.Namelen = unix.SizeofSockaddrInet6
	}
}
