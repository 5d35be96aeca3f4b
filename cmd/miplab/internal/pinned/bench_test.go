package pinned

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// memory is a link whose flows end in memory: what is sent is counted and released.
type memory struct {
	flows    map[uint16]*memoryFlow // UDP, by the local port
	segments int
	keep     bool // what is sent, as copies
	kept     [][]byte
}

func (m *memory) Addr() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }

func (m *memory) MTU() int { return 1500 }

func (m *memory) Open(spec link.FlowSpec, recv link.Receiver) (link.Flow, error) {
	f := &memoryFlow{memory: m, spec: spec, recv: recv}
	if spec.Protocol == packet.ProtocolUDP {
		m.flows[spec.Port] = f
	}
	return f, nil
}

type memoryFlow struct {
	link.Flow
	memory *memory
	spec   link.FlowSpec
	recv   link.Receiver
}

func (f *memoryFlow) Local() netip.AddrPort { return netip.AddrPortFrom(f.memory.Addr(), f.spec.Port) }

func (f *memoryFlow) Remote() netip.AddrPort { return f.spec.Remote }

func (f *memoryFlow) Path(link.Class) link.Path {
	const overhead = packet.IPv4Len + packet.UDPLen
	return link.Path{Out: f.memory, Overhead: overhead, MTU: f.memory.MTU() - overhead}
}

func (f *memoryFlow) Close() error { return nil }

func (m *memory) Send(b *packet.Batch) error {
	m.segments += b.Segments()
	if m.keep {
		b.Cut()
		for _, p := range b.Bufs {
			m.kept = append(m.kept, append([]byte(nil), p.Bytes()...))
		}
	}
	b.Release()
	return nil
}

// memoryDevice gives the batch that next makes, once, and counts what it is given.
type memoryDevice struct {
	next    func(*packet.Batch)
	batches int
	packets int
}

var errDone = errors.New("all has been read")

func (d *memoryDevice) Name() string { return "memory" }

func (d *memoryDevice) Read(b *packet.Batch) error {
	if d.batches == 0 {
		return errDone
	}
	d.batches--
	d.next(b)
	return nil
}

func (d *memoryDevice) Write(b *packet.Batch) error {
	d.packets += b.Len()
	b.Release()
	return nil
}

func (d *memoryDevice) Close() error { return nil }

type still struct{ link.Clock }

func (still) Now() link.Instant { return link.Instant{Boot: time.Hour} }

// path is an end in memory.
type path struct {
	composition
	memory *memory
	device *memoryDevice
	drops  packet.Drops
}

func newPath(tb testing.TB, e End) *path {
	tb.Helper()
	p := &path{memory: &memory{flows: map[uint16]*memoryFlow{}}, device: &memoryDevice{}}
	var err error
	p.composition, err = e.compose(p.memory, p.device, still{}, &p.drops)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// out has the device give n batches.
func (p *path) out(tb testing.TB, n int) {
	tb.Helper()
	p.device.batches = n
	if err := p.run(); !errors.Is(err, errDone) {
		tb.Fatal(err)
	}
}

// in hands the flow at the local port datagrams that come from the endpoint.
func (p *path) in(port uint16, from netip.AddrPort, datagrams [][]byte) {
	b := packet.GetBatch()
	for _, d := range datagrams {
		q := packet.From(d)
		q.Peer = from
		b.Append(q)
	}
	p.memory.flows[port].recv(b)
}

// shape is what a device gives in one batch: a superpacket, or packets of one length.
type shape struct {
	name             string
	super            bool
	packets, payload int
}

var shapes = []shape{{"super", true, 48, 1351}, {"full", false, 48, 1351}, {"small", false, 48, 36}}

// give returns what makes one batch of TCP from src to dst.
func (s shape) give(src, dst netip.Addr) func(*packet.Batch) {
	segment := func(octets int) *packet.Buf {
		p := packet.Get(20 + octets + packet.IPv4Len)
		h := p.Extend(20 + octets)
		clear(h[:20])
		h[12], h[13] = 5<<4, 0x10
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolTCP, Src: src, Dst: dst})
		return p
	}
	return func(b *packet.Batch) {
		if !s.super {
			for range s.packets {
				b.Append(segment(s.payload))
			}
			return
		}
		p := segment(s.packets * s.payload)
		if err := p.MakeSuper(s.payload); err != nil {
			panic(err)
		}
		b.Append(p)
	}
}

// pairs returns near and far end of each tunnel in memory, the far end knowing the near one, and the port that each end
// receives at.
func pairs(tb testing.TB, f func(name string, near, far *path, ports [2]uint16)) {
	tb.Helper()
	all := sample(tb)
	for i, name := range []string{"null", "vc"} {
		a, b := all[3*i], all[3*i+1]
		near, far := newPath(tb, a), newPath(tb, b)
		ports := [2]uint16{a.Local.Port(), b.Local.Port()}
		if name == "vc" {
			ports[0] = esp.PortNATT
		}
		near.device.next = shape{"first", false, 1, 1}.give(nearHome, farHome)
		for _, d := range sealed(tb, near, 1) {
			far.in(ports[1], outside, [][]byte{d})
		}
		if far.device.packets != 1 {
			tb.Fatalf("%s: the first packet did not arrive: %v", name, far.drops.Snapshot())
		}
		f(name, near, far, ports)
	}
}

