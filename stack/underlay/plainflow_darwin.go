package underlay

import "golang.org/x/sys/unix"

// plainBind has a socket send and receive through the interface alone, by the routes of that interface (IP_BOUND_IF), so that the
// routes into the TUN device do not apply.
func plainBind(s, index int, six bool) error {
	if six {
		return unix.SetsockoptInt(s, unix.IPPROTO_IPV6, unix.IPV6_BOUND_IF, index)
	}
	return unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_BOUND_IF, index)
}

// plainWhole has what the socket sends bear DF, or not.
func plainWhole(fd uintptr, six, whole bool) error {
	value := 0
	if whole {
		value = 1
	}
	if six {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, value)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_DONTFRAG, value)
}
