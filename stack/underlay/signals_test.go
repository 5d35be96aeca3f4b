//go:build linux

package underlay

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// kernelDrops returns how many messages the kernel has dropped because the socket's receive buffer was full.
func kernelDrops(t *testing.T, s *socket) uint32 {
	t.Helper()
	var info [9]uint32 // SK_MEMINFO_VARS of linux/sock_diag.h, the drops last
	n := uint32(unsafe.Sizeof(info))
	err := s.control(func(fd int) error {
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		t.Fatalf("SO_MEMINFO: %v", err)
	}
	return info[8]
}

// message is a payload of n octets that is data, or signalling, of a kind of flow, with a number in it.
func message(s link.Signalling, signalling bool, i, n int) []byte {
	p := make([]byte, n)
	if s == link.SignallingMobileIP {
		p[0] = 4
		if signalling {
			p[0] = 3
		}
	} else if !signalling {
		p[0] = 4
	}
	binary.BigEndian.PutUint32(p[8:], uint32(i))
	return p
}

// blocked opens a flow whose receiver, given data, waits until the test lets it go on; signalling goes into the inbox.
func blocked(t *testing.T, l link.Link, spec link.FlowSpec) (f *flow, signalling, data inbox, release func()) {
	t.Helper()
	hold := make(chan struct{})
	signalling, data = newInbox(), newInbox()
	f = open(t, l, spec, func(b *packet.Batch) {
		if spec.Signalling.Is(b.Bufs[0].Bytes()) {
			signalling <- b
			return
		}
		<-hold
		data <- b
	}).(*flow)
	if f.signals == nil {
		t.Fatal("the flow has one socket only")
	}
	released := false
	release = func() {
		if !released {
			released = true
			close(hold)
		}
	}
	t.Cleanup(release) // before the flow is closed
	return f, signalling, data, release
}

// However much data there is, and although nobody takes it, all signalling arrives, in order, and every packet that the
// kernel had no room for is counted.
func TestSignallingIsNotStarved(t *testing.T) {
	for _, spec := range []link.FlowSpec{
		{Protocol: packet.ProtocolUDP, Port: 434, Signalling: link.SignallingMobileIP},
		{Protocol: packet.ProtocolUDP, Port: 4500, Signalling: link.SignallingNATTraversal},
	} {
		p := newPair(t)
		f, signalling, data, release := blocked(t, p.linkB, spec)
		if err := f.set("SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10); err != nil {
			t.Fatal(err)
		}
		from := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: f.Local()}, func(b *packet.Batch) { b.Release() })
		path := from.Path(link.Plaintext)
		sent := 0
		flood := func() {
			if err := path.Send(packet.One(packet.From(message(spec.Signalling, false, sent, 1000)))); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		for kernelDrops(t, f.socket) == 0 {
			flood()
			if sent > 10000 {
				t.Fatalf("port %d: %d packets and none is too many", spec.Port, sent)
			}
		}
		const messages = 200
		var got []*packet.Buf
		for i := range messages {
			flood()
			if err := from.Send(netip.AddrPort{}, message(spec.Signalling, true, i, 60)); err != nil {
				t.Fatal(err)
			}
			got = append(got, signalling.take(t, 1)...) // while nobody takes data
		}
		for i, b := range got {
			if n := binary.BigEndian.Uint32(b.Bytes()[8:]); n != uint32(i) || b.Peer != from.Local() {
				t.Fatalf("port %d: message %d is number %d from %v", spec.Port, i, n, b.Peer)
			}
		}
		if len(got) != messages {
			t.Errorf("port %d: %d messages of %d", spec.Port, len(got), messages)
		}
		lost := kernelDrops(t, f.socket)
		release()
		arrived := len(data.take(t, sent-int(lost)))
		flood() // which tells of the losses before it
		arrived += len(data.take(t, 1))
		if counted := p.b.opts.Drops.Snapshot()["queue_full"]; counted != uint64(lost) || arrived+int(lost) != sent {
			t.Errorf("port %d: %d packets sent, %d arrived, %d lost, %d counted", spec.Port, sent, arrived, lost, counted)
		}
		if n := kernelDrops(t, f.signals); n != 0 {
			t.Errorf("port %d: %d messages lost", spec.Port, n)
		}
	}
}

