package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// mixture is one application of each kind on the laptop, all talking at once: UDP, DNS and ICMP that are answered, and what
// must never be: IPv6, broadcast, multicast, packets with other sources, and packet sockets past the routes.
type mixture struct {
	w    *World
	stop chan struct{}
	work sync.WaitGroup

	udp, dns, pings atomic.Int64 // answered
	fragments       atomic.Int64 // of the correspondent's, put together
	groups          atomic.Int64 // broadcast and multicast that anybody received, or packets with a false source
	ipv6            atomic.Int64 // sent
}

// The mixture's ports at the correspondent.
const (
	dnsPort      = 53
	fragmentPort = 7003
)

// rawUDP returns a whole IPv4 packet.
func rawUDP(src, dst netip.Addr, port uint16, payload []byte) []byte {
	return datagram(netip.AddrPortFrom(src, port), netip.AddrPortFrom(dst, port), payload)
}

// dnsQuery returns a query for the A record of a name inside (RFC 1035 §4.1) that has the canary as a label.
func dnsQuery(id uint16) []byte {
	q := binary.BigEndian.AppendUint16(nil, id)
	q = append(q, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0) // recursion desired, one question
	for _, label := range []string{string(Canary), "corp", "example"} {
		q = append(append(q, byte(len(label))), label...)
	}
	return append(q, 0, 0, 1, 0, 1)
}

// pieces returns an IPv4 packet in fragments of at most mtu octets (RFC 791 §3.2), the first octets of each payload being the
// canary wherever it fits.
func pieces(pkt []byte, mtu int) [][]byte {
	ip := packet.IPv4(pkt)
	payload, step := ip.Payload(), (mtu-packet.IPv4Len)&^7
	var out [][]byte
	for at := 0; at < len(payload); at += step {
		end := min(at+step, len(payload))
		b := make([]byte, packet.IPv4Len+end-at)
		packet.IPv4(b).Encode(packet.IPv4Fields{ID: 77, TTL: 64, Protocol: ip.Protocol(), Src: ip.Src(), Dst: ip.Dst()}, len(b))
		field := uint16(at / 8)
		if end < len(payload) {
			field |= 0x2000 // more fragments
		}
		binary.BigEndian.PutUint16(b[6:], field)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], packet.Checksum(b[:packet.IPv4Len], 0))
		copy(b[packet.IPv4Len:], payload[at:end])
		out = append(out, b)
	}
	return out
}

