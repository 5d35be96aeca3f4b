//go:build linux

package underlay

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
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// inbox is a Receiver that keeps what arrives for the test to take.
type inbox chan *packet.Batch

func newInbox() inbox { return make(inbox, 1<<16) }

func (c inbox) receive(b *packet.Batch) { c <- b }

// patience is how long a test waits for packets that never come before it says so.
const patience = 30 * time.Second

// take waits for n packets and returns them.
func (c inbox) take(t testing.TB, n int) []*packet.Buf {
	t.Helper()
	lost := time.NewTimer(patience)
	defer lost.Stop()
	var all []*packet.Buf
	for len(all) < n {
		select {
		case b := <-c:
			all = append(all, b.Bufs...)
		case <-lost.C:
			t.Fatalf("%d packets of %d have arrived", len(all), n)
		}
	}
	return all
}

// numbered returns a packet of n octets that begins with i and is filled with a pattern of it.
func numbered(i, n int) *packet.Buf {
	b := packet.Get(n)
	p := b.Extend(n)
	for k := range p {
		p[k] = byte(i + k)
	}
	binary.BigEndian.PutUint32(p, uint32(i))
	return b
}

// checkNumbered fails unless the packets are those of numbered with these lengths, in order.
func checkNumbered(t *testing.T, got []*packet.Buf, lengths []int) {
	t.Helper()
	if len(got) != len(lengths) {
		t.Fatalf("%d packets, want %d", len(got), len(lengths))
	}
	for i, b := range got {
		want := numbered(i, lengths[i])
		if !bytes.Equal(b.Bytes(), want.Bytes()) {
			t.Fatalf("packet %d: %d octets %.16x..., want %d octets %.16x...", i, b.Len(), b.Bytes(), want.Len(), want.Bytes())
		}
		want.Release()
	}
}

var (
	addrA = netip.MustParsePrefix("10.1.0.1/24")
	addrB = netip.MustParsePrefix("10.1.0.2/24")
)

// pair is two hosts joined by a wire.
type pair struct {
	nsA, nsB *os.File
	a, b     *Host
	linkA    link.Link // bound to the interface
	linkB    link.Link // bound to the address only
	indexA   int
	indexB   int
}

// newHost returns a Host in the namespace, closed at the test's end.
func newHost(t testing.TB, ns *os.File) *Host {
	t.Helper()
	h, err := NewHost(Options{Namespace: ns, Drops: new(packet.Drops)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// neighbours makes the interface at the other end known for good by its address: the kernel keeps some hundred packets
// only while it asks by ARP, which on a busy machine takes longer than sending them.
func neighbours(t testing.TB, at, other *os.File, addr netip.Addr) {
	t.Helper()
	var hw net.HardwareAddr
	netnstest.Inside(t, other, func() error {
		l, err := netlink.LinkByName("eth0")
		if err == nil {
			hw = l.Attrs().HardwareAddr
		}
		return err
	})
	netnstest.Inside(t, at, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V4, State: unix.NUD_PERMANENT,
			IP: addr.AsSlice(), HardwareAddr: hw})
	})
}

func newPair(t testing.TB) *pair {
	p := &pair{nsA: netnstest.New(t), nsB: netnstest.New(t)}
	netnstest.Wire(t, p.nsA, "eth0", addrA, p.nsB, "eth0", addrB)
	neighbours(t, p.nsA, p.nsB, addrB.Addr())
	neighbours(t, p.nsB, p.nsA, addrA.Addr())
	p.a, p.b = newHost(t, p.nsA), newHost(t, p.nsB)
	p.indexA, p.indexB = netnstest.Index(t, p.nsA, "eth0"), netnstest.Index(t, p.nsB, "eth0")
	var err error
	if p.linkA, err = p.a.Underlay(p.indexA, addrA.Addr()); err != nil {
		t.Fatal(err)
	}
	if p.linkB, err = p.b.Underlay(0, addrB.Addr()); err != nil {
		t.Fatal(err)
	}
	return p
}