// A message neither waits for who sends data nor for room in the buffer of data, and IKE in tunnelled data, from a layer above,
// does not either. They bear another time to live than data, so that nobody on the way joins them to trains of data.
func TestSignallingDoesNotWaitToBeSent(t *testing.T) {
	p := newPair(t)
	atB := newInbox()
	openTestFrames(t, p.b, p.indexB, atB.receive)
	remote := netip.AddrPortFrom(addrB.Addr(), 434)
	f := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: remote, Signalling: link.SignallingMobileIP},
		func(b *packet.Batch) { b.Release() }).(*flow)
	ike := tunnelled(t, 0, 500, 500, []byte("IKE"))
	f.tx.mu.Lock()
	sends := []error{
		f.Send(netip.AddrPort{}, []byte{1, 2, 3}),
		f.Send(remote, ike),
	}
	b := packet.GetBatch()
	p1 := packet.From(ike)
	p1.TOS = 0xb8
	b.Append(p1)
	f.takeSignals(b)
	if b.Len() != 0 {
		t.Errorf("%d packets are left to wait", b.Len())
	}
	b.Release()
	f.tx.mu.Unlock()
	if err := errors.Join(sends...); err != nil {
		t.Fatal(err)
	}
	mixed := packet.GetBatch()
	for i := range 3 {
		mixed.Append(packet.From(message(link.SignallingMobileIP, false, i, len(ike))))
	}
	mixed.Append(packet.From(ike))
	if err := f.Path(link.Protected).Send(mixed); err != nil {
		t.Fatal(err)
	}
	whole := packet.From(ike)
	whole.DontFragment = true
	plain := packet.From(ike)
	for class, b := range map[link.Class]*packet.Buf{link.Protected: whole, link.Plaintext: plain} {
		if err := f.Path(class).Send(packet.One(b)); err != nil {
			t.Fatal(err)
		}
	}
	counts := map[uint8]int{}
	tos := 0
	for _, b := range atB.take(t, 9) {
		ip := packet.IPv4(b.Bytes())
		u := packet.UDP(ip.Payload())
		if ip.Protocol() != packet.ProtocolUDP || u.SrcPort() != f.Local().Port() || u.DstPort() != 434 {
			t.Errorf("a packet of protocol %d", ip.Protocol())
			continue
		}
		counts[ip.TTL()]++
		if ip.TOS() == 0xb8 {
			tos++
		}
	}
	// The two that were sent, the one taken out of a batch, and the one out of the mixed batch; three of data, and two that look
	// like signalling but must bear DF, or the mark of plaintext.
	if counts[signalTTL] != 4 || counts[64] != 5 || tos != 1 {
		t.Errorf("packets by TTL %v, %d with the type of service", counts, tos)
	}
	var priority int
	if err := f.signals.control(func(fd int) (err error) {
		priority, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY)
		return err
	}); err != nil || priority != signalPriority {
		t.Errorf("priority %d, %v", priority, err)
	}
}

// The two sockets of a flow are on one port, and nobody else gets it: two daemons would take each other's packets.
func TestSignallingPortIsExclusive(t *testing.T) {
	p := newPair(t)
	spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500, Signalling: link.SignallingNATTraversal}
	drop := func(b *packet.Batch) { b.Release() }
	f := open(t, p.linkB, spec, drop)
	for _, other := range []link.FlowSpec{spec, {Protocol: packet.ProtocolUDP, Port: 4500}} {
		if g, err := p.linkB.Open(other, drop); !errors.Is(err, unix.EADDRINUSE) {
			if err == nil {
				g.Close()
			}
			t.Errorf("opened again: %v, want %v", err, unix.EADDRINUSE)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, p.linkB, spec, drop)
	ephemeral := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Signalling: link.SignallingMobileIP}, drop).(*flow)
	var name unix.Sockaddr
	if err := ephemeral.signals.control(func(fd int) (err error) {
		name, err = unix.Getsockname(fd)
		return err
	}); err != nil || name.(*unix.SockaddrInet4).Port != int(ephemeral.Local().Port()) || ephemeral.Local().Port() == 0 {
		t.Errorf("the second socket is on %+v, the first on %v (%v)", name, ephemeral.Local(), err)
	}
}

// Where the kernel refuses the program the flow works with one socket, as it would without.
func TestSignallingWithoutTheKernelsHelp(t *testing.T) {
	p := newPair(t)
	atB := newInbox()
	spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}
	f := open(t, p.linkB, spec, atB.receive).(*flow)
	f.openSignals(p.linkB.(*kernelLink), spec, []bpf.Instruction{bpf.LoadAbsolute{Off: 0, Size: 1}}) // it never returns
	if f.signals != nil {
		t.Fatal("a program without an end has been taken")
	}
	if g, err := p.linkB.Open(spec, atB.receive); err == nil {
		g.Close()
		t.Error("the port is left open to others")
	}
	from := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: f.Local()}, atB.receive)
	for i := range 20 {
		if err := from.Send(netip.AddrPort{}, message(link.SignallingMobileIP, i%2 == 0, i, 100)); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range atB.take(t, 20) {
		if n := binary.BigEndian.Uint32(b.Bytes()[8:]); n != uint32(i) {
			t.Fatalf("message %d is number %d", i, n)
		}
	}
}
