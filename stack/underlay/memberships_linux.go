package underlay

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// memberships are the groups that this host is a member of on an interface, so that the kernel tells of them (IGMP) and answers those
// who ask. A socket has room for a few (net.ipv4.igmp_max_memberships, 20), so that there are as many as it takes. Nothing is received
// by them. The zero value has none.
type memberships struct {
	sockets []memberSocket
}

// memberSocket is one of the sockets with what it has joined.
type memberSocket struct {
	fd     int
	groups map[netip.Addr]bool
}

// join joins a group, unless that has been done.
func (m *memberships) join(index int, group netip.Addr) error {
	if !group.Is4() || !group.IsMulticast() {
		return fmt.Errorf("underlay: join %v: expected an IPv4 group", group)
	}
	request := &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}
	for _, s := range m.sockets {
		if s.groups[group] {
			return nil
		}
	}
	for _, s := range m.sockets {
		err := unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, request)
		if err == nil {
			s.groups[group] = true
			return nil
		}
		if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.ENOMEM) {
			return fmt.Errorf("underlay: join %v on interface %d: %w", group, index, err)
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		if err = unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, request); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		return fmt.Errorf("underlay: join %v on interface %d: %w", group, index, err)
	}
	m.sockets = append(m.sockets, memberSocket{fd, map[netip.Addr]bool{group: true}})
	return nil
}

// leave leaves a group; one that was not joined changes nothing.
func (m *memberships) leave(index int, group netip.Addr) error {
	for i, s := range m.sockets {
		if !s.groups[group] {
			continue
		}
		delete(s.groups, group)
		if len(s.groups) == 0 { // which leaves what the socket has joined
			m.sockets = append(m.sockets[:i], m.sockets[i+1:]...)
			return unix.Close(s.fd)
		}
		if err := unix.SetsockoptIPMreqn(s.fd, unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, &unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}); err != nil {
			return fmt.Errorf("underlay: leave %v on interface %d: %w", group, index, err)
		}
	}
	return nil
}

// close leaves all.
func (m *memberships) close() error {
	var errs []error
	for _, s := range m.sockets {
		errs = append(errs, unix.Close(s.fd))
	}
	m.sockets = nil
	return errors.Join(errs...)
}
