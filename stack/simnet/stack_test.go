package simnet

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// chain is left 10.1.0.1 - router 10.1.0.254 | 10.2.0.254 - right 10.2.0.1.
type chain struct {
	*Network
	left, router, right *Host
	ln, rl, rr, rn      *NIC
	lw, rw              *Wire
}

var right = netip.MustParseAddr("10.2.0.1")

func newChain(seed uint64) *chain {
	n := New(seed)
	c := &chain{Network: n, left: n.NewHost("left"), router: n.NewHost("router"), right: n.NewHost("right")}
	c.lw = n.NewWire(WireConfig{Name: "lw", Impairment: Impairment{Latency: time.Millisecond}})
	c.rw = n.NewWire(WireConfig{Name: "rw", Impairment: Impairment{Latency: time.Millisecond}})
	c.ln = c.left.join(c.lw, "eth0", "10.1.0.1/24", "10.1.0.254")
	c.rl = c.router.join(c.lw, "eth0", "10.1.0.254/24", "")
	c.rr = c.router.join(c.rw, "eth1", "10.2.0.254/24", "")
	c.rn = c.right.join(c.rw, "eth0", "10.2.0.1/24", "10.2.0.254")
	c.router.SetRouter(true)
	return c
}

// pingError returns how a ping ended.
func pingError(t *testing.T, h *Host, to netip.Addr, size int) error {
	t.Helper()
	_, err := h.Ping(to, size, time.Second)
	return err
}

func wantICMP(t *testing.T, err error, kind, code uint8) {
	t.Helper()
	var e *ICMPError
	if !errors.As(err, &e) || e.Type != kind || e.Code != code {
		t.Errorf("error %v, expected ICMP type %d, code %d", err, kind, code)
	}
}

func TestForwarding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		if rtt, err := c.left.Ping(right, 100, time.Second); err != nil || rtt != 4*time.Millisecond {
			t.Errorf("ping through the router: %v, %v", rtt, err)
		}
		wantICMP(t, pingError(t, c.left, netip.MustParseAddr("10.2.0.77"), 0), 3, 1)
		wantICMP(t, pingError(t, c.left, netip.MustParseAddr("203.0.113.1"), 0), 3, 0)
		c.router.SetRouter(false)
		if err := pingError(t, c.left, right, 0); !errors.Is(err, ErrTimeout) {
			t.Errorf("ping through a host that is no router: %v", err)
		}
	})
}

func TestTimeToLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		_, got := collect(t, c.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolICMP})
		c.mu.Lock()
		pkt := c.left.build(packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolUDP, Src: addrA, Dst: right}, make([]byte, 8))
		err := c.left.output(pkt, nil, true, false)
		c.mu.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if g := got(); len(g) != 1 || g[0].payload[0] != 11 || g[0].from.Addr() != netip.MustParseAddr("10.1.0.254") {
			t.Errorf("got %v, expected time exceeded from the router", g)
		}
	})
}

func TestUnreachablePortAndProtocol(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		_, icmp := collect(t, c.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolICMP})
		u, _ := collect(t, c.left, 1, addrA, udp(1000))
		esp, _ := collect(t, c.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolESP})
		_, tunnel := collect(t, c.right, 1, right, link.FlowSpec{Protocol: packet.ProtocolIPIP})
		ipip, _ := collect(t, c.left, 1, addrA, link.FlowSpec{Protocol: packet.ProtocolIPIP, Remote: netip.AddrPortFrom(right, 0)})
		mustSend(t, u, netip.AddrPortFrom(right, 9), "x")
		mustSend(t, esp, netip.AddrPortFrom(right, 0), "x")
		mustSend(t, ipip, netip.AddrPort{}, "inner")
		time.Sleep(time.Second)
		if g := tunnel(); len(g) != 1 || g[0].payload != "inner" || g[0].from != netip.AddrPortFrom(addrA, 0) {
			t.Errorf("protocol 4 arrived as %v", g)
		}
		g := icmp()
		if len(g) != 2 || g[0].payload[:2] != "\x03\x03" || g[1].payload[:2] != "\x03\x02" {
			t.Errorf("got ICMP %+v, expected unreachable port, then protocol", g)
		}
	})
}

func TestBestSocketGetsTheDatagram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		other, _ := collect(t, p.a, 1, addrA, udp(1001))
		_, wild := collect(t, p.b, 0, netip.Addr{}, udp(434))
		_, bound := collect(t, p.b, 1, addrB, udp(434))
		spec := udp(434)
		spec.Remote = netip.AddrPortFrom(addrA, 1000)
		_, connected := collect(t, p.b, 1, addrB, spec)
		mustSend(t, from, netip.AddrPortFrom(addrB, 434), "c")
		mustSend(t, other, netip.AddrPortFrom(addrB, 434), "b")
		mustSend(t, from, netip.AddrPortFrom(limitedBroadcast, 434), "all")
		time.Sleep(time.Second)
		if w, b, c := wild(), bound(), connected(); len(w) != 1 || len(b) != 1 || len(c) != 1 ||
			w[0].payload != "all" || b[0].payload != "b" || c[0].payload != "c" {
			t.Errorf("unbound %v, bound %v, connected %v", w, b, c)
		}
	})
}

