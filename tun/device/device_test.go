//go:build linux

package device

import (
	"bytes"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

var (
	local  = netip.MustParseAddr("10.0.8.100")
	remote = netip.MustParseAddr("10.0.1.20")
)

// newDevice makes a device in a namespace of its own, up, with a route of everything into it.
func newDevice(t testing.TB) (*os.File, *Device, *packet.Drops) {
	t.Helper()
	ns := netnstest.New(t)
	drops := new(packet.Drops)
	var d *Device
	netnstest.Inside(t, ns, func() (err error) {
		if d, err = Open("mip0", 1380, drops); err != nil {
			return err
		}
		// A device that comes up sends IPv6 router solicitations, which are none of the test's.
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/mip0/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := netnstest.SetUp("mip0", netip.PrefixFrom(local, 32)); err != nil {
			return err
		}
		l, err := netlink.LinkByName("mip0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(netip.MustParsePrefix("0.0.0.0/0"))})
	})
	t.Cleanup(func() { d.Close() })
	return ns, d, drops
}

// connect returns a socket of the namespace connected to remote.
func connect(t testing.TB, ns *os.File, typ int, port int) (fd int) {
	t.Helper()
	netnstest.Inside(t, ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: remote.As4()})
	})
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestOpenSetsMTU(t *testing.T) {
	ns, d, _ := newDevice(t)
	if d.Name() != "mip0" {
		t.Errorf("name %q, want mip0", d.Name())
	}
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("mip0")
		if err == nil && l.Attrs().MTU != 1380 {
			t.Errorf("MTU %d, want 1380", l.Attrs().MTU)
		}
		return err
	})
	netnstest.Inside(t, ns, func() error {
		if second, err := Open("mip0", 1380, nil); err == nil {
			second.Close()
			t.Error("a device of the same name was opened again")
		}
		if long, err := Open("a-name-too-long-for-linux", 1380, nil); err == nil {
			long.Close()
			t.Error("a name of 25 octets was taken")
		}
		return nil
	})
}

// A datagram train sent with UDP_SEGMENT comes in one superpacket, which cuts into the datagrams that were meant.
func TestReadSuperpacket(t *testing.T) {
	ns, d, drops := newDevice(t)
	fd := connect(t, ns, unix.SOCK_DGRAM, 5000)
	data := make([]byte, 30*1000+17)
	for i := range data {
		data[i] = byte(i * 11)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1000); err != nil {
		t.Skipf("needs UDP_SEGMENT: %v", err)
	}
	if _, err := unix.Write(fd, data); err != nil {
		t.Fatal(err)
	}
	b := packet.GetBatch()
	if err := d.Read(b); err != nil {
		t.Fatal(err)
	}
	if b.Len() != 1 || !b.Bufs[0].Super() || b.Segments() != 31 {
		t.Fatalf("%d packets of %d segments were read, want one of 31", b.Len(), b.Segments())
	}
	b.Cut()
	var got []byte
	for i, p := range b.Bufs {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() || ip.Src() != local || ip.Dst() != remote {
			t.Fatalf("packet %d begins % x", i, p.Bytes()[:20])
		}
		udp := packet.UDP(ip.Payload())
		if !udp.Valid() || udp.Checksum() == 0 || !udp.ChecksumOK(local, remote) || len(udp.Payload()) != min(1000, len(data)-1000*i) {
			t.Fatalf("datagram %d of %d octets has the header % x", i, len(udp), udp[:8])
		}
		got = append(got, udp.Payload()...)
	}
	if !bytes.Equal(got, data) {
		t.Error("the datagrams do not make up what was sent")
	}
	if m := drops.Snapshot(); len(m) != 0 {
		t.Errorf("drops %v", m)
	}
}

// A datagram longer than the MTU comes in fragments, whose checksums are the IPv4 headers' only.
func TestReadFragments(t *testing.T) {
	ns, d, _ := newDevice(t)
	fd := connect(t, ns, unix.SOCK_DGRAM, 5000)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fd, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	b := packet.GetBatch()
	for n := 0; n < 3000+packet.UDPLen; {
		if err := d.Read(b); err != nil {
			t.Fatal(err)
		}
		n = 0
		for _, p := range b.Bufs {
			ip := packet.IPv4(p.Bytes())
			if !ip.Valid() || !ip.ChecksumOK() || p.Len() > 1380 {
				t.Fatalf("fragment of %d octets begins % x", p.Len(), p.Bytes()[:20])
			}
			n += len(ip.Payload())
		}
	}
}