// mix starts the applications; the test's end stops them.
func mix(t *testing.T, w *World) *mixture {
	t.Helper()
	m := &mixture{w: w, stop: make(chan struct{})}
	var open []interface{ Close() error }
	listen := func(h *simnet.Host, at netip.AddrPort) *simnet.UDPConn {
		t.Helper()
		c, err := h.ListenUDP(at)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		return c
	}
	reads := func(c *simnet.UDPConn, got func(p []byte, from netip.AddrPort)) {
		m.work.Go(func() {
			buf := make([]byte, 8192)
			for {
				n, from, err := c.ReadFromAddrPort(buf)
				if err != nil {
					return
				}
				got(buf[:n], from)
			}
		})
	}
	for port, count := range map[uint16]*atomic.Int64{talkPort: &m.udp, dnsPort: &m.dns} {
		far := listen(w.Correspondent, netip.AddrPortFrom(simnet.LabCorrespondent, port))
		reads(far, func(p []byte, from netip.AddrPort) { _, _ = far.WriteToAddrPort(p, from) })
		near := listen(w.Laptop, netip.AddrPortFrom(simnet.LabHomeAddress, 0))
		reads(near, func([]byte, netip.AddrPort) { count.Add(1) })
		m.every(50*time.Millisecond, func(i int) {
			p := Canary
			if port == dnsPort {
				p = dnsQuery(uint16(i))
			}
			_, _ = near.WriteToAddrPort(p, netip.AddrPortFrom(simnet.LabCorrespondent, port)) // blocked now and then
		})
	}
	reads(listen(w.Correspondent, netip.AddrPortFrom(simnet.LabCorrespondent, fragmentPort)), func(p []byte, _ netip.AddrPort) {
		if len(p) == 3000 {
			m.fragments.Add(1)
		}
	})
	// Everybody listens to what must not come.
	for _, h := range []*simnet.Host{w.Correspondent, w.CafeNAT, w.ExternalFA, w.InternalFA, w.ExternalHA, w.InternalHA, w.Firewall} {
		reads(listen(h, netip.AddrPortFrom(netip.Addr{}, discardPort)), func([]byte, netip.AddrPort) { m.groups.Add(1) })
	}
	m.work.Go(func() {
		for {
			if _, err := w.Laptop.Ping(simnet.LabCorrespondent, 32, 200*time.Millisecond); err == nil {
				m.pings.Add(1)
			}
			select {
			case <-m.stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	m.every(50*time.Millisecond, m.odd)
	t.Cleanup(func() {
		close(m.stop)
		for _, c := range open {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		m.work.Wait()
	})
	return m
}

func (m *mixture) every(d time.Duration, f func(int)) {
	m.work.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				f(i)
			case <-m.stop:
				return
			}
		}
	})
}

// odd sends one of each of the odd kinds. Those that have no way out return errors, which are as good as dropping.
func (m *mixture) odd(i int) {
	l := m.w.Laptop
	six := make([]byte, 40, 64)
	six[0], six[6], six[7] = 0x60, packet.ProtocolUDP, 64
	six = append(six, Canary...)
	binary.BigEndian.PutUint16(six[4:], uint16(len(six)-40))
	_ = l.SendPacket(six)
	m.ipv6.Add(1)
	home := simnet.LabHomeAddress
	for _, to := range []string{"255.255.255.255", "10.0.255.255", "10.0.8.255", "224.0.0.251", "239.255.255.250"} {
		_ = l.SendPacket(rawUDP(home, netip.MustParseAddr(to), discardPort, Canary))
	}
	// With the source of an interface, or nobody's, to the enterprise.
	for _, from := range []string{"192.168.1.100", "10.0.2.100", "10.0.8.101", "198.51.100.100", "127.0.0.1"} {
		_ = l.SendPacket(rawUDP(netip.MustParseAddr(from), simnet.LabCorrespondent, discardPort, Canary))
	}
	payload := make([]byte, 3000)
	for at := 0; at+len(Canary) < len(payload); at += 100 {
		copy(payload[at:], Canary)
	}
	for _, p := range pieces(rawUDP(home, simnet.LabCorrespondent, fragmentPort, payload), 1200) {
		_ = l.SendPacket(p)
	}
	// A packet socket, past the routes: with the home address as source, and to the enterprise.
	for _, c := range []*simnet.NIC{m.w.Wlan0, m.w.Eth0} {
		all := packet.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		_ = l.SendFrame(c, all, rawUDP(home, netip.MustParseAddr("192.0.2.77"), discardPort, Canary))
		_ = l.SendFrame(c, all, rawUDP(netip.MustParseAddr("192.168.1.100"), simnet.LabCorrespondent, discardPort, Canary))
	}
}

// answered reports how many answers each of the kinds that have some has had.
func (m *mixture) answered() map[string]int64 {
	return map[string]int64{"UDP": m.udp.Load(), "DNS": m.dns.Load(), "ICMP": m.pings.Load(), "fragments": m.fragments.Load()}
}

// works fails the test unless every kind that may pass does within d.
func (m *mixture) works(t *testing.T, d time.Duration) {
	t.Helper()
	before := m.answered()
	time.Sleep(d)
	for kind, n := range m.answered() {
		if n -= before[kind]; n < int64(d/(400*time.Millisecond)) {
			t.Errorf("%d answers to %s in %v", n, kind, d)
		}
	}
}

// Shows: HST-2, DET-2, MOD-keep, MOD-c, MOD-f, MOD-cvc, MOD-fvc (TCP, UDP, DNS, ICMP and fragments pass in every mode and after each
// transition; IPv6, broadcast, multicast, false sources and packet sockets never; nothing in the clear outside at any time)
func TestEveryKindOfTraffic(t *testing.T) {
	t.Parallel()
	for _, from := range places {
		for _, to := range places {
			if from.name == to.name {
				continue
			}
			t.Run(fmt.Sprintf("%s to %s", from.name, to.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 160, Log: zap.NewNop()})
					j := Watch(w.External()...)
					var bare atomic.Int64 // what the laptop sends in the clear that is no tunnel's and no registration
					w.TapAll(func(f simnet.Frame) {
						ip := packet.IPv4(f.Packet)
						if strings.HasPrefix(f.Sender, "laptop/") && !f.Plaintext && !isRegistration(ip) && readable(f.Packet) {
							bare.Add(1)
						}
					})
					m := mix(t, w)
					time.Sleep(500 * time.Millisecond) // no interface: everything blocked
					connected(t, w, from)
					s := converse(t, w)
					m.works(t, 2*time.Second)
					w.Unplug(w.Wlan0)
					time.Sleep(300 * time.Millisecond)
					connected(t, w, to)
					m.works(t, 2*time.Second)
					s.pass(t, s.near, s.far, 10_000)
					s.pass(t, s.far, s.near, 10_000)
					s.end(t)
					before := w.Laptop.Drops().Of(packet.DropUnsupported)
					sent := m.ipv6.Load()
					time.Sleep(time.Second)
					if n, of := w.Laptop.Drops().Of(packet.DropUnsupported)-before, m.ipv6.Load()-sent; n == 0 || int64(n) > of+1 {
						t.Errorf("of %d IPv6 packets %d were counted as dropped", of, n)
					}
					if n := bare.Load(); n != 0 {
						t.Errorf("%d packets left as they were", n)
					}
					if n := m.groups.Load(); n != 0 {
						t.Errorf("%d packets arrived that must not have left", n)
					}
					judge(t, j)
				})
			})
		}
	}
}

// Shows: HST-2 (the same kinds with no daemon running, while the laptop goes through all networks)
func TestEveryKindOfTrafficWithoutADaemon(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 161, Log: zap.NewNop()})
		j := Watch(w.External()...)
		m := mix(t, w)
		p := NewProcess(w.Laptop, 0)
		if err := w.RunProcess(p, nil, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		connected(t, w, officePlace)
		m.works(t, time.Second)
		p.Kill()
		if err := w.Client.Close(); err != nil {
			t.Fatal(err)
		}
		w.Client = nil
		time.Sleep(5 * time.Millisecond)
		clear, before := readableOn(w), m.answered()
		for _, at := range append(places, places...) {
			w.Plug(w.Wlan0, at.wire(w))
			time.Sleep(1500 * time.Millisecond)
			w.Unplug(w.Wlan0)
			time.Sleep(200 * time.Millisecond)
		}
		for kind, n := range m.answered() {
			if n != before[kind] {
				t.Errorf("%s: %d answers with no daemon running", kind, n-before[kind])
			}
		}
		if n := clear.Load(); n != 0 {
			t.Errorf("%d frames in the clear with no daemon running", n)
		}
		judge(t, j)
		if err := w.RunProcess(NewProcess(w.Laptop, 0), nil, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
		connected(t, w, cafePlace)
		m.works(t, time.Second)
	})
}
