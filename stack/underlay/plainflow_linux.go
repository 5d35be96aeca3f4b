package underlay

import "golang.org/x/sys/unix"

// plainBind has a socket send and receive through the interface alone.
func plainBind(s, index int, _ bool) error {
	return unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index)
}

// plainWhole has what the socket sends bear DF, or not.
func plainWhole(fd uintptr, six, whole bool) error {
	mode := unix.IP_PMTUDISC_OMIT // the same numbers in IPv6
	if whole {
		mode = unix.IP_PMTUDISC_PROBE
	}
	if six {
		return unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, mode)
	}
	return unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode)
}
