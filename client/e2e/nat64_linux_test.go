package e2e

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"mipvpn/detect/nat64"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// translator is a stateful NAT64 (RFC 6146, as far as UDP and TCP go; RFC 7915 headers; no fragments) behind a TUN device of a
// namespace.
type translator struct {
	prefix netip.Prefix
	pool   netip.Addr
	device *os.File
	out    map[inside64]uint16
	in     map[outside64]inside64
}

type inside64 struct {
	protocol uint8
	at       netip.AddrPort
}

type outside64 struct {
	protocol uint8
	port     uint16
}

// startNAT64 makes the device with the routes to it and translates until the test ends.
func startNAT64(t *testing.T, ns *os.File, prefix netip.Prefix, pool netip.Addr) {
	t.Helper()
	n := &translator{prefix: prefix, pool: pool, out: make(map[inside64]uint16), in: make(map[outside64]inside64)}
	netnstest.Inside(t, ns, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		request, err := unix.NewIfreq("nat64")
		if err != nil {
			return err
		}
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
			return err
		}
		n.device = os.NewFile(uintptr(fd), "nat64")
		if err := netnstest.SetUp("nat64", netip.Prefix{}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("nat64")
		if err != nil {
			return err
		}
		for _, p := range []netip.Prefix{prefix, netip.PrefixFrom(pool, 32)} {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(p), Scope: netlink.SCOPE_LINK}); err != nil {
				return err
			}
		}
		return nil
	})
	var running sync.WaitGroup
	running.Go(n.run)
	t.Cleanup(func() { n.device.Close(); running.Wait() })
}

func (n *translator) run() {
	buf := make([]byte, 65536)
	for {
		size, err := n.device.Read(buf)
		if err != nil {
			return
		}
		p := buf[:size]
		var to []byte
		switch {
		case len(p) >= 48 && p[0]>>4 == 6:
			to = n.outward(p)
		case len(p) >= 28 && p[0] == 0x45:
			to = n.inward(p)
		}
		if to != nil {
			_, _ = n.device.Write(to)
		}
	}
}

// outward makes an IPv4 packet of an IPv6 one, nil where it cannot.
func (n *translator) outward(p []byte) []byte {
	protocol, src := p[6], netip.AddrFrom16([16]byte(p[8:24]))
	dst, ok := nat64.Extract(n.prefix, netip.AddrFrom16([16]byte(p[24:40])))
	if !ok || protocol != packet.ProtocolUDP && protocol != packet.ProtocolTCP {
		return nil
	}
	from := inside64{protocol, netip.AddrPortFrom(src, binary.BigEndian.Uint16(p[40:]))}
	port, known := n.out[from]
	if !known {
		port = uint16(20000 + len(n.out))
		n.out[from], n.in[outside64{protocol, port}] = port, from
	}
	q := make([]byte, 20, len(p)-20)
	q[0], q[1] = 0x45, p[0]<<4|p[1]>>4
	binary.BigEndian.PutUint16(q[2:], uint16(len(p)-20))
	q[6], q[8], q[9] = 0x40, p[7]-1, protocol
	copy(q[12:], n.pool.AsSlice())
	copy(q[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(q[10:], packet.Checksum(q, 0))
	q = append(q, p[40:]...)
	binary.BigEndian.PutUint16(q[20:], port)
	sum(q[20:], protocol, q[12:20])
	return q
}

// inward is the other way.
func (n *translator) inward(p []byte) []byte {
	to, known := n.in[outside64{p[9], binary.BigEndian.Uint16(p[22:])}]
	src, err := nat64.Embed(n.prefix, netip.AddrFrom4([4]byte(p[12:16])))
	if !known || err != nil || binary.BigEndian.Uint16(p[6:])&0x3fff != 0 {
		return nil
	}
	q := make([]byte, 40, len(p)+20)
	q[0], q[1] = 0x60|p[1]>>4, p[1]<<4
	binary.BigEndian.PutUint16(q[4:], uint16(len(p)-20))
	q[6], q[7] = p[9], p[8]-1
	copy(q[8:], src.AsSlice())
	copy(q[24:], to.at.Addr().AsSlice())
	q = append(q, p[20:]...)
	binary.BigEndian.PutUint16(q[42:], to.at.Port())
	sum(q[40:], p[9], q[8:40])
	return q
}

// sum writes the checksum of a UDP datagram or TCP segment between the addresses.
func sum(segment []byte, protocol uint8, addresses []byte) {
	at := 6
	if protocol == packet.ProtocolTCP {
		at = 16
	}
	segment[at], segment[at+1] = 0, 0
	pseudo := append(append([]byte{}, addresses...), 0, 0, byte(len(segment)>>8), byte(len(segment)), 0, 0, 0, protocol)
	c := packet.Checksum(append(pseudo, segment...), 0)
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(segment[at:], c)
}

// serveDNS64 is the name server of the network: gateway.corp.example has an IPv4 address alone, and ipv4only.arpa one behind the
// prefix.
func serveDNS64(t *testing.T, ns *os.File, at netip.Addr, prefix netip.Prefix) {
	t.Helper()
	var conn net.PacketConn
	netnstest.Inside(t, ns, func() (err error) {
		conn, err = net.ListenPacket("udp6", netip.AddrPortFrom(at, 53).String())
		return err
	})
	t.Cleanup(func() { conn.Close() })
	made, err := nat64.Embed(prefix, netip.MustParseAddr("192.0.0.170"))
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		p := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(p)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(p[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response = true
			if q := m.Questions[0]; q.Type == dnsmessage.TypeAAAA && len(q.Name.String()) == len(nat64.Name) {
				m.Answers = append(m.Answers, dnsmessage.Resource{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: &dnsmessage.AAAAResource{AAAA: made.As16()},
				})
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(reply, from)
			}
		}
	}()
}
