//go:build linux

package underlay

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// plainPair are the links of both ends of a wire over the sockets of Go's net package.
func plainPair(t *testing.T) (p *pair, a, b *plainLink, drops *packet.Drops) {
	t.Helper()
	p, drops = newPair(t), new(packet.Drops)
	make := func(index int, addr netip.Addr) (l *plainLink) {
		l, err := newPlainLink(&ports{drops: drops}, index, addr)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	netnstest.Inside(t, p.nsA, func() error { a = make(p.indexA, addrA.Addr()); return nil })
	netnstest.Inside(t, p.nsB, func() error { b = make(p.indexB, addrB.Addr()); return nil })
	return p, a, b, drops
}

// openPlain opens a flow in a namespace.
func openPlain(t *testing.T, ns *os.File, l link.Link, spec link.FlowSpec, recv link.Receiver) (f link.Flow) {
	t.Helper()
	netnstest.Inside(t, ns, func() error { f = open(t, l, spec, recv); return nil })
	return f
}

// The sockets of Go's net package carry UDP as the underlay's own do: endpoints, TOS, batches, superpackets, and DF with what is
// too long for it. Darwin and Windows have nothing else.
func TestPlainFlow(t *testing.T) {
	p, a, b, drops := plainPair(t)
	atA, atB := newInbox(), newInbox()
	server := openPlain(t, p.nsB, b, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, atB.receive)
	near := openPlain(t, p.nsA, a, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(addrB.Addr(), 434)}, atA.receive)
	if near.Local().Addr() != addrA.Addr() || near.Local().Port() == 0 || near.Remote() != server.Local() {
		t.Errorf("from %v to %v", near.Local(), near.Remote())
	}
	if err := near.Send(netip.AddrPort{}, []byte("request")); err != nil {
		t.Fatal(err)
	}
	got := atB.take(t, 1)[0]
	if string(got.Bytes()) != "request" || got.Peer != near.Local() || got.Interface != p.indexB || got.TOS != 0 {
		t.Errorf("got %q from %v at %d with TOS %#x", got.Bytes(), got.Peer, got.Interface, got.TOS)
	}
	// The server answers with data to the peer of what came.
	path := server.Path(link.Protected)
	if path.Overhead != 28 || path.MTU != b.MTU()-28 {
		t.Errorf("path %+v", path)
	}
	batch := packet.GetBatch()
	for i := range 3 {
		d := packet.From(bytes.Repeat([]byte{byte(i)}, 1000))
		d.Peer, d.TOS, d.DontFragment = near.Local(), uint8(i), i == 1
		batch.Append(d)
	}
	if err := path.Send(batch); err != nil {
		t.Fatal(err)
	}
	for i, d := range atA.take(t, 3) {
		if d.Len() != 1000 || d.Bytes()[0] != byte(i) || d.TOS != uint8(i) || d.Peer != server.Local() {
			t.Errorf("datagram %d: %d octets of %d with TOS %#x from %v", i, d.Len(), d.Bytes()[0], d.TOS, d.Peer)
		}
	}
	// What bears DF must fit, the rest is fragmented.
	long := packet.From(make([]byte, b.MTU()))
	long.Peer, long.DontFragment = near.Local(), true
	if err := path.Send(packet.One(long)); !errors.Is(err, link.ErrTooBig) || drops.Of(packet.DropTooBig) != 1 {
		t.Errorf("error %v, %d dropped", err, drops.Of(packet.DropTooBig))
	}
	long = packet.From(make([]byte, 2*b.MTU()))
	long.Peer = near.Local()
	if err := path.Send(packet.One(long)); err != nil {
		t.Fatal(err)
	}
	if d := atA.take(t, 1)[0]; d.Len() != 2*b.MTU() {
		t.Errorf("%d octets", d.Len())
	}
	if _, err := a.Open(link.FlowSpec{Protocol: packet.ProtocolIPIP}, atA.receive); !errors.Is(err, ErrUnsupported) {
		t.Errorf("IP in IP: %v", err)
	}
}

// A connected flow hears its own peer alone, flows of one port share it, and a flow may be closed from its receiver.
func TestPlainFlowsShareTheirPort(t *testing.T) {
	p, a, b, drops := plainPair(t)
	in := map[uint16]inbox{4500: newInbox(), 4501: newInbox()}
	near := map[uint16]link.Flow{}
	for port, i := range in {
		near[port] = openPlain(t, p.nsA, a, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500, Remote: netip.AddrPortFrom(addrB.Addr(), port)}, i.receive)
	}
	other := openPlain(t, p.nsB, b, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4502}, newInbox().receive)
	if err := other.Send(near[4500].Local(), []byte("stranger")); err != nil {
		t.Fatal(err)
	}
	for port, i := range in {
		far := openPlain(t, p.nsB, b, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port}, newInbox().receive)
		if err := far.Send(near[port].Local(), []byte{byte(port)}); err != nil {
			t.Fatal(err)
		}
		if got := i.take(t, 1)[0]; got.Bytes()[0] != byte(port) || got.Peer != far.Local() {
			t.Errorf("%v from %v", got.Bytes(), got.Peer)
		}
	}
	if n := drops.Of(packet.DropNoFlow); n != 1 {
		t.Errorf("%d packets were nobody's, want the stranger's", n)
	}
	closed := make(chan error, 1)
	var self link.Flow
	ready := make(chan struct{})
	self = openPlain(t, p.nsA, a, link.FlowSpec{Protocol: packet.ProtocolUDP}, func(b *packet.Batch) {
		<-ready
		b.Release()
		closed <- self.Close()
	})
	close(ready)
	if err := other.Send(self.Local(), []byte("bye")); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

// Timers that stand still in suspend fire soon after the resume, not after what was left of them; an earlier Reset has no effect
// any more.
func TestPlainClockCountsSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var slept atomic.Int64
		c := &plainClock{boot: func() time.Duration { return time.Since(begin) + time.Duration(slept.Load()) + time.Hour }}
		timer := c.NewTimer()
		timer.Reset(c.Now().Boot + time.Second)
		timer.Reset(c.Now().Boot + 10*time.Minute)
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-timer.C():
			t.Fatal("it has fired early")
		default:
		}
		slept.Store(int64(time.Hour))
		<-timer.C()
		if woken := time.Since(begin); woken > time.Minute+plainLook {
			t.Errorf("it fired %v after the resume", woken-time.Minute)
		}
		timer.Reset(c.Now().Boot - time.Second)
		<-timer.C()
		timer.Reset(c.Now().Boot + time.Second)
		timer.Stop()
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-timer.C():
			t.Error("it has fired although it was stopped")
		default:
		}
	})
}