func TestBatchesKeepOrderPeerAndTOS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		u, err := p.b.Underlay(1, addrB)
		if err != nil {
			t.Fatal(err)
		}
		sizes := []int{}
		next := byte(0)
		_, err = u.Open(udp(2000), func(b *packet.Batch) {
			sizes = append(sizes, b.Len())
			for _, q := range b.Bufs {
				if q.Bytes()[0] != next || q.TOS != 0xb8 || q.Interface != 1 || q.Peer != netip.AddrPortFrom(addrA, 1000) {
					t.Errorf("packet %d: % x, TOS %x, interface %d, peer %v", next, q.Bytes(), q.TOS, q.Interface, q.Peer)
				}
				next++
			}
			b.Release()
		})
		if err != nil {
			t.Fatal(err)
		}
		b := packet.GetBatch()
		for i := range 200 {
			q := packet.From([]byte{byte(i)})
			q.Peer, q.TOS = netip.AddrPortFrom(addrB, 2000), 0xb8
			b.Append(q)
		}
		path := from.Path(link.Protected)
		if path.Overhead != 28 || path.MTU != 1472 || path.Encrypted {
			t.Errorf("path %+v", path)
		}
		if err := path.Send(b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(sizes) != 2 || sizes[0] != packet.BatchSize || sizes[1] != 200-packet.BatchSize {
			t.Errorf("batches of %v", sizes)
		}
	})
}

func TestFragments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newChain(1)
		defer c.Close()
		c.rr.mtu = 576
		c.rw.Impair(Impairment{Latency: time.Millisecond, Reorder: 0.3})
		frames := 0
		c.rw.Tap(func(f Frame) {
			frames++
			if len(f.Packet) > 576 {
				t.Errorf("a packet of %d octets on a link of 576", len(f.Packet))
			}
		})
		from, _ := collect(t, c.left, 1, addrA, udp(1000))
		_, got := collect(t, c.right, 1, right, udp(2000))
		big := bytes.Repeat([]byte("0123456789"), 6000)
		for range 5 {
			mustSend(t, from, netip.AddrPortFrom(right, 2000), string(big))
		}
		time.Sleep(time.Second)
		g := got()
		if len(g) != 5 || frames < 5*60000/576 {
			t.Fatalf("%d datagrams from %d frames", len(g), frames)
		}
		for _, a := range g {
			if a.payload != string(big) {
				t.Error("a datagram came out of its fragments changed")
			}
		}
		if len(c.right.fragments) != 0 {
			t.Errorf("%d reassemblies are left", len(c.right.fragments))
		}
	})
}

func TestReassemblyTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		_, got := collect(t, p.b, 1, addrB, udp(2000))
		p.mu.Lock()
		seg := udpSegment(netip.AddrPortFrom(addrA, 1), netip.AddrPortFrom(addrB, 2000), make([]byte, 2000))
		whole := packet.IPv4(p.a.build(packet.IPv4Fields{Protocol: packet.ProtocolUDP, Src: addrA, Dst: addrB}, seg))
		parts := fragment(whole, 1500)
		p.b.input(p.bn, nil, bytes.Clone(parts[0]))
		p.mu.Unlock()
		time.Sleep(reassemblyTime + time.Second)
		p.mu.Lock()
		if len(p.b.fragments) != 0 {
			t.Error("a fragment is kept for longer than the reassembly time")
		}
		p.b.input(p.bn, nil, bytes.Clone(parts[1]))
		p.mu.Unlock()
		if g := got(); len(g) != 0 {
			t.Errorf("half a datagram arrived: %v", g)
		}
	})
}

