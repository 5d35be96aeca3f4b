package e2e

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// A network behind a place is narrow when what leaves it towards the company, or comes to it, meets an MTU under Ethernet's.
// narrowMTU leaves less than the device's MTU in every mode but f, where nothing is added before the foreign agent.
const narrowMTU = 1340

// narrowness is how a narrow network treats what is too large for it.
type narrowness struct {
	name string
	// quiet routers send no ICMP errors.
	quiet bool
	// swallow: fragments are lost, too, or frames vanish on the link itself.
	swallow bool
}

var narrownesses = []narrowness{
	{name: "with ICMP"},
	{name: "without ICMP", quiet: true},
	{name: "without ICMP or fragments", quiet: true, swallow: true},
}

// narrow makes the way between the place and the company narrow, both ways; behind a foreign agent only towards the company.
func narrow(w *World, at place, n narrowness, mtu int) {
	var router *simnet.Host
	var names []string
	switch at.name {
	case "office":
		// The other interface is also between correspondent and i-HA. So on this wire frames from the laptop vanish.
		router, names = w.Firewall, []string{"office0"}
		w.Office.SetMTU(mtu)
	case "office FA":
		router, names = w.InternalFA, []string{"eth0"}
	case "café":
		router, names = w.CafeNAT, []string{"wan0", "lan0"}
	case "hotspot":
		router, names = w.ExternalFA, []string{"eth0"}
	}
	for _, name := range names {
		router.NIC(name).SetMTU(mtu)
	}
	router.SetMute(n.quiet)
	router.SetNoFragments(n.swallow)
}

// measuredMTU waits until the path MTU has been measured.
func measuredMTU(t *testing.T, w *World) control.PathMTU {
	t.Helper()
	for range 600 {
		s, err := w.Client.Status(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if s.PathMTU != nil && s.PathMTU.State == "complete" {
			return *s.PathMTU
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("the path MTU is not measured within a minute")
	return control.PathMTU{}
}

// move takes the laptop from where it is to another place.
func move(t *testing.T, w *World, to place) {
	t.Helper()
	w.Unplug(w.Wlan0)
	time.Sleep(100 * time.Millisecond)
	connected(t, w, to)
}

// Shows: HST-4, GDL-7, MOD-keep (every pair of modes, the second network narrow: a session of full-size segments goes on both ways
// after the change and after the change back, with routers that send ICMP errors, with such as do not, and with such as drop
// fragments besides)
func TestNoMoveIsABlackHole(t *testing.T) {
	t.Parallel()
	for ni, n := range narrownesses {
		for fi, from := range places {
			for ti, to := range places {
				if !sampled(len(narrownesses), ni, fi, ti) { // each pair once
					continue
				}
				t.Run(fmt.Sprintf("%s to %s, %s", from.name, to.name, n.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { testNarrowMove(t, from, to, n) })
				})
			}
		}
	}
}

func testNarrowMove(t *testing.T, from, to place, n narrowness) {
	w := world(t, Options{Seed: 120})
	j := Watch(w.External()...)
	connected(t, w, from)
	measuredMTU(t, w)
	c := converse(t, w) // at full size: 1386 octets
	c.pass(t, c.near, c.far, 100_000)
	c.pass(t, c.far, c.near, 100_000)
	narrow(w, to, n, narrowMTU)
	before := measuredMTU(t, w)
	move(t, w, to)
	up := c.pass(t, c.near, c.far, 100_000)
	down := c.pass(t, c.far, c.near, 100_000)
	m := measuredMTU(t, w)
	if m.MTU+m.Overhead > narrowMTU || m.Probes-before.Probes > 20 {
		t.Errorf("packets of %d octets with %d of overhead are sent; %d probes", m.MTU, m.Overhead, m.Probes-before.Probes)
	}
	limit := 3 * time.Second
	if n.swallow { // the i-HA is told when the search is over, and the correspondent's timer has backed off meanwhile
		limit = 10 * time.Second
	}
	if up > limit || down > limit {
		t.Errorf("100000 octets took %v up and %v down", up, down)
	}
	echoDatagram(t, w, 1352) // of the device's MTU, without DF: fragmented, not lost
	d := converseOn(t, w, probePort)
	d.pass(t, d.near, d.far, 100_000)
	d.pass(t, d.far, d.near, 100_000)
	narrow(w, to, narrowness{}, 1500)
	move(t, w, from)
	c.pass(t, c.near, c.far, 100_000)
	c.pass(t, c.far, c.near, 100_000)
	if from.name != to.name {
		if back := measuredMTU(t, w); back.MTU < 1371 {
			t.Errorf("back on a wide network, packets of %d octets are sent", back.MTU)
		}
	}
	c.end(t)
	d.end(t)
	judge(t, j)
	t.Logf("MTU %d after %d probes; 100000 octets in %v up and %v down", m.MTU, m.Probes-before.Probes, up, down)
}

// converseOn makes a further connection.
func converseOn(t *testing.T, w *World, port uint16) *conversation {
	t.Helper()
	to := netip.AddrPortFrom(simnet.LabCorrespondent, port)
	l, err := w.Correspondent.ListenTCP(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &conversation{}
	if c.near, err = w.Laptop.DialTCP(to, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if c.far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return c
}

// echoDatagram has the correspondent echo a UDP datagram of n octets, which the applications' hosts send without DF.
func echoDatagram(t *testing.T, w *World, n int) {
	t.Helper()
	far, err := w.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, 7002))
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, 7002))
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	payload := bytes.Repeat(Canary, n/len(Canary)+1)[:n]
	buf := make([]byte, 2*n)
	for _, c := range []struct {
		from, to *simnet.UDPConn
		dst      netip.Addr
	}{{near, far, simnet.LabCorrespondent}, {far, near, simnet.LabHomeAddress}} {
		if _, err := c.from.WriteToAddrPort(payload, netip.AddrPortFrom(c.dst, 7002)); err != nil {
			t.Fatal(err)
		}
		if err := c.to.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if m, _, err := c.to.ReadFromAddrPort(buf); err != nil || !bytes.Equal(buf[:m], payload) {
			t.Errorf("a datagram of %d octets to %v: %d arrived, %v", n, c.dst, m, err)
		}
	}
}

