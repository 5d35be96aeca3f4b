//go:build linux

package underlay

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// inFrame is a UDP packet for a frame to another station, with a number in it.
func inFrame(to packet.HardwareAddr, src uint16, i, n int) *packet.Buf {
	p := packet.Get(n)
	b := p.Extend(n)
	clear(b)
	b[0] = 3 // a registration reply, on port 434
	binary.BigEndian.PutUint32(b[8:], uint32(i))
	packet.PushUDP(p, netip.AddrPortFrom(homeA, src), netip.AddrPortFrom(homeB, 1000))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: homeA, Dst: homeB})
	p.Hardware = to
	return p
}

// Registrations from a foreign agent and its advertisements arrive although nobody takes the data that comes from it.
func TestSignallingInFramesIsNotStarved(t *testing.T) {
	p := newPair(t)
	hold, signalling, data := make(chan struct{}), newInbox(), newInbox()
	f := openTestFrames(t, p.b, p.indexB, func(b *packet.Batch) {
		if signalsFrame(b.Bufs[0].Bytes()) {
			signalling <- b
			return
		}
		<-hold
		data <- b
	}).(*frames)
	released := false
	release := func() {
		if !released {
			released = true
			close(hold)
		}
	}
	t.Cleanup(release)
	if f.signals == nil {
		t.Fatal("there is one socket only")
	}
	if err := f.set("SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
		t.Fatal(err)
	}
	from := openTestFrames(t, p.a, p.indexA, func(b *packet.Batch) { b.Release() })
	out := from.Out(link.Plaintext)
	sent := 0
	flood := func() {
		if err := out.Send(packet.One(inFrame(f.hardware, 53, sent, 1000))); err != nil {
			t.Fatal(err)
		}
		sent++
	}
	for kernelDrops(t, f.socket) == 0 {
		flood()
		if sent > 10000 {
			t.Fatalf("%d packets and none is too many", sent)
		}
	}
	for i := range 100 {
		flood()
		if err := from.Out(link.Protected).Send(packet.One(inFrame(f.hardware, 434, i, 60))); err != nil {
			t.Fatal(err)
		}
		b := signalling.take(t, 1)[0]
		if n := binary.BigEndian.Uint32(packet.UDP(packet.IPv4(b.Bytes()).Payload()).Payload()[8:]); n != uint32(i) || b.Hardware != from.Hardware() {
			t.Fatalf("message %d is number %d from %v", i, n, b.Hardware)
		}
	}
	lost := kernelDrops(t, f.socket)
	release()
	arrived := len(data.take(t, sent-int(lost)))
	flood() // which tells of the losses before it
	arrived += len(data.take(t, 1))
	if counted := p.b.opts.Drops.Snapshot()["queue_full"]; counted != uint64(lost) || arrived+int(lost) != sent {
		t.Errorf("%d packets sent, %d arrived, %d lost, %d counted", sent, arrived, lost, counted)
	}
}

// A request to a foreign agent does not wait for who sends data.
func TestSignallingInFramesDoesNotWaitToBeSent(t *testing.T) {
	p := newPair(t)
	atB := newInbox()
	to := openTestFrames(t, p.b, p.indexB, atB.receive).Hardware()
	f := openTestFrames(t, p.a, p.indexA, func(b *packet.Batch) { b.Release() }).(*frames)
	f.tx.mu.Lock()
	b := packet.GetBatch()
	for i := range 3 {
		b.Append(inFrame(to, 434, i, 60))
	}
	f.takeSignals(b)
	f.tx.mu.Unlock()
	if b.Len() != 0 {
		t.Errorf("%d packets are left to wait", b.Len())
	}
	b.Append(inFrame(to, 53, 3, 60))
	b.Append(inFrame(to, 434, 4, 60))
	if err := f.Out(link.Protected).Send(b); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, q := range atB.take(t, 5) {
		ip := packet.IPv4(q.Bytes())
		if !ip.ChecksumOK() || ip.Src() != homeA || q.Hardware != f.hardware {
			t.Errorf("a packet from %v at %v", ip.Src(), q.Hardware)
		}
		seen |= 1 << binary.BigEndian.Uint32(packet.UDP(ip.Payload()).Payload()[8:])
	}
	if seen != 1<<5-1 {
		t.Errorf("packets %05b have arrived", seen)
	}
}