// A TUN device with the home address: what is routed to it is read from it, what is written to it arrives, flows go by
// it, and the shielded home address is reached by no other way.
func TestDeviceRoutesAndShield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		dev, err := p.a.OpenDevice("mip0", 1380)
		if err != nil {
			t.Fatal(err)
		}
		home := LabHomeAddress
		s := link.Settings{Device: "mip0", Address: home, MTU: 1380, Routes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
		if err := p.a.Apply(s); err != nil {
			t.Fatal(err)
		}
		app, err := p.a.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 7000))
		if err != nil {
			t.Fatal(err)
		}
		// An application's packet goes into the device although the destination is on the wire.
		if _, err := app.WriteToAddrPort([]byte("app"), netip.AddrPortFrom(addrB, 2000)); err != nil {
			t.Fatal(err)
		}
		b := packet.GetBatch()
		if err := dev.Read(b); err != nil {
			t.Fatal(err)
		}
		ip := packet.IPv4(b.Bufs[0].Bytes())
		if b.Len() != 1 || ip.Src() != home || ip.Dst() != addrB || string(ip.Payload()[8:]) != "app" {
			t.Fatalf("read %d packets, the first % x", b.Len(), ip)
		}
		// A flow's does not.
		f, _ := collect(t, p.a, 1, addrA, udp(1000))
		_, got := collect(t, p.b, 1, addrB, udp(2000))
		mustSend(t, f, netip.AddrPortFrom(addrB, 2000), "flow")
		time.Sleep(time.Millisecond)
		if g := got(); len(g) != 1 || g[0].payload != "flow" {
			t.Fatalf("a flow's packet arrived as %v", g)
		}
		// What is written to the device comes to the application.
		answer := func() *packet.Buf {
			q := packet.From([]byte("down"))
			packet.PushUDP(q, netip.AddrPortFrom(addrB, 2000), netip.AddrPortFrom(home, 7000))
			packet.PushIPv4(q, packet.IPv4Fields{TTL: 9, Protocol: packet.ProtocolUDP, Src: addrB, Dst: home})
			return q
		}
		if err := dev.Write(packet.One(answer())); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, from, err := app.ReadFromAddrPort(buf)
		if err != nil || string(buf[:n]) != "down" || from != netip.AddrPortFrom(addrB, 2000) {
			t.Fatalf("read %q from %v, %v", buf[:n], from, err)
		}
		// From the wire it comes, too, as the weak host model has it, until it is shielded.
		frames, err := p.b.OpenFrames(1, func(b *packet.Batch) { b.Release() })
		if err != nil {
			t.Fatal(err)
		}
		past := func() bool {
			q := answer()
			q.Hardware = p.an.Hardware()
			if err := frames.Out(link.Protected).Send(packet.One(q)); err != nil {
				t.Fatal(err)
			}
			if err := app.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _, err := app.ReadFromAddrPort(buf)
			return err == nil
		}
		if !past() {
			t.Error("a host takes packets for any of its addresses on any interface; it did not")
		}
		if c := p.wire.holder(home); c != p.an {
			t.Errorf("ARP for the home address is answered by %v", c)
		}
		s.Shielded = []netip.Addr{home}
		if err := p.a.Apply(s); err != nil {
			t.Fatal(err)
		}
		if past() {
			t.Error("a shielded address was reached from the wire")
		}
		if c := p.wire.holder(home); c != nil {
			t.Errorf("ARP for the shielded home address is answered by %v", c)
		}
		if err := dev.Write(packet.One(answer())); err != nil {
			t.Fatal(err)
		}
		if err := app.SetReadDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := app.ReadFromAddrPort(buf); err != nil {
			t.Errorf("a shielded address is no longer reached from the device: %v", err)
		}
		// The zero settings take it all back.
		if err := p.a.Apply(link.Settings{}); err != nil {
			t.Fatal(err)
		}
		if _, err := app.WriteToAddrPort([]byte("direct"), netip.AddrPortFrom(addrB, 2000)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		if g := got(); len(g) != 2 || g[1].from.Addr() != addrA {
			t.Errorf("after the zero settings %v arrived", g)
		}
	})
}

func TestForwardIntoAndOutOfDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(1)
		defer l.Close()
		dev, err := l.InternalHA.OpenDevice("home0", 1480)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.InternalHA.Apply(link.Settings{Device: "home0", Routes: []netip.Prefix{LabHomeNetwork}, Forward: true}); err != nil {
			t.Fatal(err)
		}
		u, err := l.Correspondent.ListenUDP(netip.AddrPortFrom(netip.Addr{}, 5000))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.WriteToAddrPort([]byte("to home"), netip.AddrPortFrom(LabHomeAddress, 6000)); err != nil {
			t.Fatal(err)
		}
		b := packet.GetBatch()
		if err := dev.Read(b); err != nil {
			t.Fatal(err)
		}
		ip := packet.IPv4(b.Bufs[0].Bytes())
		if ip.Dst() != LabHomeAddress || ip.TTL() != 62 || !ip.ChecksumOK() {
			t.Fatalf("the device got % x", ip)
		}
		// Back from the mobile node, out of the device.
		q := packet.From([]byte("from home"))
		packet.PushUDP(q, netip.AddrPortFrom(LabHomeAddress, 6000), netip.AddrPortFrom(LabCorrespondent, 5000))
		packet.PushIPv4(q, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: LabHomeAddress, Dst: LabCorrespondent})
		if err := dev.Write(packet.One(q)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, from, err := u.ReadFromAddrPort(buf)
		if err != nil || string(buf[:n]) != "from home" || from.Addr() != LabHomeAddress {
			t.Errorf("read %q from %v, %v", buf[:n], from, err)
		}
	})
}

func TestApplyRefusesNonsense(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		if err := p.a.Apply(link.Settings{Device: "none"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("settings for a device that is not there: %v", err)
		}
		if err := p.a.Apply(link.Settings{Address: addrB}); err == nil {
			t.Error("an address without a device was accepted")
		}
		if d, err := p.a.OpenDevice("", 1400); err != nil || d.Name() != "tun0" {
			t.Fatalf("device %v, %v", d, err)
		}
		if _, err := p.a.OpenDevice("tun0", 1400); err == nil {
			t.Error("the name of a device was given twice")
		}
		if _, err := p.a.OpenDevice("eth0", 1400); err == nil {
			t.Error("the name of an interface was given to a device")
		}
		if _, err := p.a.OpenDevice("x", 10); err == nil {
			t.Error("an MTU of 10 was accepted")
		}
	})
}
