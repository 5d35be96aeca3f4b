//go:build linux

package underlay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// What follows counts what a packet costs, without a clock: system calls through the method values that make them, copies by
// where the octets lie that the kernel is given or has filled, allocations.

// within reports whether p lies in memory.
func within(p *byte, memory []byte) bool {
	at, from := uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	return at >= from && at < from+uintptr(len(memory))
}

const (
	guardSegments = 45
	guardSize     = 1288 // octets of payload of a segment
)

// guardSuper returns a TCP superpacket of guardSegments segments behind a tunnel data header, as mode c sends it.
func guardSuper(t testing.TB, payload []byte) *packet.Buf {
	b := packet.GetLarge()
	copy(b.Extend(len(payload)), payload)
	h := b.Push(20)
	clear(h)
	binary.BigEndian.PutUint32(h[4:], 1000)
	h[12], h[13] = 5<<4, 0x18
	packet.PushIPv4(b, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolTCP, Src: homeA, Dst: addrB.Addr()})
	if err := b.MakeSuper(guardSize); err != nil {
		t.Fatal(err)
	}
	copy(b.Push(4), []byte{4, 4, 0, 0})
	return b
}

// A superpacket of 45 segments leaves in two messages of one call, or two, its payload from where it is.
func TestGuardSend(t *testing.T) {
	p := newPair(t)
	arrived := newInbox()
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, arrived.receive)
	f := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, newInbox().receive).(*flow)
	if !f.gso.Load() {
		t.Skip("needs UDP_SEGMENT")
	}
	payload := make([]byte, guardSegments*guardSize)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	b := guardSuper(t, payload)
	memory := b.Bytes()
	memory = memory[len(memory)-len(payload):]
	calls, messages, copied, from := 0, 0, 0, 0
	send := f.tx.call
	f.tx.call = func(fd uintptr) bool {
		calls++
		for i := range f.tx.messages {
			h := &f.tx.msgs[i].hdr
			messages++
			for k, iov := range unsafe.Slice(h.Iov, h.Iovlen) {
				if inHead := k%2 == 0; inHead != within(iov.Base, f.tx.heads[:]) || inHead == within(iov.Base, memory) {
					copied++
				} else if !inHead {
					from += int(iov.Len)
				}
			}
		}
		return send(fd)
	}
	if err := f.Path(link.Protected).Send(packet.One(b)); err != nil {
		t.Fatal(err)
	}
	if calls > 2 || messages > 2 {
		t.Errorf("%d calls for %d messages, want at most 2", calls, messages)
	}
	if copied != 0 || from != len(payload) {
		t.Errorf("%d iovecs lie neither in the transmitter's heads nor in the superpacket, %d octets of %d of the payload were sent from there", copied, from, len(payload))
	}
	var got []byte
	for i, q := range arrived.take(t, guardSegments) {
		ip := packet.IPv4(q.Bytes()[4:])
		if !ip.Valid() || !ip.ChecksumOK() || packet.TransportChecksum(ip.Payload(), ip.Src(), ip.Dst(), packet.ProtocolTCP) != 0 {
			t.Fatalf("segment %d has a wrong checksum", i)
		}
		got = append(got, ip.Payload()[20:]...)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the segments do not make up the superpacket")
	}
}

// A train of 45 datagrams is received by one call, and all but one of its datagrams stay where the kernel has put them.
func TestGuardReceive(t *testing.T) {
	p := newPair(t)
	f := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, newInbox().receive).(*flow)
	// The same receiver over a socket of the test, whose calls are counted.
	var s *socket
	netnstest.Inside(t, p.nsB, func() (err error) {
		if s, err = newSocket(unix.AF_INET, unix.SOCK_DGRAM, 0, 1); err != nil {
			return err
		}
		return s.control(func(fd int) error {
			if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
				return err
			}
			return unix.Bind(fd, &unix.SockaddrInet4{Port: 435, Addr: addrB.Addr().As4()})
		})
	})
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(addrB.Addr(), 435)}, newInbox().receive).(*flow)
	if !client.gso.Load() {
		t.Skip("needs UDP_SEGMENT")
	}
	r := newFlowReceiver(f, s, receiveMessages)
	type train struct{ calls, datagrams, copied int }
	trains := make(chan train, 16)
	calls, last := 0, 0
	receive := r.call.call
	var filled [][]byte // where the kernel may have put octets in the last call
	r.call.call = func(fd uintptr) bool {
		// The memory of this call, before any of it is handed on.
		filled = filled[:0]
		for i := range r.slots.slots {
			s := &r.slots.slots[i]
			filled = append(filled, s.buf.Free(), s.slab.Bytes())
		}
		done := receive(fd)
		if done && r.call.errno == 0 {
			calls++
		}
		return done
	}
	number := 0
	f.recv = func(b *packet.Batch) {
		got := train{calls: calls - last, datagrams: b.Len()}
		last = calls
		for _, q := range b.Bufs {
			in := false
			for _, m := range filled {
				in = in || within(&q.Bytes()[0], m)
			}
			if !in {
				got.copied++
			}
			want := numbered(number, 1300)
			if !bytes.Equal(q.Bytes(), want.Bytes()) {
				t.Errorf("datagram %d differs", number)
			}
			want.Release()
			number++
		}
		b.Release()
		trains <- got
	}
	s.start(r.run)
	defer s.close()
	sent := 0
	for i := range 4 {
		batch := packet.GetBatch()
		for range guardSegments {
			batch.Append(numbered(sent, 1300))
			sent++
		}
		if err := client.Path(link.Protected).Send(batch); err != nil {
			t.Fatal(err)
		}
		got := <-trains
		most := 1 // lies across the end of the Buf that takes the beginning
		if i > 0 {
			most = 0 // the receiver knows by now how long the datagrams are
		}
		if got.calls != 1 || got.datagrams != guardSegments || got.copied > most {
			t.Errorf("train %d: %d datagrams by %d calls, %d of them copied; want %d by 1, at most %d copied", i, got.datagrams, got.calls, got.copied, guardSegments, most)
		}
	}
}

// Superpackets out and trains in allocate nothing.
func TestGuardAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget at random")
	}
	p := newPair(t)
	got := make(chan int, 1000)
	count := func(b *packet.Batch) {
		n := b.Len()
		b.Release()
		got <- n
	}
	server := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, count)
	client := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: server.Local()}, count)
	path := client.Path(link.Protected)
	payload := make([]byte, guardSegments*guardSize)
	send := func() {
		if err := path.Send(packet.One(guardSuper(t, payload))); err != nil {
			t.Fatal(err)
		}
		for n := 0; n < guardSegments; n += <-got {
		}
	}
	send()
	if n := testing.AllocsPerRun(100, send); n != 0 {
		t.Errorf("%v allocations for a superpacket sent and its train received, want none", n)
	}
}