var (
	nearHome = netip.MustParseAddr("10.0.9.200")
	farHome  = netip.MustParseAddr("10.0.9.201")
	outside  = netip.MustParseAddrPort("192.0.2.30:40000")
	gateway  = netip.MustParseAddr("192.0.2.10")
)

// sealed returns the datagrams that the end sends for n batches.
func sealed(tb testing.TB, p *path, n int) [][]byte {
	tb.Helper()
	p.memory.keep = true
	p.out(tb, n)
	got := p.memory.kept
	p.memory.keep, p.memory.kept = false, nil
	return got
}

// directions calls f for each tunnel, direction and shape: from is the end whose device gives, to the other.
func directions(tb testing.TB, f func(name string, s shape, from, to *path, port uint16, peer netip.AddrPort)) {
	tb.Helper()
	pairs(tb, func(name string, near, far *path, ports [2]uint16) {
		for _, s := range shapes {
			near.device.next, far.device.next = s.give(nearHome, farHome), s.give(farHome, nearHome)
			f(fmt.Sprintf("%s/up/%s", name, s.name), s, near, far, ports[1], outside)
			f(fmt.Sprintf("%s/down/%s", name, s.name), s, far, near, ports[0], netip.AddrPortFrom(gateway, ports[1]))
		}
	})
}

// What a packet costs from TUN device to socket, both left out: one operation is a packet on the wire. Making the packet is
// in it, and for the null tunnel's superpacket all that the socket does is not.
func BenchmarkOut(b *testing.B) {
	directions(b, func(name string, s shape, from, _ *path, _ uint16, _ netip.AddrPort) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(s.payload + 40))
			b.ReportAllocs()
			before := from.memory.segments
			n := (b.N + s.packets - 1) / s.packets
			from.out(b, n)
			if got := from.memory.segments - before; got != n*s.packets {
				b.Fatalf("%d packets of %d left; drops %v", got, n*s.packets, from.drops.Snapshot())
			}
		})
	})
}

// What a packet costs from socket to TUN device, both left out; copying the datagram into its buffer is in it. Sealing is off
// the clock.
func BenchmarkIn(b *testing.B) {
	directions(b, func(name string, s shape, from, to *path, port uint16, peer netip.AddrPort) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(s.payload + 40))
			b.ReportAllocs()
			const batches = 8 // so that they lie in the cache, as what the kernel has just copied does
			before, n := to.device.packets, 0
			for n < b.N {
				b.StopTimer()
				got := sealed(b, from, batches)
				b.StartTimer()
				for at := 0; at < len(got); at += s.packets {
					to.in(port, peer, got[at:at+s.packets])
				}
				n += len(got)
			}
			if got := to.device.packets - before; got != n {
				b.Fatalf("%d packets of %d arrived; drops %v", got, n, to.drops.Snapshot())
			}
		})
	})
}

// Nothing is allocated for a packet, in neither tunnel, neither way.
func TestPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("allocations cannot be counted under the race detector")
	}
	const rounds = 50
	directions(t, func(name string, s shape, from, to *path, port uint16, peer netip.AddrPort) {
		out := testing.AllocsPerRun(rounds, func() { from.out(t, 1) })
		datagrams := sealed(t, from, rounds+1)
		in := testing.AllocsPerRun(rounds, func() {
			to.in(port, peer, datagrams[:s.packets])
			datagrams = datagrams[s.packets:]
		})
		t.Logf("%s: %.2f out, %.2f in", name, out, in)
		// One or two a batch may be a pool's; one a packet would be 48.
		if out > 4 || in > 4 {
			t.Errorf("%s: %v allocations a batch of %d out, %v in", name, out, s.packets, in)
		}
		if len(from.drops.Snapshot())+len(to.drops.Snapshot()) != 0 {
			t.Errorf("%s: drops %v, %v", name, from.drops.Snapshot(), to.drops.Snapshot())
		}
	})
}

// The MTU that an end gives its device is what its path carries.
func TestMTUOfCompositions(t *testing.T) {
	all := sample(t)
	pairs(t, func(name string, nearEnd, farEnd *path, _ [2]uint16) {
		end := all[0]
		if name == "vc" {
			end = all[3]
		}
		want, err := end.mtu(1500)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []*path{nearEnd, farEnd} {
			got := 0
			switch c := p.composition.(type) {
			case *null:
				got = c.path.MTU
			case *near:
				got = c.engine.Current().LinkMTU()
			case *far:
				got = c.binding.Load().path.MTU
			}
			if got != want {
				t.Errorf("%s: the device has %d, the path %d", name, want, got)
			}
		}
	})
}
