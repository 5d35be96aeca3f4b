package stack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// talker is a TUN device whose host sends TCP streams, some segments alone and some as superpackets, until it is told to stop.
type talker struct {
	feeder
	stop  atomic.Bool
	reads atomic.Int64
	rng   *rand.Rand
	next  [testFlows]uint32 // sequence numbers
	sent  int               // segments
}

// Read implements link.Device.
func (d *talker) Read(b *packet.Batch) error {
	if d.stop.Load() {
		return net.ErrClosed
	}
	d.reads.Add(1)
	for range 1 + d.rng.IntN(6) {
		flow, size := d.rng.IntN(testFlows), 1+d.rng.IntN(600)
		segments := 1
		if d.rng.IntN(3) > 0 {
			segments += d.rng.IntN(20)
		}
		n := size*segments - d.rng.IntN(size)
		ip := tcp(0x10, nil, timestamps, stream(d.next[flow], n))
		t := ip.Payload()
		binary.BigEndian.PutUint16(t, uint16(flow))
		binary.BigEndian.PutUint32(t[4:], d.next[flow])
		t[16], t[17] = 0, 0
		binary.BigEndian.PutUint16(t[16:], packet.TransportChecksum(t, home, correspondent, packet.ProtocolTCP))
		d.next[flow] += uint32(n)
		p := packet.From(ip)
		if segments > 1 {
			if err := p.MakeSuper(size); err != nil {
				return err
			}
		}
		d.sent += p.Segments()
		b.Append(p)
	}
	return nil
}

// listener looks at the segments that leave, whichever pipeline they leave through.
type listener struct {
	t    *testing.T
	mu   sync.Mutex
	next [testFlows]uint32
	n    int
}

func (o *listener) take(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.n++
	ip := packet.IPv4(p)
	if !ip.Valid() || !ip.ChecksumOK() || !intact(ip) {
		o.t.Errorf("left as %x", p[:min(len(p), 60)])
		return
	}
	t := ip.Payload()
	flow, seq, data := binary.BigEndian.Uint16(t), binary.BigEndian.Uint32(t[4:]), t[32:]
	if flow >= testFlows || seq < o.next[flow] {
		o.t.Errorf("octet %d of stream %d left after octet %d", seq, flow, o.next[flow])
		return
	}
	if !bytes.Equal(data, stream(seq, len(data))) {
		o.t.Errorf("octets %d to %d of stream %d were changed", seq, int(seq)+len(data), flow)
	}
	o.next[flow] = seq + uint32(len(data))
}

// Changes of the pipeline under traffic of superpackets and ordinary packets, with and without a hold, between modes with and
// without a VPN: each stream keeps its order, not an octet is changed, and each segment leaves or is counted as dropped. Run
// it under the race detector and with -tags packetdebug.
func TestStreamsThroughEveryChange(t *testing.T) {
	o := &listener{t: t}
	var laptops []*laptop
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		l.wire.each = func(s []byte) {
			p, err := l.opened(s)
			if err != nil {
				t.Errorf("%v: %v", c, err)
				return
			}
			o.take(p)
		}
		laptops = append(laptops, l)
	}
	var drops packet.Drops
	d := &talker{rng: rand.New(rand.NewPCG(2026, 4))}
	e := NewEngine(d, &clock{}, home, &drops)
	e.Swap(laptops[0].pipeline)
	done := make(chan error)
	go func() { done <- e.Run() }()
	// meanwhile lets the host send n batches.
	meanwhile := func(n int) {
		for until := d.reads.Load() + int64(n); d.reads.Load() < until; {
			runtime.Gosched()
		}
	}
	const rounds = 120
	for i := range rounds {
		if i%3 != 0 {
			e.Hold()
			meanwhile(i % 4)
		}
		if i%7 == 6 {
			e.Swap(nil)
		} else {
			e.Swap(laptops[i%len(laptops)].pipeline)
		}
		meanwhile(i % 4)
	}
	d.stop.Store(true)
	check(t, <-done)
	e.Swap(laptops[0].pipeline)
	dropped := int(drops.Of(packet.DropNoPath))
	if d.sent != o.n+dropped || len(drops.Snapshot()) > 1 {
		t.Errorf("the host sent %d segments, %d left and %d were counted as dropped: %v", d.sent, o.n, dropped, drops.Snapshot())
	}
	if traffic := e.Traffic(); traffic.TxPackets != uint64(o.n) {
		t.Errorf("%d segments left, the engine counts %d", o.n, traffic.TxPackets)
	}
	for _, l := range laptops {
		if l.wire.packets == 0 || len(l.drops.Snapshot()) > 0 {
			t.Errorf("%v: %d packets left, drops %v", l.composition, l.wire.packets, l.drops.Snapshot())
		}
	}
}