func open(t testing.TB, l link.Link, spec link.FlowSpec, recv link.Receiver) link.Flow {
	t.Helper()
	f, err := l.Open(spec, recv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestUDPFlow(t *testing.T) {
	p := newPair(t)
	atA, atB := newInbox(), newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, atB.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, atA.receive)
	if err := client.Send(netip.AddrPort{}, []byte("request")); err != nil {
		t.Fatal(err)
	}
	got := atB.take(t, 1)[0]
	if string(got.Bytes()) != "request" || got.Peer != client.Local() || got.Interface != p.indexB || got.TOS != 0 {
		t.Fatalf("server received %q from %v on interface %d with TOS %#x, want \"request\" from %v on %d with 0",
			got.Bytes(), got.Peer, got.Interface, got.TOS, client.Local(), p.indexB)
	}
	reply := packet.From([]byte("reply"))
	reply.Peer, reply.TOS = got.Peer, 0xba // EF with ECT(0)
	if err := server.Path(link.Protected).Send(packet.One(reply)); err != nil {
		t.Fatal(err)
	}
	got = atA.take(t, 1)[0]
	if string(got.Bytes()) != "reply" || got.Peer != server.Local() || got.TOS != 0xba || got.Interface != p.indexA {
		t.Fatalf("client received %q from %v on interface %d with TOS %#x", got.Bytes(), got.Peer, got.Interface, got.TOS)
	}
}

func TestUDPTrainsArriveWhole(t *testing.T) {
	for _, gso := range []bool{true, false} {
		t.Run(fmt.Sprintf("gso=%t", gso), func(t *testing.T) {
			p := newPair(t)
			atB := newInbox()
			server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500}, atB.receive)
			client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, newInbox().receive)
			if !gso {
				client.(*flow).gso.Store(false)
			}
			var lengths []int
			for i := range 600 {
				n := 1400
				switch {
				case i%97 == 5:
					n = 100 // ends a train
				case i > 300 && i < 340:
					n = 1473 + i // longer than the link carries in one piece
				case i > 500:
					n = 60
				}
				lengths = append(lengths, n)
			}
			batch := packet.GetBatch()
			for i, n := range lengths {
				batch.Append(numbered(i, n))
			}
			if err := client.Path(link.Protected).Send(batch); err != nil {
				t.Fatal(err)
			}
			checkNumbered(t, atB.take(t, len(lengths)), lengths)
			if client.(*flow).gso.Load() != gso {
				t.Errorf("segmentation offload is %t afterwards, want %t", !gso, gso)
			}
		})
	}
}

func TestFlowHearsItsRemoteOnly(t *testing.T) {
	p := newPair(t)
	atA := newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, newInbox().receive)
	stranger := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 435}, newInbox().receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, atA.receive)
	if err := stranger.Send(client.Local(), []byte("stranger")); err != nil {
		t.Fatal(err)
	}
	if err := server.Send(client.Local(), []byte("remote")); err != nil {
		t.Fatal(err)
	}
	if got := atA.take(t, 1)[0]; string(got.Bytes()) != "remote" {
		t.Fatalf("received %q, want what the remote sent", got.Bytes())
	}
	if n := p.a.opts.Drops.Of(packet.DropNoFlow); n != 1 {
		t.Errorf("%d packets counted as no_flow, want 1", n)
	}
}

func TestPortTaken(t *testing.T) {
	p := newPair(t)
	spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}
	open(t, p.linkB, spec, newInbox().receive)
	if f, err := p.linkB.Open(spec, newInbox().receive); err == nil {
		f.Close()
		t.Fatal("a second flow on the port was opened")
	}
}

func TestRawFlows(t *testing.T) {
	for _, protocol := range []uint8{packet.ProtocolIPIP, packet.ProtocolGRE, packet.ProtocolESP, packet.ProtocolMinimal} {
		t.Run(fmt.Sprint(protocol), func(t *testing.T) {
			p := newPair(t)
			atA, atB := newInbox(), newInbox()
			server := open(t, p.linkB, link.FlowSpec{Protocol: protocol}, atB.receive)
			client := open(t, p.linkA, link.FlowSpec{Protocol: protocol, Remote: netip.AddrPortFrom(addrB.Addr(), 0)}, atA.receive)
			path := client.Path(link.Plaintext)
			if path.Overhead != 20 || path.MTU != 1480 {
				t.Errorf("path has overhead %d and MTU %d, want 20 and 1480", path.Overhead, path.MTU)
			}
			lengths := []int{40, 1480, 3000, 61}
			batch := packet.GetBatch()
			for i, n := range lengths {
				b := numbered(i, n)
				b.TOS = 0x2a
				batch.Append(b)
			}
			if err := path.Send(batch); err != nil {
				t.Fatal(err)
			}
			got := atB.take(t, len(lengths))
			checkNumbered(t, got, lengths)
			for i, b := range got {
				if b.Peer != netip.AddrPortFrom(addrA.Addr(), 0) || b.TOS != 0x2a || b.Interface != p.indexB {
					t.Errorf("packet %d came from %v on interface %d with TOS %#x", i, b.Peer, b.Interface, b.TOS)
				}
			}
			back := numbered(0, 90)
			back.Peer = got[0].Peer
			if err := server.Path(link.Protected).Send(packet.One(back)); err != nil {
				t.Fatal(err)
			}
			checkNumbered(t, atA.take(t, 1), []int{90})
		})
	}
}

// Without a flow the kernel answers a protocol that it does not know with ICMP; with one it must not.
func TestRawFlowKeepsICMPAway(t *testing.T) {
	p := newPair(t)
	icmp := newInbox()
	errorsAtA := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolICMP}, icmp.receive)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(addrB.Addr(), 0)}, newInbox().receive)
	if err := client.Send(netip.AddrPort{}, make([]byte, 40)); err != nil {
		t.Fatal(err)
	}
	// ICMP type 3 code 2: protocol unreachable (RFC 792).
	if got := icmp.take(t, 1)[0].Bytes(); got[0] != 3 || got[1] != 2 {
		t.Fatalf("ICMP type %d code %d, want 3, 2", got[0], got[1])
	}
	atB := newInbox()
	open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolIPIP}, atB.receive)
	if err := client.Send(netip.AddrPort{}, make([]byte, 40)); err != nil {
		t.Fatal(err)
	}
	atB.take(t, 1)
	// An echo that is sent afterwards is answered afterwards: what ICMP comes before the answer belongs to the packet above.
	echo := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0}
	if err := errorsAtA.Send(netip.AddrPortFrom(addrB.Addr(), 0), echo); err != nil {
		t.Fatal(err)
	}
	if got := icmp.take(t, 1)[0].Bytes(); got[0] != 0 {
		t.Errorf("ICMP type %d code %d for a protocol with a flow", got[0], got[1])
	}
}

