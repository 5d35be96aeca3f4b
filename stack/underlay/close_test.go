//go:build linux

package underlay

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// A sender that waits for room in the socket's buffer does not hold Close up, and is told. The buffer is full of packets
// that wait for an answer to ARP, which nobody gives.
func TestCloseWakesSender(t *testing.T) {
	p := newPair(t)
	nobody := netip.MustParseAddrPort("10.1.0.77:434")
	f := open(t, p.linkA, link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: nobody}, newInbox().receive).(*flow)
	if err := f.set("SO_SNDBUF", unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil { // the kernel makes it its least
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Port: int(nobody.Port()), Addr: nobody.Addr().As4()}
	err := f.control(func(fd int) error {
		for {
			if err := unix.Sendto(fd, make([]byte, 1000), unix.MSG_DONTWAIT, to); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatalf("filling the buffer ended with %v, want %v", err, unix.EAGAIN)
	}
	path := f.Path(link.Protected)
	sent := make(chan error, 2)
	go func() {
		var err error
		for err == nil { // also when the kernel has given up on ARP and made room meanwhile
			err = f.Send(netip.AddrPort{}, make([]byte, 1000))
		}
		sent <- err
	}()
	go func() {
		var err error
		for err == nil {
			err = path.Send(packet.One(numbered(0, 1000)))
		}
		sent <- err
	}()
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-sent; !errors.Is(err, net.ErrClosed) {
			t.Errorf("send ended with %v, want %v", err, net.ErrClosed)
		}
	}
}

// Close from several sides at once, the receiver's own among them, returns everywhere, with packets under way.
func TestCloseFromAllSides(t *testing.T) {
	p := newPair(t)
	source := open(t, p.linkB, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 434}, newInbox().receive)
	for i := range 50 {
		spec := link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: source.Local()}
		if i%2 == 1 { // two sockets, and a receiver for each
			spec.Signalling = link.SignallingMobileIP
		}
		var f link.Flow
		ready, received := make(chan struct{}), make(chan struct{})
		var once sync.Once
		f, err := p.linkA.Open(spec, func(b *packet.Batch) {
			<-ready
			b.Release()
			once.Do(func() { close(received) })
			if err := f.Close(); err != nil {
				t.Errorf("close by the receiver: %v", err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		to := f.Local()
		close(ready)
		stop := make(chan struct{})
		var work sync.WaitGroup
		work.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					source.Send(to, []byte("again"))
					source.Send(to, []byte{4, 4, 0, 0})
				}
			}
		})
		<-received
		for range 3 {
			work.Go(func() {
				if err := f.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			work.Go(func() {
				for f.Send(netip.AddrPort{}, []byte("back")) == nil {
				}
			})
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		close(stop)
		work.Wait()
	}
}
