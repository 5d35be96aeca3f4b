package underlay

import (
	"encoding/binary"

	"golang.org/x/sys/windows"
)

// Options of ws2ipdef.h that package windows has no names for.
const (
	ipUnicastIf   = 31 // IP_UNICAST_IF: the index in network order
	ipv6UnicastIf = 31 // IPV6_UNICAST_IF: the index in host order
	ipDontFrag    = 14 // IP_DONTFRAGMENT
	ipv6DontFrag  = 14 // IPV6_DONTFRAG
	ipTTL         = 4  // IP_TTL
	ipv6Hops      = 4  // IPV6_UNICAST_HOPS
)

// plainSet has a socket send through the interface alone and sets its time to live, 0 for the usual one. The address that it is
// bound to keeps what arrives by other interfaces from it (the strong host model).
func plainSet(fd uintptr, index int, six bool, ttl int) error {
	if index != 0 {
		if err := plainBind(int(fd), index, six); err != nil {
			return err
		}
	}
	switch {
	case ttl == 0:
		return nil
	case six:
		return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, ipv6Hops, ttl)
	}
	return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, ipTTL, ttl)
}

// plainBind has a socket send through the interface alone.
func plainBind(s, index int, six bool) error {
	if six {
		return windows.SetsockoptInt(windows.Handle(s), windows.IPPROTO_IPV6, ipv6UnicastIf, index)
	}
	return windows.SetsockoptInt(windows.Handle(s), windows.IPPROTO_IP, ipUnicastIf, int(swapped(uint32(index))))
}

// swapped returns the number whose octets in host order are those of n in network order.
func swapped(n uint32) uint32 {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], n)
	return binary.NativeEndian.Uint32(b[:])
}

// plainWhole has what the socket sends bear DF, or not.
func plainWhole(fd uintptr, six, whole bool) error {
	value := 0
	if whole {
		value = 1
	}
	if six {
		return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IPV6, ipv6DontFrag, value)
	}
	return windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_IP, ipDontFrag, value)
}

// plainTOS returns 0: TOS is not asked for here. A mark of congestion on the tunnel is lost, as at a tunnel's end that knows no ECN
// (RFC 6040 §4.1 then has what is sent bear none).
func plainTOS([]byte) uint8 { return 0 }

// plainRoom has room for nothing: Windows takes no TOS with a datagram.
type plainRoom struct{}

// tos returns nothing, so that datagrams leave with a TOS of zero.
func (*plainRoom) tos(uint8, bool) []byte { return nil }