// Shows: HST-4 (PPPoE's 1492, 1280 and less than any link of today, at each place: measured, and nothing lost)
func TestEveryMTU(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		for _, mtu := range []int{1492, 1480, 1400, 1280, 1000, 600} {
			t.Run(fmt.Sprintf("%s, %d", at.name, mtu), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 121})
					narrow(w, at, narrowness{quiet: true}, mtu)
					j := Watch(w.External()...)
					connected(t, w, at)
					c := converse(t, w)
					c.pass(t, c.near, c.far, 50_000)
					c.pass(t, c.far, c.near, 50_000)
					m := measuredMTU(t, w)
					if beyond := map[string]int{"office FA": 20, "hotspot": 20}[at.name]; m.MTU+m.Overhead+beyond > mtu && m.MTU < m.Link && m.MTU < 1386 {
						t.Errorf("packets of %d octets with %d of overhead are sent", m.MTU, m.Overhead)
					}
					d := converseOn(t, w, probePort)
					d.pass(t, d.near, d.far, 50_000)
					d.pass(t, d.far, d.near, 50_000)
					echoDatagram(t, w, 1352)
					c.end(t)
					d.end(t)
					judge(t, j)
					t.Logf("%d octets after %d probes", m.MTU, m.Probes)
				})
			})
		}
	}
}

// Shows: HST-4, MIP-12 (fragments are lost, too: connections are clamped both ways to what gets through whole; one that was
// there before goes on both ways, since the i-HA is told what the tunnel carries, and tells the correspondent)
func TestNoFragmentsGetThrough(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 122})
		j := Watch(w.External()...)
		connected(t, w, officePlace)
		c := converse(t, w)
		c.pass(t, c.near, c.far, 50_000)
		narrow(w, cafePlace, narrownesses[2], narrowMTU)
		move(t, w, cafePlace)
		if took := c.pass(t, c.near, c.far, 200_000); took > 10*time.Second {
			t.Errorf("200000 octets took %v", took)
		}
		m := measuredMTU(t, w)
		if m.MTU+m.Overhead > narrowMTU {
			t.Errorf("packets of %d octets with %d of overhead are sent", m.MTU, m.Overhead)
		}
		if took := c.pass(t, c.far, c.near, 200_000); took > 10*time.Second {
			t.Errorf("200000 octets to the laptop took %v", took)
		}
		d := converseOn(t, w, probePort)
		d.pass(t, d.near, d.far, 100_000)
		d.pass(t, d.far, d.near, 100_000)
		echoDatagram(t, w, 1352)
		time.Sleep(25 * time.Minute) // over the age of the i-HA's soft state
		if took := d.pass(t, d.far, d.near, 100_000); took > time.Second {
			t.Errorf("100000 octets took %v after a long while", took)
		}
		echoDatagram(t, w, 1352)
		c.end(t)
		d.end(t)
		judge(t, j)
	})
}

