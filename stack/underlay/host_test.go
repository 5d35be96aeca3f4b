//go:build linux

package underlay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	homeA = netip.MustParseAddr("10.0.8.100") // the shielded home address of A
	homeB = netip.MustParseAddr("10.0.8.101")
	homes = netip.MustParsePrefix("10.0.8.0/24")
)

// openDevice makes a TUN device on the host with its address and the homes routed into it.
func openDevice(t testing.TB, h *Host, addr netip.Addr) link.Device {
	t.Helper()
	dev, err := h.OpenDevice("mip0", 1380)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	err = h.Apply(link.Settings{
		Device: dev.Name(), Address: addr, MTU: 1380, Routes: []netip.Prefix{homes, netip.MustParsePrefix("10.1.0.0/16")},
		Shielded: []netip.Addr{addr},
	})
	if err != nil {
		t.Fatal(err)
	}
	return dev
}

// carry sends what the device yields into the path, and ends with the device.
func carry(dev link.Device, path link.Path) {
	for {
		b := packet.GetBatch()
		if err := dev.Read(b); err != nil {
			b.Release()
			return
		}
		path.Send(b)
	}
}

// tunnel joins the two hosts' devices by flows of a protocol over the wire between them.
func tunnel(t testing.TB, p *pair, spec link.FlowSpec) {
	t.Helper()
	for _, end := range []struct {
		host   *Host
		index  int
		local  netip.Addr
		home   netip.Addr
		remote netip.Addr
	}{{p.a, p.indexA, addrA.Addr(), homeA, addrB.Addr()}, {p.b, p.indexB, addrB.Addr(), homeB, addrA.Addr()}} {
		dev := openDevice(t, end.host, end.home)
		l, err := end.host.Underlay(end.index, end.local)
		if err != nil {
			t.Fatal(err)
		}
		spec := spec
		spec.Remote = netip.AddrPortFrom(end.remote, spec.Port)
		f := open(t, l, spec, func(b *packet.Batch) { dev.Write(b) })
		done := make(chan struct{})
		go func() {
			defer close(done)
			carry(dev, f.Path(link.Plaintext))
		}()
		t.Cleanup(func() { dev.Close(); <-done })
	}
}

// The kernels' TCP from TUN to TUN: superpackets are cut on the way in, segmentation and receive offload work on the way
// between. The routes into the device cover the wire's own network: only the marks keep the tunnel out of itself.
//
// Shows: HST-1 (own traffic kept out of the tunnel by mark and table)
func TestTCPThroughDevices(t *testing.T) {
	for _, spec := range []link.FlowSpec{{Protocol: packet.ProtocolUDP, Port: 4500}, {Protocol: packet.ProtocolIPIP}} {
		t.Run(fmt.Sprint("protocol ", spec.Protocol), func(t *testing.T) {
			p := newPair(t)
			tunnel(t, p, spec)
			data := bytes.Repeat([]byte("jackdaws love my big sphinx of quartz. "), 50000)
			if got := sendTCP(t, p, netip.AddrPortFrom(homeB, 7000), data); !bytes.Equal(got, data) {
				t.Errorf("%d octets of %d arrived, or others", len(got), len(data))
			}
			for name, drops := range map[string]*packet.Drops{"A": p.a.opts.Drops, "B": p.b.opts.Drops} {
				if n := drops.Of(packet.DropMalformed); n != 0 {
					t.Errorf("%s counted %d malformed packets", name, n)
				}
			}
		})
	}
}

