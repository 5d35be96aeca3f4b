//go:build linux

package device

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/packet"
)

// The kernel is the referee here: its own TCP and UDP send into a device of ours, what we make of it goes into a device in
// another namespace, and that kernel counts what it finds wrong.

// site is one namespace with a device that everything is routed into.
type site struct {
	ns    *os.File
	dev   *Device
	drops packet.Drops
}

const (
	refereeMTU  = 1400
	refereePort = 7000
)

func newSite(t *testing.T, addr netip.Addr) *site {
	t.Helper()
	s := &site{ns: netnstest.New(t)}
	netnstest.Inside(t, s.ns, func() (err error) {
		if s.dev, err = Open("mip0", refereeMTU, &s.drops); err != nil {
			return err
		}
		for name, value := range map[string]string{
			"ipv6/conf/mip0/disable_ipv6": "1", // no router solicitations
			"ipv4/conf/all/rp_filter":     "0",
			"ipv4/conf/mip0/rp_filter":    "0",
			"ipv4/tcp_ecn":                "1", // so that there are segments with ECE and CWR
		} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		if err := netnstest.SetUp("mip0", netip.PrefixFrom(addr, 32)); err != nil {
			return err
		}
		l, err := netlink.LinkByName("mip0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: netnstest.IPNet(netip.MustParsePrefix("0.0.0.0/0"))})
	})
	t.Cleanup(func() { s.dev.Close() })
	return s
}

// counters reads the namespace's counters of what its IP, UDP and TCP have found wrong.
func (s *site) counters(t *testing.T) map[string]int {
	t.Helper()
	all := map[string]int{}
	netnstest.Inside(t, s.ns, func() error {
		for _, file := range []string{"snmp", "netstat"} {
			text, err := os.ReadFile("/proc/thread-self/net/" + file)
			if err != nil {
				return err
			}
			lines := bufio.NewScanner(bytes.NewReader(text))
			for lines.Scan() {
				names := strings.Fields(lines.Text())
				if !lines.Scan() {
					break
				}
				for i, value := range strings.Fields(lines.Text())[1:] {
					n, err := strconv.Atoi(value)
					if err != nil {
						return fmt.Errorf("%s%s: %w", names[0], names[i+1], err)
					}
					all[names[0]+names[i+1]] = n
				}
			}
		}
		return nil
	})
	return all
}

// wrong are the counters that must be zero, whatever is lost.
var wrong = []string{"Ip:InHdrErrors", "IpExt:InTruncatedPkts", "Ip:ReasmReqds", "Tcp:InErrs", "Tcp:InCsumErrors", "Udp:InErrors", "Udp:InCsumErrors",
	"Udp:NoPorts", "TcpExt:TCPOFOQueue", "TcpExt:TCPSACKReorder", "TcpExt:TCPTSReorder", "IpExt:InCsumErrors"}

// fair fails unless the kernel found nothing wrong, and nothing out of order.
func (s *site) fair(t *testing.T, name string) {
	t.Helper()
	all := s.counters(t)
	for _, key := range wrong {
		n, ok := all[key]
		if !ok {
			t.Errorf("the kernel of %s counts no %s", name, key)
		}
		if n != 0 {
			t.Errorf("the kernel of %s counts %d %s", name, n, key)
		}
	}
	if m := s.drops.Snapshot(); len(m) != 0 {
		t.Errorf("the device of %s has dropped %v", name, m)
	}
}

// way is what is done with what has been read from one device before it is written to the other.
type way struct {
	name string
	// pass writes the batch, which it owns.
	pass func(to *Device, b *packet.Batch) error
}

// Each packet in a write of its own, so that the other kernel sums all of them; several joined in one write; superpackets as
// they were read.
var ways = []way{
	{"cut", func(to *Device, b *packet.Batch) error {
		b.Cut()
		for _, p := range b.Bufs {
			if err := to.Write(packet.One(p)); err != nil {
				return err
			}
		}
		b.Forget()
		return nil
	}},
	{"joined", func(to *Device, b *packet.Batch) error {
		b.Cut()
		return to.Write(b)
	}},
	{"whole", func(to *Device, b *packet.Batch) error { return to.Write(b) }},
}

// pump carries packets from one site to another until its device is closed, and counts the superpackets among them.
func (w way) pump(from, to *site, supers *atomic.Int64) error {
	for {
		b := packet.GetBatch()
		if err := from.dev.Read(b); err != nil {
			b.Release()
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		for _, p := range b.Bufs {
			if p.Segments() > 1 {
				supers.Add(1)
			}
		}
		if err := w.pass(to.dev, b); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}

// joinSites carries packets between two sites until the test's end. The counters are of the superpackets each way.
func (w way) joinSites(t *testing.T) (a, b *site, supers *[2]atomic.Int64) {
	a, b = newSite(t, local), newSite(t, remote)
	supers = new([2]atomic.Int64)
	var pumps sync.WaitGroup
	pumps.Go(func() {
		if err := w.pump(a, b, &supers[0]); err != nil {
			t.Error(err)
		}
	})
	pumps.Go(func() {
		if err := w.pump(b, a, &supers[1]); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		a.dev.Close()
		b.dev.Close()
		pumps.Wait()
	})
	return a, b, supers
}

// transferLen is how many octets go each way.
const transferLen = 8 << 20

// transfer sends a stream that follows from the seed, reads the other end's, and returns the hashes of both.
func transfer(conn *net.TCPConn, seed byte) (sent, received [32]byte, err error) {
	up, down := sha256.New(), sha256.New()
	reading := make(chan error, 1)
	go func() {
		_, err := io.Copy(down, conn)
		reading <- err
	}()
	_, err = io.Copy(io.MultiWriter(conn, up), io.LimitReader(rand.NewChaCha8([32]byte{seed}), transferLen))
	err = errors.Join(err, conn.CloseWrite(), <-reading)
	return [32]byte(up.Sum(nil)), [32]byte(down.Sum(nil)), err
}

// talk has the two kernels transfer both ways at once over one TCP connection.
func talk(t *testing.T, a, b *site) {
	t.Helper()
	var listener *net.TCPListener
	netnstest.Inside(t, b.ns, func() (err error) {
		listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(remote, refereePort)))
		return errors.Join(err, window(listener))
	})
	defer listener.Close()
	type end struct {
		sent, received [32]byte
		err            error
	}
	far := make(chan end, 1)
	go func() {
		conn, err := listener.AcceptTCP()
		if err != nil {
			far <- end{err: err}
			return
		}
		defer conn.Close()
		var e end
		e.sent, e.received, e.err = transfer(conn, 2)
		far <- e
	}()
	var conn net.Conn
	netnstest.Inside(t, a.ns, func() (err error) {
		d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { return setWindow(c) }}
		conn, err = d.DialContext(t.Context(), "tcp4", netip.AddrPortFrom(remote, refereePort).String())
		return err
	})
	defer conn.Close()
	sent, received, err := transfer(conn.(*net.TCPConn), 1)
	e := <-far
	if err := errors.Join(err, e.err); err != nil {
		t.Fatal(err)
	}
	if sent != e.received || received != e.sent {
		t.Error("the octets that arrived are not those sent")
	}
}