// Trains that arrive reach the host in their order in every mode, also when others' packets are among them.
func TestTrainsArriveInOrder(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		var sealed [][]byte
		for n := range 3 * superSegments {
			p := toHome(home.String(), 60+n%5)
			p[packet.IPv4Len] = byte(n)
			sealed = append(sealed, l.sealed(p, 1)...)
			if n%7 == 3 {
				alien := bytes.Clone(sealed[0])
				alien[len(alien)-1] ^= 1 // no SA's, or another connection's: whatever it is, the others go on in their order
				if c.layers().VPN {
					sealed = append(sealed, alien)
				}
			}
		}
		var arrived []byte
		l.device.each = func(p []byte) { arrived = append(arrived, p[packet.IPv4Len]) }
		for len(sealed) > 0 {
			n := min(superSegments, len(sealed))
			l.arriveTrain(sealed[:n])
			sealed = sealed[n:]
		}
		if len(arrived) != 3*superSegments {
			t.Fatalf("%v: %d arrived, drops %v", c, len(arrived), l.drops.Snapshot())
		}
		for n, got := range arrived {
			if got != byte(n) {
				t.Fatalf("%v: packet %d arrived in the place of packet %d", c, got, n)
			}
		}
	}
}

// Where a layer has verified a UDP checksum around a packet, the sum goes with it to the device, whatever ECN and MSS have
// changed of it, so that nothing is summed twice.
func TestTheSumGoesWithThePacket(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		l.pipeline.Limit(1200)
		known := 0
		l.device.look = func(p *packet.Buf) {
			sum, ok := p.Sum()
			if !ok {
				return
			}
			known++
			ip := packet.IPv4(p.Bytes())
			if got := uint16(packet.PartialSum(ip, 0)); got != sum {
				t.Errorf("%v: the sum is %#04x, %#04x is said", c, got, sum)
			}
			if !intact(ip) {
				t.Errorf("%v: %x arrived", c, []byte(ip))
			}
		}
		syn, data := tcp(2, nil, []byte{2, 4, 0x05, 0xb4}, nil), tcp(0x10, nil, timestamps, stream(5, 1001))
		for _, p := range []packet.IPv4{syn, data} {
			copy(p[12:], correspondent.AsSlice())
			copy(p[16:], home.AsSlice()) // the sum stays
			p[1] = 2                     // ECT(0)
			mendHeader(p)
			l.arrive(l.sealed(p, batchOf))
		}
		want := 0
		if c.nat && c.layers().VPN && !c.layers().GatewayAgent {
			want = 2 * batchOf
		}
		if known != want || l.device.written != 2*batchOf {
			t.Errorf("%v: the sum of %d packets is known, want %d; %d arrived", c, known, want, l.device.written)
		}
	}
}

// crowd is a link with several flows, what comes for them, and the order in which it came.
type crowd struct {
	link    *PacketLink
	drops   packet.Drops
	came    []string        // receiver and payload
	batches []*packet.Batch // as they were handed over
}

func newCrowd(tb testing.TB) *crowd {
	c := &crowd{}
	receiver := func(name string, head int) link.Receiver {
		return func(b *packet.Batch) {
			c.batches = append(c.batches, b)
			for _, p := range b.Bufs {
				c.came = append(c.came, name+string(p.Bytes()[head:]))
			}
			b.Release()
		}
	}
	c.link = NewPacketLink(near, &c.drops, receiver("rest ", packet.IPv4Len))
	for name, spec := range map[string]link.FlowSpec{
		"ike ":  {Protocol: packet.ProtocolUDP, Port: 500, Remote: netip.AddrPortFrom(far, 500)},
		"natt ": {Protocol: packet.ProtocolUDP, Port: 4500, Remote: netip.AddrPortFrom(far, 4500), Unsummed: true},
		"esp ":  {Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(far, 0)},
	} {
		_, err := c.link.Open(spec, receiver(name, 0))
		check(tb, err)
	}
	return c
}

// packet returns a packet with the payload for the flow of that name, or one that nobody takes.
func (c *crowd) packet(name, payload string) *packet.Buf {
	switch name {
	case "ike ":
		return udp("192.0.2.10:500", "198.51.100.100:500", payload)
	case "natt ":
		return udp("192.0.2.10:4500", "198.51.100.100:4500", payload)
	}
	p := packet.From([]byte(payload))
	f := packet.IPv4Fields{TTL: 9, Protocol: packet.ProtocolESP, Src: far, Dst: near}
	switch name {
	case "rest ":
		f.Src = correspondent
	case "stray ":
		f.Dst = home
	}
	packet.PushIPv4(p, f)
	if name == "broken " {
		p.Bytes()[10] ^= 1
	}
	return p
}