// A tunnel interface that takes packets from anybody stands in the way of a flow of its protocol only while it is up.
func TestTunnelDeviceOfTheKernelIsRefused(t *testing.T) {
	named := func(name string, up bool) netlink.LinkAttrs {
		a := netlink.LinkAttrs{Name: name}
		if up {
			a.RawFlags = unix.IFF_UP
		}
		return a
	}
	remote := net.IPv4(192, 0, 2, 1)
	for _, test := range []struct {
		name     string
		link     netlink.Link
		protocol uint8
		refused  bool
	}{
		{"tunl0 up", &netlink.Iptun{LinkAttrs: named("tunl0", true), Remote: net.IPv4zero}, 4, true},
		{"tunl0 up, no remote given", &netlink.Iptun{LinkAttrs: named("tunl0", true)}, 4, true},
		{"tunl0 down", &netlink.Iptun{LinkAttrs: named("tunl0", false)}, 4, false},
		{"ipip to one remote", &netlink.Iptun{LinkAttrs: named("ipip1", true), Remote: remote}, 4, false},
		{"tunl0 and ESP", &netlink.Iptun{LinkAttrs: named("tunl0", true)}, 50, false},
		{"gre0 up", &netlink.Gretun{LinkAttrs: named("gre0", true), Local: net.IPv4zero}, 47, true},
		{"gre0 and IP in IP", &netlink.Gretun{LinkAttrs: named("gre0", true), Local: net.IPv4zero}, 4, false},
		{"ethernet", &netlink.Veth{LinkAttrs: named("eth0", true)}, 4, false},
	} {
		err := decapsulates([]netlink.Link{&netlink.Dummy{LinkAttrs: named("dummy0", true)}, test.link}, test.protocol)
		if refused := errors.Is(err, ErrKernelDecapsulates); refused != test.refused || !refused && err != nil {
			t.Errorf("%s, protocol %d: %v, want refused %t", test.name, test.protocol, err, test.refused)
		}
	}
}

// The same with a real interface, where the kernel has the module.
func TestTunnelDeviceInKernel(t *testing.T) {
	p := newPair(t)
	var missing error
	netnstest.Inside(t, p.nsA, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "any0"
		missing = netlink.LinkAdd(&netlink.Iptun{LinkAttrs: attrs, Local: net.IPv4zero, Remote: net.IPv4zero})
		if missing != nil {
			return nil
		}
		return netnstest.SetUp("any0", netip.Prefix{})
	})
	if missing != nil {
		t.Skipf("needs the kernel's ipip module: %v", missing)
	}
	if _, err := p.linkA.Open(link.FlowSpec{Protocol: packet.ProtocolIPIP}, newInbox().receive); !errors.Is(err, ErrKernelDecapsulates) {
		t.Fatalf("opening protocol 4 beside an ipip interface without a remote: %v, want %v", err, ErrKernelDecapsulates)
	}
	open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolESP}, newInbox().receive)
}

func TestCloseFromReceiver(t *testing.T) {
	p := newPair(t)
	var server link.Flow
	calls := make(chan int, 16)
	ready := make(chan struct{})
	n := 0
	server = open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, func(b *packet.Batch) {
		<-ready
		n++
		b.Release()
		if err := server.Close(); err != nil {
			t.Errorf("close from the receiver: %v", err)
		}
		calls <- n
	})
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, newInbox().receive)
	if err := client.Send(netip.AddrPort{}, []byte("one")); err != nil {
		t.Fatal(err)
	}
	close(ready)
	<-calls
	if err := server.Close(); err != nil { // waits for the receiving goroutine
		t.Errorf("second close: %v", err)
	}
	if err := client.Send(netip.AddrPort{}, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if n != 1 {
		t.Errorf("receiver was called %d times, want once", n)
	}
	if err := server.Send(client.Local(), []byte("late")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send on a closed flow: %v", err)
	}
}

// A flow does not receive after Close, though packets arrive all the time.
func TestNothingAfterClose(t *testing.T) {
	p := newPair(t)
	for range 20 {
		first, open := make(chan struct{}, 1), true
		f, err := p.linkB.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, func(b *packet.Batch) {
			if !open { // a data race here is a failure of the test too
				t.Error("received after Close")
			}
			b.Release()
			select {
			case first <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		sender, err := p.linkA.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: f.Local()}, newInbox().receive)
		if err != nil {
			t.Fatal(err)
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					sender.Send(netip.AddrPort{}, []byte("again"))
				}
			}
		}()
		<-first
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		open = false
		close(stop)
		<-stopped
		sender.Close()
	}
}