// window makes the receive window of a listener's connections so small that what is under way fits every queue between: a
// loss would excuse packets out of order.
func window(l *net.TCPListener) error {
	c, err := l.SyscallConn()
	if err != nil {
		return err
	}
	return setWindow(c)
}

func setWindow(c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 200<<10) }); e != nil {
		return e
	}
	return err
}

// TestRefereeTCP has two kernels talk TCP through our devices at full speed, both ways at once.
func TestRefereeTCP(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			a, b, supers := w.joinSites(t)
			talk(t, a, b)
			a.fair(t, "A")
			b.fair(t, "B")
			for i := range supers {
				if n := supers[i].Load(); n < 20 {
					t.Errorf("%d superpackets in direction %d: the test shows little", n, i)
				}
			}
		})
	}
}

// A train of datagrams: each begins with its number and its length and goes on with octets that follow from both.
func trainOf(first, count, size, last int) []byte {
	var all []byte
	for i := range count {
		n := size
		if i == count-1 {
			n = last
		}
		all = append(all, datagram(first+i, n)...)
	}
	return all
}

func datagram(i, n int) []byte {
	p := make([]byte, n)
	for k := range p {
		p[k] = byte(i*31 + k*7 + k>>8)
	}
	binary.BigEndian.PutUint32(p, uint32(i))
	binary.BigEndian.PutUint32(p[4:], uint32(n))
	return p
}

