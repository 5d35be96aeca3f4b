package simnet

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// trace runs traffic of every kind over impaired wires and returns the hash and number of all frames.
func trace(t *testing.T, seed uint64) (sum [32]byte, frames int) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLab(seed)
		defer l.Close()
		var h hash.Hash = sha256.New()
		l.TapAll(func(f Frame) {
			frames++
			fmt.Fprintf(h, "%d %s %s %v %v %x\n", f.At, f.Wire, f.Sender, f.Destination, f.Lost, f.Packet)
		})
		l.Internet.Impair(Impairment{Latency: 5 * time.Millisecond, Jitter: 2 * time.Millisecond, Loss: 0.05, Duplicate: 0.02, Reorder: 0.05})
		listener, err := l.ExternalHA.ListenTCP(netip.AddrPortFrom(netip.Addr{}, 80))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				c, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					b := make([]byte, 4096)
					for {
						n, err := c.Read(b)
						if err != nil {
							c.Close()
							return
						}
						if _, err := c.Write(b[:n]); err != nil {
							return
						}
					}
				}()
			}
		}()
		l.Plug(l.Wlan0, l.Cafe)
		l.Plug(l.Eth0, l.Office)
		time.Sleep(50 * time.Millisecond)
		done := make(chan error, 2)
		for _, from := range []*Host{l.Laptop, l.Correspondent} {
			go func() { done <- echo(from, netip.AddrPortFrom(LabExternalHA, 80), 20000) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		l.Unplug(l.Eth0)
		if err := echo(l.Laptop, netip.AddrPortFrom(LabExternalHA, 80), 10000); err != nil {
			t.Error(err)
		}
		h.Sum(sum[:0])
	})
	return sum, frames
}

// echo sends n octets over a new stream and reads them back.
func echo(h *Host, to netip.AddrPort, n int) error {
	s, err := h.DialTCP(to, time.Minute)
	if err != nil {
		return err
	}
	defer s.Close()
	if _, err := s.Write(make([]byte, n)); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	b, got := make([]byte, 4096), 0
	for got < n {
		k, err := s.Read(b)
		if err != nil {
			return err
		}
		got += k
	}
	return nil
}

func TestSameSeedSameTrace(t *testing.T) {
	first, frames := trace(t, 42)
	if frames < 100 {
		t.Fatalf("only %d frames", frames)
	}
	for range 5 {
		if again, n := trace(t, 42); again != first {
			t.Fatalf("with the same seed %d frames, then %d and another trace", frames, n)
		}
	}
	if other, _ := trace(t, 43); other == first {
		t.Error("another seed gave the same trace")
	}
}

func TestCloseEndsWhatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		d, err := p.a.OpenDevice("", 1400)
		if err != nil {
			t.Fatal(err)
		}
		u, err := p.a.ListenUDP(netip.AddrPort{})
		if err != nil {
			t.Fatal(err)
		}
		l, err := p.a.ListenTCP(netip.AddrPortFrom(addrA, 80))
		if err != nil {
			t.Fatal(err)
		}
		errs := make(chan error, 5)
		go func() { errs <- d.Read(packet.GetBatch()) }()
		go func() { _, _, err := u.ReadFrom(nil); errs <- err }()
		go func() { _, err := l.Accept(); errs <- err }()
		go func() { _, err := p.a.Ping(netip.MustParseAddr("10.1.0.99"), 0, time.Hour); errs <- err }()
		go func() { _, err := p.a.DialTCP(netip.MustParseAddrPort("10.1.0.99:1"), 0); errs <- err }()
		synctest.Wait()
		p.Close()
		for range 5 {
			// The ping of a neighbour that is not there ends at once, with an ICMP error from the host itself.
			var icmp *ICMPError
			if err := <-errs; !errors.Is(err, net.ErrClosed) && !errors.As(err, &icmp) {
				t.Errorf("error %v, expected one of net.ErrClosed", err)
			}
		}
	})
}

// A receiver may close its own flow; Close from elsewhere waits for the call that is going on.
func TestCloseOfFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		from, _ := collect(t, p.a, 1, addrA, udp(1000))
		u, err := p.b.Underlay(1, addrB)
		if err != nil {
			t.Fatal(err)
		}
		calls := 0
		var own link.Flow
		own, err = u.Open(udp(2000), func(b *packet.Batch) {
			calls++
			b.Release()
			own.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "one")
		time.Sleep(time.Millisecond)
		mustSend(t, from, netip.AddrPortFrom(addrB, 2000), "two")
		time.Sleep(time.Millisecond)
		if calls != 1 {
			t.Errorf("the receiver was called %d times, expected once", calls)
		}

		enter, leave, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
		busy, err := u.Open(udp(3000), func(b *packet.Batch) {
			b.Release()
			close(enter)
			<-leave
		})
		if err != nil {
			t.Fatal(err)
		}
		mustSend(t, from, netip.AddrPortFrom(addrB, 3000), "x")
		<-enter
		go func() {
			busy.Close()
			close(closed)
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close returned while the receiver was being called")
		default:
		}
		close(leave)
		<-closed
	})
}

func TestFlowErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(1, WireConfig{})
		defer p.Close()
		u, err := p.a.Underlay(1, addrA)
		if err != nil {
			t.Fatal(err)
		}
		none := func(b *packet.Batch) { b.Release() }
		f, err := u.Open(udp(500), none)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.Open(udp(500), none); !errors.Is(err, ErrPortTaken) {
			t.Errorf("second open of a port: %v", err)
		}
		if _, err := p.a.Underlay(9, addrA); !errors.Is(err, ErrNotFound) {
			t.Errorf("underlay of an interface that is not there: %v", err)
		}
		if _, err := p.a.Underlay(1, addrB); !errors.Is(err, ErrLinkDown) {
			t.Errorf("underlay with somebody else's address: %v", err)
		}
		if err := f.Send(netip.MustParseAddrPort("203.0.113.1:1"), nil); !errors.Is(err, ErrNoRoute) {
			t.Errorf("send without a route: %v", err)
		}
		p.an.Detach()
		if err := f.Send(netip.AddrPortFrom(addrB, 1), nil); !errors.Is(err, ErrLinkDown) {
			t.Errorf("send without carrier: %v", err)
		}
		if _, err := u.Open(udp(501), none); !errors.Is(err, ErrLinkDown) {
			t.Errorf("open without carrier: %v", err)
		}
		f.Close()
		if err := f.Send(netip.AddrPortFrom(addrB, 1), nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("send after Close: %v", err)
		}
	})
}
