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

// passed reads until a frame holds the sentinel and reports whether one before it held the probe.
func (tp *tap) passed(t *testing.T, probe, sentinel string) (yes bool) {
	t.Helper()
	p := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(tp.fd, p, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			t.Fatalf("wait for %q on the wire: %v", sentinel, err)
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

// sendFrame sends an IPv4 packet in an Ethernet frame to hw from a packet socket, which calls it protocol.
func sendFrame(name string, hw net.HardwareAddr, protocol uint16, mark uint32, ip []byte) error {
	fd, err := packetSocket(name, protocol, mark)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	frame := append(append([]byte(nil), hw...), 2, 0, 0, 0, 0, 9, 0x08, 0x00)
	_, err = unix.Write(fd, append(frame, ip...))
	return err
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

// sendUDP sends a datagram as an application does; sport 0 is any, an empty name any interface.
func sendUDP(name string, dst netip.Addr, sport, dport uint16, mark uint32, payload string) error {
	family, to := unix.AF_INET, unix.Sockaddr(nil)
	if dst.Is4() {
		to = &unix.SockaddrInet4{Port: int(dport), Addr: dst.As4()}
	} else {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(dport), Addr: dst.As16()}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(mark)); err != nil {
		return err
	}
	if name != "" {
		if err := unix.BindToDevice(fd, name); err != nil {
			return err
		}
	}
	if sport != 0 {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: int(sport)}); err != nil {
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