// checkDatagram says what is wrong with datagram i.
func checkDatagram(p []byte, i int) error {
	if len(p) < 8 {
		return fmt.Errorf("datagram %d has %d octets", i, len(p))
	}
	if got, n := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:]); int(got) != i || int(n) != len(p) {
		return fmt.Errorf("a datagram of %d octets says that it is number %d of %d octets, expected number %d", len(p), got, n, i)
	}
	if !bytes.Equal(p, datagram(i, len(p))) {
		return fmt.Errorf("the octets of datagram %d of %d octets differ", i, len(p))
	}
	return nil
}

// listen opens a UDP socket at the site's address with room for what a test sends before it is read.
func (s *site) listen(t *testing.T, addr netip.Addr, port int) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	netnstest.Inside(t, s.ns, func() (err error) {
		if conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: addr.AsSlice(), Port: port}); err != nil {
			return err
		}
		c, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20) }); e != nil {
			return e
		}
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// trains are segment size, count and length of the last datagram.
var trains = []struct{ size, count, last int }{
	{1000, 10, 1000}, {1000, 10, 17}, {1372, 40, 1372}, {1372, 40, 8}, {9, 60, 8}, {1001, 3, 999}, {1372, 1, 1372}, {500, 2, 500}, {64, 64, 64}, {1371, 33, 1370},
}

// sendTrain sends a train by UDP_SEGMENT.
func sendTrain(fd int, first int, size, count, last int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, size); err != nil {
		return err
	}
	_, err := unix.Write(fd, trainOf(first, count, size, last))
	return err
}

// needSegments skips the test where the kernel has no UDP segmentation offload.
func needSegments(t *testing.T, fd int) {
	t.Helper()
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
		t.Skipf("needs UDP_SEGMENT: %v", err)
	}
}

// TestRefereeUDP sends datagram trains by UDP_SEGMENT through our devices: each datagram arrives as it was meant, in order.
func TestRefereeUDP(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			a, b, supers := w.joinSites(t)
			server := b.listen(t, remote, 5000)
			fd := connect(t, a.ns, unix.SOCK_DGRAM, 5000)
			needSegments(t, fd)
			number, buf := 0, make([]byte, 1<<16)
			for range 5 {
				for _, tr := range trains {
					if err := sendTrain(fd, number, tr.size, tr.count, tr.last); err != nil {
						t.Fatal(err)
					}
					for i := range tr.count {
						n := receive(t, server, buf)
						if err := checkDatagram(buf[:n], number+i); err != nil {
							t.Fatalf("train of %d datagrams of %d octets, the last of %d: %v", tr.count, tr.size, tr.last, err)
						}
						if want := tr.size; i < tr.count-1 && n != want || i == tr.count-1 && n != tr.last {
							t.Fatalf("datagram %d of %d has %d octets in a train of %d octets, the last of %d", i, tr.count, n, tr.size, tr.last)
						}
					}
					number += tr.count
				}
			}
			a.fair(t, "A")
			b.fair(t, "B")
			if n := supers[0].Load(); n < 20 {
				t.Errorf("%d superpackets: the test shows little", n)
			}
		})
	}
}

