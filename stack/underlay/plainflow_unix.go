//go:build linux || darwin

package underlay

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// plainSet binds a socket to the interface, has it told of TOS, and sets its time to live, 0 for the usual one.
func plainSet(fd uintptr, index int, six bool, ttl int) error {
	s := int(fd)
	if index != 0 {
		if err := plainBind(s, index, six); err != nil {
			return err
		}
	}
	level, told, hops := unix.IPPROTO_IP, unix.IP_RECVTOS, unix.IP_TTL
	if six {
		level, told, hops = unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, unix.IPV6_UNICAST_HOPS
	}
	if ttl != 0 {
		if err := unix.SetsockoptInt(s, level, hops, ttl); err != nil {
			return err
		}
	}
	return unix.SetsockoptInt(s, level, told, 1)
}

// plainTOS returns TOS or traffic class from a datagram's ancillary data, 0 where it is not there. What tells TOS bears the type of
// the option that asked for it on darwin.
func plainTOS(oob []byte) uint8 {
	list, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0
	}
	for _, m := range list {
		switch {
		case m.Header.Level == unix.IPPROTO_IP && (m.Header.Type == unix.IP_TOS || m.Header.Type == unix.IP_RECVTOS) && len(m.Data) >= 1:
			return m.Data[0]
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS && len(m.Data) >= 4:
			return uint8(binary.NativeEndian.Uint32(m.Data))
		}
	}
	return 0
}

// plainRoom is room for the ancillary data of one datagram, aligned as cmsghdr wants it.
type plainRoom [4]uint64

// tos returns the ancillary data that has a datagram bear the TOS or traffic class.
func (r *plainRoom) tos(tos uint8, six bool) []byte {
	b := unsafe.Slice((*byte)(unsafe.Pointer(r)), len(r)*8)[:unix.CmsgSpace(4)]
	clear(b)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	if six {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(tos))
	return b
}
