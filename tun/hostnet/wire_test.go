//go:build linux

package hostnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// Addresses of the tests of the kill switch. The laptop stands on a network that is itself inside the enterprise's prefix,
// as at the office.
var (
	ethHome    = netip.MustParseAddr("198.51.100.100") // the x-HoA: shielded, and not the laptop's own
	enterprise = netip.MustParseAddr("10.0.1.20")
	outside    = netip.MustParseAddr("192.0.2.9")
	guestNet   = netip.MustParsePrefix("172.31.0.1/24")
	guestAddr  = netip.MustParseAddr("172.31.0.2")
)

// tap reads what an interface sends or receives, whatever its type.
type tap struct {
	fd int
}

// newTap opens a tap. It is closed at the test's end.
func newTap(t *testing.T, ns *os.File, name string) *tap {
	t.Helper()
	tp := &tap{}
	netnstest.Inside(t, ns, func() (err error) {
		tp.fd, err = packetSocket(name, unix.ETH_P_ALL, 0)
		if err != nil {
			return err
		}
		return unix.SetsockoptTimeval(tp.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	})
	t.Cleanup(func() { unix.Close(tp.fd) })
	return tp
}

// passed reads until a frame holds the sentinel and reports whether one before it held the probe of that name.
func (tp *tap) passed(t *testing.T, name, probe, sentinel string) (yes bool) {
	t.Helper()
	p := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(tp.fd, p, 0)
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) { // of the time before the interface was up
			continue
		}
		if err != nil {
			t.Fatalf("%s: wait for %q on the wire: %v", name, sentinel, err)
		}
		yes = yes || bytes.Contains(p[:n], []byte(probe))
		if bytes.Contains(p[:n], []byte(sentinel)) {
			return yes
		}
	}
}

// bigEndian returns v as network order has it in memory.
func bigEndian(v uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, v))
}

// packetSocket opens a packet socket on an interface of the calling thread's namespace. Its frames have the type and the mark.
func packetSocket(name string, etherType uint16, mark uint32) (int, error) {
	l, err := net.InterfaceByName(name)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(etherType), Ifindex: l.Index}); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// ipv4 returns a UDP packet.
func ipv4(src, dst netip.Addr, sport, dport uint16, payload string) []byte {
	p := make([]byte, 28, 28+len(payload))
	p = append(p, payload...)
	p[0], p[8], p[9] = 0x45, 64, packet.ProtocolUDP
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:20], 0))
	binary.BigEndian.PutUint16(p[20:], sport)
	binary.BigEndian.PutUint16(p[22:], dport)
	binary.BigEndian.PutUint16(p[24:], uint16(len(p)-20))
	return p
}

// ethernet returns an Ethernet header to hw. Of several types each but the last is followed by two octets, as that of a VLAN.
func ethernet(hw net.HardwareAddr, types ...uint16) []byte {
	p := append(append([]byte(nil), hw...), 2, 0, 0, 0, 0, 9)
	for i, t := range types {
		p = binary.BigEndian.AppendUint16(p, t)
		if i < len(types)-1 {
			p = append(p, 0, 5)
		}
	}
	return p
}

// kind6 is what an IPv6 packet carries.
type kind6 struct {
	protocol     uint8 // UDP or ICMPv6
	hops         uint8
	icmp         byte   // its type
	sport, dport uint16 // in UDP
}

// datagram6 is what applications send.
var datagram6 = kind6{protocol: packet.ProtocolUDP, hops: 64, sport: 9, dport: 67}

// ipv6 returns an IPv6 packet (without a right checksum).
func ipv6(src, dst netip.Addr, kind kind6, payload string) []byte {
	p := make([]byte, 48, 48+len(payload))
	p = append(p, payload...)
	p[0], p[6], p[7] = 0x60, kind.protocol, kind.hops
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	if kind.protocol == unix.IPPROTO_ICMPV6 {
		p[40] = kind.icmp
		return p
	}
	binary.BigEndian.PutUint16(p[40:], kind.sport)
	binary.BigEndian.PutUint16(p[42:], kind.dport)
	binary.BigEndian.PutUint16(p[44:], uint16(len(p)-40))
	return p
}

// sendSocket6 sends such a packet through a socket of an interface.
func sendSocket6(name string, dst netip.Addr, kind kind6, payload string) error {
	typ, message := unix.SOCK_DGRAM, []byte(payload)
	if kind.protocol == unix.IPPROTO_ICMPV6 {
		typ, message = unix.SOCK_RAW, append([]byte{kind.icmp, 0, 0, 0, 0, 0, 0, 0}, payload...)
	}
	l, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, typ|unix.SOCK_CLOEXEC, int(kind.protocol))
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, int(kind.hops)),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, int(kind.hops)),
		unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, l.Index),
	); err != nil {
		return err
	}
	if typ == unix.SOCK_DGRAM {
		if err := unix.Bind(fd, &unix.SockaddrInet6{Port: int(kind.sport)}); err != nil {
			return err
		}
	}
	to := &unix.SockaddrInet6{Port: int(kind.dport), Addr: dst.As16()}
	if dst.IsLinkLocalUnicast() || dst.IsLinkLocalMulticast() {
		to.ZoneId = uint32(l.Index)
	}
	return unix.Sendto(fd, message, 0, to)
}

// sendRaw sends an IPv4 packet as it is through the kernel's IP layer.
func sendRaw(ip []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, ip, 0, &unix.SockaddrInet4{Addr: packet.IPv4(ip).Dst().As4()})
}

// sendUDP sends a datagram as an application does; sport 0 is any, an empty name any interface, the zero source any address.
func sendUDP(name string, src, dst netip.Addr, sport, dport uint16, mark uint32, payload string) error {
	family, to, from := unix.AF_INET, unix.Sockaddr(nil), unix.Sockaddr(nil)
	if dst.Is4() {
		local := &unix.SockaddrInet4{Port: int(sport)}
		if src.IsValid() {
			local.Addr = src.As4()
		}
		to, from = &unix.SockaddrInet4{Port: int(dport), Addr: dst.As4()}, local
	} else {
		local := &unix.SockaddrInet6{Port: int(sport)}
		if src.IsValid() {
			local.Addr = src.As16()
		}
		family, to, from = unix.AF_INET6, &unix.SockaddrInet6{Port: int(dport), Addr: dst.As16()}, local
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
	); err != nil {
		return err
	}
	if name != "" {
		if err := unix.BindToDevice(fd, name); err != nil {
			return err
		}
	}
	if sport != 0 || src.IsValid() {
		if err := unix.Bind(fd, from); err != nil {
			return err
		}
	}
	return unix.Sendto(fd, []byte(payload), 0, to)
}

// neighbour gives the interface a permanent neighbour, so that no packet waits for ARP.
func neighbour(name string, addr netip.Addr, hw net.HardwareAddr) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	return netlink.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT, IP: addr.AsSlice(), HardwareAddr: hw,
	})
}

// hardware returns the link-layer address of an interface.
func hardware(t *testing.T, ns *os.File, name string) (hw net.HardwareAddr) {
	t.Helper()
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		hw = l.Attrs().HardwareAddr
		return nil
	})
	return hw
}

// awaitCarrier waits until the kernel has taken note that the other end of a wire is up: until then it drops what is sent.
func awaitCarrier(t *testing.T, ns *os.File, name string) {
	t.Helper()
	netnstest.Inside(t, ns, func() error {
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
			l, err := netlink.LinkByName(name)
			if err != nil || l.Attrs().OperState == netlink.OperUp {
				return err
			}
		}
		return fmt.Errorf("%s has no carrier", name)
	})
}