// receive reads one datagram and gives up where none comes.
func receive(t *testing.T, conn *net.UDPConn, buf []byte) int {
	t.Helper()
	const patience = 30 * time.Second
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	n, _, err := conn.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRefereeTemplate has the kernel judge pushed headers: superpackets of its TCP and UDP leave our device with IPv4, UDP and
// the tunnel data header of RFC 3519 in front; the other kernel takes these off at a socket, and what was inside goes into a
// device there.
func TestRefereeTemplate(t *testing.T) {
	near, far := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("198.51.100.20")
	for _, unsummed := range []bool{false, true} {
		t.Run(fmt.Sprintf("unsummed=%t", unsummed), func(t *testing.T) {
			a, b := newSite(t, local), newSite(t, remote)
			netnstest.Inside(t, b.ns, func() error { return netnstest.SetUp("lo", netip.PrefixFrom(far, 32)) })
			tunnel := b.listen(t, far, 434)
			var push = packet.PushUDP
			if unsummed {
				push = packet.PushUDPUnsummed
			}
			id := uint16(0xff00)
			var supers atomic.Int64
			out := way{pass: func(to *Device, batch *packet.Batch) error {
				for _, p := range batch.Bufs {
					n := p.Segments()
					copy(p.Push(4), []byte{4, 4, 0, 0})
					push(p, netip.AddrPortFrom(near, 50000), netip.AddrPortFrom(far, 434))
					packet.PushIPv4(p, packet.IPv4Fields{ID: id, TTL: 64, Protocol: packet.ProtocolUDP, Src: near, Dst: far, DontFragment: true})
					id += uint16(n)
				}
				return ways[0].pass(to, batch)
			}}
			// Inwards: from the tunnel's socket into the device, one by one, and back from there as it is.
			var pumps sync.WaitGroup
			pumps.Go(func() {
				if err := out.pump(a, b, &supers); err != nil {
					t.Error(err)
				}
			})
			pumps.Go(func() {
				if err := ways[0].pump(b, a, new(atomic.Int64)); err != nil {
					t.Error(err)
				}
			})
			pumps.Go(func() {
				buf := make([]byte, 1<<16)
				for {
					n, from, err := tunnel.ReadFromUDPAddrPort(buf)
					if errors.Is(err, net.ErrClosed) {
						return
					}
					if err != nil || n < 4 || from != netip.AddrPortFrom(near, 50000) || !bytes.Equal(buf[:4], []byte{4, 4, 0, 0}) {
						t.Errorf("the tunnel brought % x from %v, %v", buf[:min(n, 8)], from, err)
						return
					}
					if err := b.dev.Write(packet.One(packet.From(buf[4:n]))); err != nil && !errors.Is(err, net.ErrClosed) {
						t.Error(err)
						return
					}
				}
			})
			t.Cleanup(func() {
				a.dev.Close()
				b.dev.Close()
				tunnel.Close()
				pumps.Wait()
			})
			server := b.listen(t, remote, 5000)
			fd := connect(t, a.ns, unix.SOCK_DGRAM, 5000)
			needSegments(t, fd)
			number, buf := 0, make([]byte, 1<<16)
			for _, tr := range trains {
				if err := sendTrain(fd, number, tr.size, tr.count, tr.last); err != nil {
					t.Fatal(err)
				}
				for i := range tr.count {
					if err := checkDatagram(buf[:receive(t, server, buf)], number+i); err != nil {
						t.Fatal(err)
					}
				}
				number += tr.count
			}
			talk(t, a, b)
			a.fair(t, "A")
			b.fair(t, "B")
			if n := supers.Load(); n < 50 {
				t.Errorf("%d superpackets: the test shows little", n)
			}
		})
	}
}

// What the referee counts is there to be counted: a wrong checksum shows.
func TestRefereeSees(t *testing.T) {
	b := newSite(t, remote)
	b.listen(t, remote, 5000)
	one := packet.From([]byte("a datagram"))
	packet.PushUDP(one, netip.AddrPortFrom(local, 1), netip.AddrPortFrom(remote, 5000))
	one.Bytes()[8] ^= 1
	packet.PushIPv4(one, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: local, Dst: remote})
	if err := b.dev.Write(packet.One(one)); err != nil {
		t.Fatal(err)
	}
	all := b.counters(t)
	if all["Udp:InCsumErrors"] != 1 || all["Udp:InErrors"] != 1 {
		t.Errorf("a wrong checksum made %d Udp:InCsumErrors and %d Udp:InErrors, want 1 of each; counted are %v", all["Udp:InCsumErrors"],
			all["Udp:InErrors"], slices.Sorted(maps.Keys(all)))
	}
}
