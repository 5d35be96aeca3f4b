package underlay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var _ link.HomeLinkHost = (*Host)(nil)

// maxHeard is how many addresses a home link remembers to have heard ARP from. When there are more, those heard before are
// forgotten.
const maxHeard = 4096

// arpBuffer is the size in octets that is asked for the receive buffer of ARP: some thousand requests.
const arpBuffer = 1 << 20

// homeLink is a packet socket for ARP on one interface, which answers in the place of the kernel for what is intercepted. The
// kernel answers for the host's own addresses only: the routes of what is intercepted do not have it answer (proxy_arp, off by
// default, would make it say the same).
type homeLink struct {
	*socket
	host     *Host
	index    int
	device   string // empty: nothing is routed
	hardware packet.HardwareAddr

	mu          sync.Mutex
	intercepted map[netip.Addr]bool
	heard       map[netip.Addr]packet.HardwareAddr
	groups      memberships
}

// OpenHomeLink implements link.HomeLinkHost.
func (h *Host) OpenHomeLink(index int, device string) (hl link.HomeLink, err error) {
	err = h.in(func() error {
		l, err := openHomeLink(h, index, device)
		if err == nil {
			hl = l
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("underlay: open home link on interface %d: %w", index, err)
	}
	return hl, nil
}

func openHomeLink(h *Host, index int, device string) (*homeLink, error) {
	l := &homeLink{host: h, index: index, device: device, intercepted: make(map[netip.Addr]bool), heard: make(map[netip.Addr]packet.HardwareAddr)}
	i, err := netlink.LinkByIndex(index)
	if err != nil {
		return nil, err
	}
	if n := copy(l.hardware[:], i.Attrs().HardwareAddr); n != len(l.hardware) || len(i.Attrs().HardwareAddr) != n {
		return nil, fmt.Errorf("interface %s has a link-layer address of %d octets, expected Ethernet's %d", i.Attrs().Name, len(i.Attrs().HardwareAddr), len(l.hardware))
	}
	if l.socket, err = newSocket(unix.AF_PACKET, unix.SOCK_DGRAM, 0, h.opts.mark(link.Protected)); err != nil {
		return nil, err
	}
	l.setBuffers(arpBuffer, arpBuffer)
	err = l.control(func(fd int) error {
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: index})
	})
	if err == nil && device != "" {
		err = h.network.SetHomeDevice(device)
	}
	if err != nil {
		l.discard()
		return nil, err
	}
	l.start(l.receive)
	return l, nil
}

// networkOrder returns v as the kernel wants an EtherType in sockaddr_ll.
func networkOrder(v uint16) uint16 {
	var p [2]byte
	binary.BigEndian.PutUint16(p[:], v)
	return binary.NativeEndian.Uint16(p[:])
}

func (l *homeLink) Hardware() packet.HardwareAddr { return l.hardware }

func (l *homeLink) Intercept(home netip.Addr) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	if l.device != "" {
		if err := l.host.in(func() error { return l.host.network.RouteHome(home) }); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intercepted[home] = true
	return nil
}

func (l *homeLink) Release(home netip.Addr) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	l.mu.Lock()
	delete(l.intercepted, home)
	l.mu.Unlock()
	if l.device == "" {
		return nil
	}
	return l.host.in(func() error { return l.host.network.UnrouteHome(home) })
}

func (l *homeLink) Announce(home netip.Addr, hardware packet.HardwareAddr) error {
	return l.send(packet.GratuitousARP(home, hardware), packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

func (l *homeLink) Heard(home netip.Addr) (packet.HardwareAddr, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hw, ok := l.heard[home]
	return hw, ok
}

func (l *homeLink) Forget(home netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.heard, home)
}

func (l *homeLink) Join(group netip.Addr) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.host.in(func() error { return l.groups.join(l.index, group) })
}

func (l *homeLink) Leave(group netip.Addr) error {
	if l.closed.Load() {
		return net.ErrClosed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.groups.leave(l.index, group)
}

func (l *homeLink) Close() error {
	err := l.close()
	l.mu.Lock()
	err = errors.Join(err, l.groups.close())
	l.mu.Unlock()
	if l.device == "" {
		return err
	}
	return errors.Join(err, l.host.in(func() error { return l.host.network.SetHomeDevice("") }))
}

// send sends one message to a link-layer address.
func (l *homeLink) send(m packet.ARP, to packet.HardwareAddr) error {
	sa := &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ARP), Ifindex: l.index, Halen: uint8(len(to))}
	copy(sa.Addr[:], to[:])
	if err := l.control(func(fd int) error { return unix.Sendto(fd, m.Append(nil), 0, sa) }); err != nil {
		return fmt.Errorf("underlay: send ARP on interface %d: %w", l.index, err)
	}
	return nil
}

// receive reads ARP messages until the socket is closed.
func (l *homeLink) receive() {
	buf := make([]byte, 256)
	for {
		var n int
		var from unix.Sockaddr
		var errno error
		err := l.conn.Read(func(fd uintptr) bool {
			n, from, errno = unix.Recvfrom(int(fd), buf, 0)
			return errno != unix.EAGAIN
		})
		if err != nil || l.closed.Load() {
			return
		}
		if errno != nil {
			if end(errno) {
				return
			}
			continue // the interface is down for a while
		}
		if sa, ok := from.(*unix.SockaddrLinklayer); !ok || sa.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if m, err := packet.ParseARP(buf[:n]); err == nil {
			l.take(m)
		}
	}
}

// end reports whether an error ends a socket, as receiveCall.wait has it.
func end(err error) bool {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return true
	}
	switch errno {
	case unix.EBADF, unix.EFAULT, unix.EINVAL, unix.ENOTSOCK, unix.ENOSYS:
		return true
	}
	return false
}

// take notes who sends a message and answers a request for an intercepted address. A gratuitous one asks for nothing; it is the
// mobile node's own when it comes home (RFC 5944 §4.6).
func (l *homeLink) take(m packet.ARP) {
	if m.SenderHardware == l.hardware {
		return
	}
	l.mu.Lock()
	if m.Sender.IsValid() && !m.Sender.IsUnspecified() {
		if _, known := l.heard[m.Sender]; !known && len(l.heard) >= maxHeard {
			clear(l.heard)
		}
		l.heard[m.Sender] = m.SenderHardware
	}
	answer := m.Operation == packet.ARPRequest && !m.Gratuitous() && l.intercepted[m.Target]
	l.mu.Unlock()
	if answer {
		_ = l.send(m.Answer(l.hardware), m.SenderHardware) // asked again if it gets lost
	}
}
