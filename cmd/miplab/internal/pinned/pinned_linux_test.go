package pinned

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

var (
	wireNear = netip.MustParsePrefix("192.0.2.1/24")
	wireFar  = netip.MustParsePrefix("192.0.2.10/24")
	nearAddr = netip.MustParsePrefix("10.0.9.200/32")
	farAddr  = netip.MustParsePrefix("10.0.9.201/32")
	inner    = netip.MustParseAddr("10.0.9.202")
)

// patience is how long a test waits for what never comes before it says so.
const patience = 30 * time.Second

// bench is two namespaces on a wire with a tunnel between them.
type bench struct {
	near, far *os.File
	drops     [2]packet.Drops
}

// composed are the tunnels that there are.
var composed = []string{"null", "relayed null", "vc"}

// ends returns the ends of the tunnel of that name: near, far, and what else runs beside the far one.
func ends(t testing.TB, name string) []End {
	endpoint := netip.AddrPortFrom(wireFar.Addr(), 51900)
	switch name {
	case "vc":
		a, b, err := VCPair(nearAddr, farAddr, wireFar.Addr(), inner, farAddr)
		if err != nil {
			t.Fatal(err)
		}
		return []End{a, b}
	case "relayed null": // three hops, the last two within the far namespace
		hop := func(i uint16) netip.AddrPort { return netip.AddrPortFrom(wireFar.Addr(), 51900+i) }
		a, b := NullPair(nearAddr, farAddr, hop(2), farAddr)
		a.Remote = hop(0)
		return []End{a, b, RelayEnd(hop(0), hop(1)), RelayEnd(hop(1), hop(2))}
	}
	a, b := NullPair(nearAddr, farAddr, endpoint, farAddr)
	return []End{a, b}
}

// start runs the tunnel's ends until the test's end. frames has the wire carry what a real one does, one segment a frame.
func start(t testing.TB, name string, frames bool) *bench {
	t.Helper()
	b := &bench{near: netnstest.New(t), far: netnstest.New(t)}
	netnstest.Wire(t, b.near, "eth0", wireNear, b.far, "eth0", wireFar)
	for _, ns := range []*os.File{b.near, b.far} {
		netnstest.Inside(t, ns, func() error {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
				return err
			}
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
				return err
			}
			if !frames {
				return nil
			}
			l, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkSetGSOMaxSegs(l, 1)
		})
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	all := ends(t, name)
	slices.Reverse(all) // the near end comes last
	for i, e := range all {
		file := fmt.Sprintf("%s/%d.json", t.TempDir(), i)
		if err := e.Save(file); err != nil {
			t.Fatal(err)
		}
		e, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		ns, side := b.far, 1
		if i == len(all)-1 {
			ns, side = b.near, 0
		}
		ready := make(chan struct{})
		ended := make(chan struct{})
		running.Go(func() {
			defer close(ended)
			if err := e.Run(ctx, Options{Namespace: ns, Drops: &b.drops[side], Ready: func() { close(ready) }}); err != nil {
				t.Error(err)
			}
		})
		select {
		case <-ready:
		case <-ended:
			t.FailNow()
		}
	}
	return b
}

// each runs f on every tunnel, on wires that carry superpackets and on such as carry frames.
func each(t *testing.T, f func(t *testing.T, b *bench)) {
	for _, name := range composed {
		for _, frames := range []bool{false, true} {
			wire := "offload"
			if frames {
				wire = "frames"
			}
			t.Run(name+"/"+wire, func(t *testing.T) {
				b := start(t, name, frames)
				f(t, b)
				for i := range b.drops {
					if d := b.drops[i].Snapshot(); len(d) > 0 {
						t.Errorf("end %d dropped %v", i, d)
					}
				}
			})
		}
	}
}

// noise returns n octets that look random, other ones for each seed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// connect returns both ends of a TCP connection through the tunnel, the near one first.
func (b *bench) connect(t testing.TB) (near, far *net.TCPConn) {
	t.Helper()
	var l net.Listener
	netnstest.Inside(t, b.far, func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(farAddr.Addr(), 0).String())
		return err
	})
	defer l.Close()
	netnstest.Inside(t, b.near, func() error {
		c, err := net.DialTimeout("tcp4", l.Addr().String(), patience)
		if err == nil {
			near = c.(*net.TCPConn)
		}
		return err
	})
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	far = c.(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	for _, c := range []*net.TCPConn{near, far} {
		if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			t.Fatal(err)
		}
	}
	return near, far
}

// carry sends data from one connection to the other and closes it in that direction.
func carry(t testing.TB, from, to *net.TCPConn, data []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		if err == nil {
			err = from.CloseWrite()
		}
		sent <- err
	}()
	sum := sha256.New()
	n, err := io.Copy(sum, to)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if err != nil || n != int64(len(data)) || [32]byte(sum.Sum(nil)) != sha256.Sum256(data) {
		t.Errorf("%d octets of %d came, or others than were sent: %v", n, len(data), err)
	}
}

// What TCP sends comes out as it was, each way: superpackets of all lengths at which a small Buf becomes too small for them or
// for the ESP trailer behind them, then many octets.
func TestTCP(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		near, far := b.connect(t)
		data, got := noise(0, packet.SmallSize+2*packet.Tailroom), make([]byte, packet.SmallSize+2*packet.Tailroom)
		for n := packet.SmallSize - 2*packet.Tailroom; n < len(data); n++ {
			for _, step := range [][2]*net.TCPConn{{near, far}, {far, near}} {
				if _, err := step[0].Write(data[:n]); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(step[1], got[:n]); err != nil || !bytes.Equal(got[:n], data[:n]) {
					t.Fatalf("%d octets were sent, others came: %v", n, err)
				}
			}
		}
		carry(t, near, far, noise(1, 8<<20))
		carry(t, far, near, noise(2, 8<<20))
	})
}