// Shows: HST-4 (a path that becomes narrow under a session without any sign)
func TestPathNarrowsUnderASession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 123})
		connected(t, w, cafePlace)
		c := converse(t, w)
		c.pass(t, c.near, c.far, 100_000)
		measuredMTU(t, w)
		w.CafeNAT.NIC("wan0").SetMTU(narrowMTU)
		w.CafeNAT.SetMute(true)
		w.CafeNAT.SetNoFragments(true)
		took := c.pass(t, c.near, c.far, 100_000)
		m := measuredMTU(t, w)
		if m.BlackHoles != 1 || m.MTU+m.Overhead > narrowMTU {
			t.Errorf("%+v", m)
		}
		if took > time.Minute {
			t.Errorf("the session stood still for %v", took)
		}
		c.end(t)
		t.Logf("stood still for %v", took)
	})
}

// Shows: HST-4 (lying ICMP: an attacker who sees everything in the café answers each packet with "fragmentation needed",
// MTU 68, 0 or 600, quoting it with DF: nothing becomes narrower, and few probes are sent)
func TestLyingICMP(t *testing.T) {
	t.Parallel()
	for _, mtu := range []uint16{0, 68, 600, 1200} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 124})
				j := Watch(w.External()...)
				a := intrude(t, w, w.Cafe, func(a *attacker, f simnet.Frame) {
					ip := packet.IPv4(bytes.Clone(f.Packet))
					if f.Sender != "laptop/wlan0" || !ip.Valid() || ip.TotalLen() < 300 {
						return
					}
					ip[6] |= 0x40
					m := tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, mtu, ip)
					p := packet.From(m)
					packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolICMP, Src: netip.MustParseAddr("192.168.1.1"), Dst: ip.Src()})
					p.Hardware = f.Source
					if a.frames.Out(link.Protected).Send(packet.One(p)) == nil {
						a.sent.Add(1)
					}
				})
				connected(t, w, cafePlace)
				c := converse(t, w)
				for range 30 {
					if took := c.pass(t, c.near, c.far, 50_000); took > time.Second {
						t.Errorf("50000 octets took %v", took)
					}
					time.Sleep(time.Second)
				}
				m := measuredMTU(t, w)
				if m.MTU != 1386 || m.Probes > 20 {
					t.Errorf("%+v", m)
				}
				if a.sent.Load() < 100 {
					t.Errorf("only %d lies were told", a.sent.Load())
				}
				if mtu != 0 && mtu < 1200 && m.Hints == 0 {
					t.Error("no lie was heard")
				}
				c.end(t)
				judge(t, j)
				t.Logf("%d lies, %d heard, %d probes", a.sent.Load(), m.Hints, m.Probes)
			})
		})
	}
}

// Shows: HST-4 (probes are sent through the gate, and stop with it: none leaves outside the tunnel, none in the clear outside;
// an idle hour sees none)
func TestProbesStayWithinTheirPath(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 125})
		clear, probes := watchClear(w), 0
		var mu sync.Mutex
		w.TapAll(func(f simnet.Frame) {
			if isProbe(packet.IPv4(f.Packet)) && f.Sender == "laptop/wlan0" {
				mu.Lock()
				defer mu.Unlock()
				probes++
			}
		})
		seen := func() int {
			mu.Lock()
			defer mu.Unlock()
			return probes
		}
		for _, at := range []place{cafePlace, hotspotPlace} {
			connected(t, w, at)
			measuredMTU(t, w)
			if n := seen(); n != 0 {
				t.Errorf("%d probes in the clear at the %s", n, at.name)
			}
		}
		move(t, w, officePlace)
		m := measuredMTU(t, w)
		if seen() != 2 {
			t.Errorf("%d probes in the office, want 2", seen())
		}
		time.Sleep(time.Hour)
		if again := measuredMTU(t, w); again.Probes != m.Probes || seen() != 2 {
			t.Errorf("%d probes in an idle hour", again.Probes-m.Probes)
		}
		clear.none(t)
	})
}

// Shows: HST-4 (probing can be switched off)
func TestProbesOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 126, Client: func(c *config.Config) { c.MTU.NoProbes = true }})
		connected(t, w, cafePlace)
		use(t, w)
		s, err := w.Client.Status(context.Background())
		if err != nil || s.PathMTU == nil || s.PathMTU.State != "off" || s.PathMTU.Probes != 0 || s.PathMTU.MTU != 1386 {
			t.Errorf("%+v, %v", s.PathMTU, err)
		}
	})
}