// A batch that is for one flow is handed on as it is, without what had to be dropped of it; of others, runs stay together.
func TestDeliverHandsOnWholeBatches(t *testing.T) {
	for _, c := range []struct {
		names   []string
		batches int
	}{
		{[]string{"natt ", "natt ", "natt "}, 1},
		{[]string{"stray ", "esp ", "broken ", "esp ", "stray "}, 1},
		{[]string{"rest ", "rest "}, 1},
		{[]string{"ike ", "ike ", "esp ", "esp ", "ike ", "rest "}, 4},
		{[]string{"stray ", "broken "}, 0},
		{nil, 0},
	} {
		w := newCrowd(t)
		b := packet.GetBatch()
		var want []string
		for i, name := range c.names {
			payload := string(rune('a'+i)) + "...."
			b.Append(w.packet(name, payload))
			if name != "stray " && name != "broken " {
				want = append(want, name+payload)
			}
		}
		w.link.Deliver(b)
		if len(w.batches) != c.batches || !slices.Equal(w.came, want) {
			t.Errorf("%q: came %q in %d batches, want %q in %d", c.names, w.came, len(w.batches), want, c.batches)
		}
		if c.batches > 0 && w.batches[len(w.batches)-1] != b {
			t.Errorf("%q: the last batch handed on is not the one that came", c.names)
		}
	}
}

// A segment sorts what comes by home address, each run in one batch, and takes it from the agent that serves the address.
func TestSegmentSortsByHomeAddress(t *testing.T) {
	var drops packet.Drops
	var came []string
	m := &memory{}
	advertised := 0
	s, err := OpenSegment(m, memoryInterface, &drops, func(Advertisement) { advertised++ })
	check(t, err)
	agents := map[netip.Addr]packet.HardwareAddr{home: {2, 1}, near: {2, 2}}
	for address, agent := range agents {
		s.Visit(address, agent, 1500, func(b *packet.Batch) {
			for _, p := range b.Bufs {
				came = append(came, address.String()+string(p.Bytes()[packet.IPv4Len:]))
			}
			b.Release()
		})
	}
	var want []string
	b := packet.GetBatch()
	add := func(dst netip.Addr, payload string, agent packet.HardwareAddr) packet.IPv4 {
		p := packet.From([]byte(payload))
		packet.PushIPv4(p, packet.IPv4Fields{TTL: 1, Protocol: packet.ProtocolICMP, Src: correspondent, Dst: dst})
		p.Hardware = agent
		b.Append(p)
		return packet.IPv4(p.Bytes())
	}
	for i, dst := range []netip.Addr{home, home, near, home, near, near} {
		payload := string(rune('a' + i))
		add(dst, payload, agents[dst])
		want = append(want, dst.String()+payload)
		add(dst, "from another", packet.HardwareAddr{2, 9})
		add(correspondent, "for another", agents[dst])
	}
	add(allSystems, "\x09advertisement", packet.HardwareAddr{2, 9})
	add(allSystems, "\x09damaged", packet.HardwareAddr{2, 9})[8]++
	add(home, "damaged", agents[home])[8]++
	m.frames(b)
	if !slices.Equal(came, want) || advertised != 1 {
		t.Errorf("came %q and %d advertisements, want %q and 1", came, advertised, want)
	}
	if drops.Of(packet.DropWrongTunnelPeer) != 6 || drops.Of(packet.DropMalformed) != 2 {
		t.Errorf("drops %v", drops.Snapshot())
	}
}

// FuzzDeliverBatch mixes packets for several flows, for the host, for nobody, and fragments, in batches: each goes where it
// belongs, in its order, and is counted when it goes nowhere.
func FuzzDeliverBatch(f *testing.F) {
	f.Add([]byte{0, 0, 1, 1, 2, 3, 4, 5, 6, 0x80, 0, 7, 7})
	f.Add([]byte{6, 0x86, 6, 1, 7, 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		w := newCrowd(t)
		names := []string{"ike ", "natt ", "esp ", "rest ", "stray ", "broken "}
		var want []string
		dropped := 0
		b := packet.GetBatch()
		for i, step := range steps[:min(len(steps), 200)] {
			if step&0x80 != 0 {
				w.link.Deliver(b)
				b = packet.GetBatch()
			}
			payload := string(binary.BigEndian.AppendUint32([]byte("0123456789"), uint32(i)))
			switch k := int(step & 7); k {
			case 6, 7: // in two fragments, of which 7 loses one
				whole := packet.IPv4(w.packet("esp ", payload).Bytes())
				binary.BigEndian.PutUint16(whole[4:], uint16(i))
				mendHeader(whole)
				pieces := [][]byte{piece(uint16(i), 0, true, whole[20:28]), piece(uint16(i), 8, false, whole[28:])}
				for _, p := range pieces[:8-k] {
					b.Append(packet.From(p))
				}
				if k == 6 {
					want = append(want, "esp "+payload)
				}
			case 4, 5:
				dropped++
				b.Append(w.packet(names[k], payload))
			default:
				want = append(want, names[k]+payload)
				b.Append(w.packet(names[k], payload))
			}
		}
		w.link.Deliver(b)
		counted := 0
		for _, n := range w.drops.Snapshot() {
			counted += int(n)
		}
		if !slices.Equal(w.came, want) || counted != dropped {
			t.Fatalf("came %q, want %q; %d drops, want %d: %v", w.came, want, counted, dropped, w.drops.Snapshot())
		}
	})
}