// Both ways at once.
func TestTCPBothWays(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		near, far := b.connect(t)
		var up sync.WaitGroup
		up.Go(func() { carry(t, near, far, noise(3, 4<<20)) })
		carry(t, far, near, noise(4, 4<<20))
		up.Wait()
	})
}

// sockets returns connected UDP sockets at both ends of the tunnel.
func (b *bench) sockets(t testing.TB) (near, far *net.UDPConn) {
	t.Helper()
	at := func(a netip.Addr, port uint16) *net.UDPAddr {
		return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, port))
	}
	open := func(ns *os.File, local, remote netip.Addr) (c *net.UDPConn) {
		netnstest.Inside(t, ns, func() (err error) {
			c, err = net.DialUDP("udp4", at(local, 7000), at(remote, 7000))
			return err
		})
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadBuffer(1 << 20); err != nil {
			t.Fatal(err)
		}
		return c
	}
	near, far = open(b.near, nearAddr.Addr(), farAddr.Addr()), open(b.far, farAddr.Addr(), nearAddr.Addr())
	return near, far
}

// Datagrams of every length come back as they were, those that the tunnel's MTU is too small for in fragments.
func TestEveryDatagramLength(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		near, far := b.sockets(t)
		data := noise(5, 1500)
		got := make([]byte, 2000)
		for n := 1; n <= 1480; n++ {
			want := data[:n]
			for _, step := range [][2]*net.UDPConn{{near, far}, {far, near}} {
				if _, err := step[0].Write(want); err != nil {
					t.Fatal(err)
				}
				m, err := step[1].Read(got)
				if err != nil || !bytes.Equal(got[:m], want) {
					t.Fatalf("%d octets sent, %d octets came, or others: %v", n, m, err)
				}
			}
		}
	})
}

// Trains of datagrams, sent as one, come as the datagrams that were meant, in order.
func TestDatagramTrains(t *testing.T) {
	each(t, func(t *testing.T, b *bench) {
		near, far := b.sockets(t)
		if err := control(near, func(fd int) error {
			_, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
			return err
		}); err != nil {
			t.Skipf("needs UDP_SEGMENT: %v", err)
		}
		got := make([]byte, 2000)
		for round, size := range []int{1, 7, 100, 512, 1000, 1201, 1375} {
			for _, step := range [][2]*net.UDPConn{{near, far}, {far, near}} {
				if err := control(step[0], func(fd int) error {
					return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
				}); err != nil {
					t.Fatal(err)
				}
				data := noise(byte(6+round), 40*size+(size+1)/2)
				if _, err := step[0].Write(data); err != nil {
					t.Fatalf("trains of %d octets: %v", size, err)
				}
				for at := 0; at < len(data); {
					want := data[at:min(at+size, len(data))]
					m, err := step[1].Read(got)
					if err != nil || !bytes.Equal(got[:m], want) {
						t.Fatalf("datagrams of %d octets: at octet %d came %d, or others: %v", size, at, m, err)
					}
					at += m
				}
			}
		}
	})
}

func control(c *net.UDPConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	if e := raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// On the wire of vc there is ESP in UDP and nothing that could be read; the same look at the null tunnel's finds everything.
func TestWire(t *testing.T) {
	canary := []byte("pack my box with five dozen liquor jugs")
	home := nearAddr.Addr().As4()
	for _, name := range []string{"null", "vc"} {
		t.Run(name, func(t *testing.T) {
			b := start(t, name, true)
			stop := capture(t, b.far)
			near, far := b.connect(t)
			data := bytes.Repeat(canary, 10000)
			carry(t, near, far, data)
			carry(t, far, near, data)
			frames, octets, other, read, addressed := 0, 0, 0, 0, 0
			for _, f := range stop() {
				ip := packet.IPv4(f[14:])
				if binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || !ip.Valid() {
					continue // ARP
				}
				frames++
				octets += len(f)
				if u := packet.UDP(ip.Payload()); ip.Protocol() != packet.ProtocolUDP || u.SrcPort() != esp.PortNATT ||
					u.DstPort() != esp.PortNATT || esp.Classify(u.Payload()) != esp.KindESP {
					other++
				}
				if bytes.Contains(f, canary[:16]) {
					read++
				}
				if bytes.Contains(f, home[:]) {
					addressed++
				}
			}
			t.Logf("%d frames, %d octets", frames, octets)
			if octets < 2*len(data) {
				t.Errorf("%d octets in %d frames were seen, %d were sent", octets, frames, 2*len(data))
			}
			if clear := name == "null"; clear != (read > 0) || clear != (addressed > 0) || clear != (other > 0) {
				t.Errorf("of %d frames %d are no ESP, %d show what was sent, %d the home address", frames, other, read, addressed)
			}
		})
	}
}

// capture keeps the frames of the namespace's eth0 until the function that it returns is called.
func capture(t *testing.T, ns *os.File) func() [][]byte {
	t.Helper()
	var fd int
	netnstest.Inside(t, ns, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20); err != nil {
			return err
		}
		all := uint16(unix.ETH_P_ALL)
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: l.Attrs().Index})
	})
	return func() (frames [][]byte) {
		defer unix.Close(fd)
		f := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, f)
			if err == unix.EAGAIN {
				return frames
			}
			if err != nil {
				t.Fatal(err)
			}
			frames = append(frames, bytes.Clone(f[:n]))
		}
	}
}