// Shows: HST-4 (nested user IPsec: IKE and ESP of the user's own, in UDP 4500 and as protocol 50, pass in every mode)
func TestUserIPsecInEveryMode(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		t.Run(at.mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 127})
				connected(t, w, at)
				far, err := w.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, 4500))
				if err != nil {
					t.Fatal(err)
				}
				defer far.Close()
				near, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, 4500))
				if err != nil {
					t.Fatal(err)
				}
				defer near.Close()
				buf := make([]byte, 100)
				for _, c := range []struct {
					from, to *simnet.UDPConn
					dst      netip.Addr
				}{{near, far, simnet.LabCorrespondent}, {far, near, simnet.LabHomeAddress}} {
					for _, payload := range []string{"\x00\x00\x00\x00 IKE", "\x12\x34\x56\x78 ESP", "\xff"} {
						if _, err := c.from.WriteToAddrPort([]byte(payload), netip.AddrPortFrom(c.dst, 4500)); err != nil {
							t.Fatal(err)
						}
						if err := c.to.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
							t.Fatal(err)
						}
						if n, _, err := c.to.ReadFromAddrPort(buf); err != nil || string(buf[:n]) != payload {
							t.Errorf("%q to %v: %q, %v", payload, c.dst, buf[:n], err)
						}
					}
				}
				var up, down atomic.Int64
				tap := func(count *atomic.Int64, src, dst netip.Addr) func(simnet.Frame) {
					return func(f simnet.Frame) {
						if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() == packet.ProtocolESP && ip.Src() == src && ip.Dst() == dst {
							count.Add(1)
						}
					}
				}
				w.Core.Tap(tap(&up, simnet.LabHomeAddress, simnet.LabCorrespondent))
				under, err := w.Laptop.Underlay(0, simnet.LabHomeAddress)
				if err != nil {
					t.Fatal(err)
				}
				arrived := make(chan struct{}, 1)
				f, err := under.Open(link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(simnet.LabCorrespondent, 0)}, func(b *packet.Batch) {
					b.Release()
					arrived <- struct{}{}
				})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				for _, c := range []struct {
					host     *simnet.Host
					src, dst netip.Addr
				}{{w.Laptop, simnet.LabHomeAddress, simnet.LabCorrespondent}, {w.Correspondent, simnet.LabCorrespondent, simnet.LabHomeAddress}} {
					p := packet.From(make([]byte, 1000))
					packet.PushIPv4(p, packet.IPv4Fields{DontFragment: true, TTL: 64, Protocol: packet.ProtocolESP, Src: c.src, Dst: c.dst})
					if err := c.host.SendPacket(p.Bytes()); err != nil {
						t.Fatal(err)
					}
					p.Release()
				}
				select {
				case <-arrived:
					down.Add(1)
				case <-time.After(5 * time.Second):
				}
				if up.Load() == 0 || down.Load() == 0 {
					t.Errorf("ESP as protocol 50: %d seen on the way to the correspondent, %d arrived at the laptop", up.Load(), down.Load())
				}
			})
		})
	}
}

// Shows: HST-4 (the first connection on a measured path, before any host has heard of its MTU: both ends keep to it)
func TestFirstConnectionIsClamped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 128})
		narrow(w, cafePlace, narrownesses[2], narrowMTU)
		connected(t, w, cafePlace)
		m := measuredMTU(t, w)
		c := converse(t, w)
		for _, took := range []time.Duration{c.pass(t, c.far, c.near, 100_000), c.pass(t, c.near, c.far, 100_000)} {
			if took > time.Second {
				t.Errorf("100000 octets took %v on a path of %d octets", took, m.MTU)
			}
		}
		c.end(t)
	})
}

// Shows: HST-4, MIP-12 (a datagram as long as an Ethernet takes, from the correspondent: agents and gateway cut it, whole or
// already in a tunnel, and the laptop puts together what was cut in its layers)
func TestLongDatagramsArrive(t *testing.T) {
	t.Parallel()
	for _, at := range places {
		for _, udp := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, UDP everywhere %t", at.name, udp), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := world(t, Options{Seed: 129, Client: func(c *config.Config) {
						if udp {
							c.Internal.Encapsulation, c.External.Encapsulation = config.EncapsulationUDP, config.EncapsulationUDP
							c.Gateway.ForceUDPEncapsulation = true
						}
					}})
					j := Watch(w.External()...)
					connected(t, w, at)
					for _, n := range []int{1300, 1352, 1360, 1380, 1400, 1415, 1440, 1472, 4000} {
						echoDatagram(t, w, n)
					}
					judge(t, j)
				})
			})
		}
	}
}