// inbound returns datagrams from remote that carry data, size octets in each, the last with the rest.
func inbound(data []byte, size int) *packet.Batch {
	b := packet.GetBatch()
	for off := 0; off < len(data); off += size {
		p := packet.From(data[off:min(off+size, len(data))])
		packet.PushUDP(p, netip.AddrPortFrom(remote, 6000), netip.AddrPortFrom(local, 7000))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: remote, Dst: local})
		b.Append(p)
	}
	return b
}

func TestWrite(t *testing.T) {
	ns, d, drops := newDevice(t)
	var fd int
	netnstest.Inside(t, ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 7000})
	})
	defer unix.Close(fd)
	data := bytes.Repeat([]byte{1, 2, 3, 4, 5}, 1000)
	b := inbound(data, 1300)
	broken := packet.From([]byte{0x15, 0}) // IP version 1: passed over, the rest still written
	b.Bufs = append([]*packet.Buf{broken, packet.GetSmall()}, b.Bufs...)
	if err := d.Write(b); err != nil {
		t.Fatal(err)
	}
	var got []byte
	var p [2000]byte
	for len(got) < len(data) {
		n, err := unix.Read(fd, p[:])
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p[:n]...)
	}
	if !bytes.Equal(got, data) {
		t.Error("the datagrams read differ from those written")
	}
	if n := drops.Of(packet.DropMalformed); n != 2 {
		t.Errorf("%d packets counted as malformed, want 2", n)
	}
}

// TestWriteSuperpackets shows that the host takes a superpacket as its segments, one that has been read among them.
func TestWriteSuperpackets(t *testing.T) {
	ns, d, drops := newDevice(t)
	var fd int
	netnstest.Inside(t, ns, func() (err error) {
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 7000})
	})
	defer unix.Close(fd)
	data := make([]byte, 30*1100+17)
	for i := range data {
		data[i] = byte(i * 13)
	}
	whole := packet.GetLarge()
	copy(whole.Extend(len(data)), data)
	packet.PushUDP(whole, netip.AddrPortFrom(remote, 6000), netip.AddrPortFrom(local, 7000))
	packet.PushIPv4(whole, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: remote, Dst: local})
	if err := whole.MakeSuper(1100); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(packet.One(whole)); err != nil {
		t.Fatal(err)
	}
	if err := d.Write(inbound(data, 1000)); err != nil { // joined
		t.Fatal(err)
	}
	for _, size := range []int{1100, 1000} {
		var p [2000]byte
		for at := 0; at < len(data); at += size {
			n, err := unix.Read(fd, p[:])
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(p[:n], data[at:min(at+size, len(data))]) {
				t.Fatalf("the datagram at octet %d has %d octets, or others than were sent", at, n)
			}
		}
	}
	if m := drops.Snapshot(); len(m) != 0 {
		t.Errorf("drops %v", m)
	}
}

func TestWriteToDeviceThatIsDown(t *testing.T) {
	ns, d, drops := newDevice(t)
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("mip0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	if err := d.Write(inbound(make([]byte, 2000), 1000)); err == nil {
		t.Error("wrote to a device that is down")
	}
	if n := drops.Of(packet.DropSendFailed); n != 2 {
		t.Errorf("%d packets counted as send_failed, want 2", n)
	}
}

// Reading and writing allocate nothing per packet.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random")
	}
	ns, d, _ := newDevice(t)
	fd := connect(t, ns, unix.SOCK_DGRAM, 5000)
	payload := make([]byte, 1000)
	b := packet.GetBatch()
	read := func() {
		if _, err := unix.Write(fd, payload); err != nil {
			t.Fatal(err)
		}
		if err := d.Read(b); err != nil {
			t.Fatal(err)
		}
		for _, p := range b.Bufs {
			p.Release()
		}
		b.Bufs = b.Bufs[:0]
	}
	read()
	if n := testing.AllocsPerRun(200, read); n != 0 {
		t.Errorf("reading allocates %v times a packet, want none", n)
	}
	one := inbound(payload, 1000).Bufs[0].Bytes()
	write := func() {
		p := packet.From(one)
		if err := d.Write(packet.One(p)); err != nil {
			t.Fatal(err)
		}
	}
	write()
	if n := testing.AllocsPerRun(200, write); n != 0 {
		t.Errorf("writing allocates %v times a packet, want none", n)
	}
}