// Shows: HST-1
func TestRoutesAndMarks(t *testing.T) {
	p := newPair(t)
	dev := openDevice(t, p.a, homeA)
	atB := newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, atB.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, newInbox().receive)
	// What an application sends to an address within the routes comes out of the device, from the home address.
	netnstest.Inside(t, p.nsA, func() error { return sendUDP(server.Local(), "application") })
	batch := packet.GetBatch()
	if err := dev.Read(batch); err != nil {
		t.Fatal(err)
	}
	ip := packet.IPv4(batch.Bufs[0].Bytes())
	if !ip.Valid() || ip.Src() != homeA || ip.Dst() != addrB.Addr() || ip.Protocol() != packet.ProtocolUDP {
		t.Fatalf("out of the device came % x", []byte(ip))
	}
	if udp := packet.UDP(ip.Payload()); !udp.Valid() || !udp.ChecksumOK(ip.Src(), ip.Dst()) || udp.Checksum() == 0 || string(udp.Payload()) != "application" {
		t.Errorf("out of the device came UDP % x", []byte(udp))
	}
	batch.Release()
	// What a flow sends to the same address goes by the wire, with the mark of its class.
	for _, c := range []link.Class{link.Protected, link.Plaintext} {
		count := countMarked(t, p.nsA, p.a.opts.mark(c))
		if err := client.Path(c).Send(packet.One(numbered(0, 100))); err != nil {
			t.Fatal(err)
		}
		checkNumbered(t, atB.take(t, 1), []int{100})
		if n := count(); n != 1 {
			t.Errorf("%d packets carried the mark of %v, want 1", n, c)
		}
	}
}

// sendUDP sends a datagram from the calling thread, as an application would.
func sendUDP(to netip.AddrPort, payload string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte(payload), 0, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

// countMarked makes the namespace count packets that leave with a mark, and returns how to read the counter.
func countMarked(t *testing.T, ns *os.File, mark uint32) func() uint64 {
	t.Helper()
	table := &nftables.Table{Name: fmt.Sprintf("count%x", mark), Family: nftables.TableFamilyIPv4}
	chain := &nftables.Chain{Name: "out", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityLast}
	netnstest.Inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.AddTable(table)
		c.AddChain(chain)
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.NativeEndian.AppendUint32(nil, mark)},
			&expr.Counter{},
		}})
		return c.Flush()
	})
	return func() (n uint64) {
		netnstest.Inside(t, ns, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			rules, err := c.GetRules(table, chain)
			if err != nil {
				return err
			}
			for _, e := range rules[0].Exprs {
				if counter, ok := e.(*expr.Counter); ok {
					n = counter.Packets
				}
			}
			return nil
		})
		return n
	}
}

// A packet for the home address that arrives on a physical interface reaches no socket of the kernel's and is not
// answered, while Frames sees it. The same packet written to the device reaches the socket.
func TestShieldedAddressIsNotDelivered(t *testing.T) {
	p := newPair(t)
	dev := openDevice(t, p.a, homeA)
	var socket *os.File
	netnstest.Inside(t, p.nsA, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		socket = os.NewFile(uintptr(fd), "udp")
		return unix.Bind(fd, &unix.SockaddrInet4{Port: 9000})
	})
	defer socket.Close()
	pc, err := net.FilePacketConn(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()

	atA := newInbox()
	frA := openTestFrames(t, p.a, p.indexA, atA.receive)
	frB := openTestFrames(t, p.b, p.indexB, newInbox().receive)
	src := netip.AddrPortFrom(addrB.Addr(), 1234)
	send := func(dst netip.Addr, payload string) {
		q := udpPacket(src, netip.AddrPortFrom(dst, 9000), payload)
		q.Hardware = frA.Hardware()
		if err := frB.Out(link.Protected).Send(packet.One(q)); err != nil {
			t.Fatal(err)
		}
		if got := atA.take(t, 1)[0].Bytes(); !bytes.HasSuffix(got, []byte(payload)) {
			t.Fatalf("frames received %q, want %q", got, payload)
		}
	}
	receive := func() string {
		var p [64]byte
		n, _, err := pc.ReadFrom(p[:])
		if err != nil {
			t.Fatal(err)
		}
		return string(p[:n])
	}
	send(homeA, "past the gate")
	send(addrA.Addr(), "to the interface") // sent after, so that it arrives after
	if got := receive(); got != "to the interface" {
		t.Errorf("socket received %q, want what was sent to the interface's own address", got)
	}
	if err := dev.Write(packet.One(udpPacket(src, netip.AddrPortFrom(homeA, 9000), "by the device"))); err != nil {
		t.Fatal(err)
	}
	if got := receive(); got != "by the device" {
		t.Errorf("socket received %q, want what was written to the device", got)
	}
}

// The kernel answers ARP for the interface's address but not for the home address (RFC 5944 §5.7 away from home).
func TestNoARPForHomeAddress(t *testing.T) {
	p := newPair(t)
	openDevice(t, p.a, homeA)
	var answers chan netip.Addr
	var arp *os.File
	netnstest.Inside(t, p.nsB, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		arp = os.NewFile(uintptr(fd), "arp")
		typ := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ARP >> 8, unix.ETH_P_ARP & 0xff})
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: typ, Ifindex: p.indexB})
	})
	defer arp.Close()
	frB := openTestFrames(t, p.b, p.indexB, newInbox().receive)
	answers = make(chan netip.Addr, 16)
	go func() {
		var q [128]byte
		for {
			n, err := arp.Read(q[:])
			if err != nil {
				return
			}
			if n >= 42 && q[21] == 2 { // RFC 826: operation reply
				answers <- netip.AddrFrom4([4]byte(q[28:32]))
			}
		}
	}()
	for _, target := range []netip.Addr{homeA, addrA.Addr()} {
		hw := frB.Hardware()
		q := bytes.Repeat([]byte{0xff}, 6)
		q = append(q, hw[:]...)
		q = append(q, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		q = append(append(q, hw[:]...), addrB.Addr().AsSlice()...)
		q = append(append(q, 0, 0, 0, 0, 0, 0), target.AsSlice()...)
		if _, err := arp.Write(q); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-answers; got != addrA.Addr() { // requests are answered in the order in which they arrive
		t.Errorf("first ARP answer is for %v, want %v only", got, addrA.Addr())
	}
}

func TestDeviceClose(t *testing.T) {
	h := newHost(t, netnstest.New(t))
	dev, err := h.OpenDevice("", 1400)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- dev.Read(packet.GetBatch()) }()
	if err := dev.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after close: %v, want net.ErrClosed", err)
	}
	if err := dev.Write(packet.One(packet.From(make([]byte, 20)))); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after close: %v, want net.ErrClosed", err)
	}
}

func TestInterfacesAndWatch(t *testing.T) {
	p := newPair(t)
	openDevice(t, p.a, homeA)
	list, err := p.a.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Name != "eth0" || list[0].Address != addrA || !list[0].Up {
		t.Fatalf("interfaces %+v, want eth0 alone, up, with %v", list, addrA)
	}
	hints := make(chan struct{}, 100)
	stop, err := p.a.Watch(func() { hints <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	netnstest.Inside(t, p.nsB, func() error { // pull the plug at the other end
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.LinkSetDown(l)
	})
	for {
		<-hints
		if list, err = p.a.Interfaces(); err != nil {
			t.Fatal(err)
		}
		if len(list) == 1 && !list[0].Up {
			return
		}
	}
}

// BenchmarkTCPThroughDevices sends a TCP stream from TUN to TUN, over flows without encryption.
func BenchmarkTCPThroughDevices(b *testing.B) {
	for _, spec := range []link.FlowSpec{{Protocol: packet.ProtocolUDP, Port: 4500}, {Protocol: packet.ProtocolIPIP}} {
		b.Run(fmt.Sprint("protocol ", spec.Protocol), func(b *testing.B) {
			p := newPair(b)
			tunnel(b, p, spec)
			data := make([]byte, 1<<20)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			b.StopTimer()
			client, done := startTCP(b, p, netip.AddrPortFrom(homeB, 7000))
			b.StartTimer()
			for range b.N {
				if _, err := client.Write(data); err != nil {
					b.Fatal(err)
				}
			}
			client.Close()
			if n := <-done; n != int64(b.N*len(data)) {
				b.Fatalf("%d octets arrived of %d", n, b.N*len(data))
			}
		})
	}
}

// startTCP connects A to B and counts what B receives.
func startTCP(t testing.TB, p *pair, to netip.AddrPort) (client net.Conn, done chan int64) {
	t.Helper()
	var listener net.Listener
	netnstest.Inside(t, p.nsB, func() (err error) {
		listener, err = net.Listen("tcp4", to.String())
		return err
	})
	done = make(chan int64, 1)
	go func() {
		defer listener.Close()
		c, err := listener.Accept()
		if err != nil {
			done <- -1
			return
		}
		defer c.Close()
		n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		if err != nil {
			n = -1
		}
		done <- n
	}()
	netnstest.Inside(t, p.nsA, func() (err error) {
		client, err = dialTCP(to)
		return err
	})
	return client, done
}
