package tcpflow

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/ipsec/iketcp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	near = netip.MustParseAddrPort("192.0.2.7:40000")
	far  = netip.MustParseAddrPort("192.0.2.10:4500")
)

// named is a pipe that says which TCP connection it is.
type named struct {
	net.Conn
	local, remote netip.AddrPort
}

func (n named) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(n.local) }
func (n named) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(n.remote) }

// end is one end of a connection.
type end struct {
	*Flow
	drops packet.Drops
	mu    sync.Mutex
	got   [][]byte
	peer  netip.AddrPort
	ended []error
}

func (e *end) options(originator bool) Options {
	return Options{Originator: originator, MTU: 1500, Drops: &e.drops,
		Receive: func(_ *Flow, b *packet.Batch) {
			e.mu.Lock()
			defer e.mu.Unlock()
			for _, p := range b.Bufs {
				e.got, e.peer = append(e.got, bytes.Clone(p.Bytes())), p.Peer
			}
			b.Release()
		},
		Ended: func(_ *Flow, err error) { e.ended = append(e.ended, err) }}
}

// connect returns the flow of the originator and the other end's connection.
func connect() (a *end, other net.Conn) {
	a = &end{}
	x, y := net.Pipe()
	a.Flow = New(named{x, near, far}, a.options(true))
	return a, named{y, far, near}
}

func data(n, size int) *packet.Batch {
	b := packet.GetBatch()
	for i := range n {
		p := packet.From(bytes.Repeat([]byte{byte(i + 1)}, size))
		b.Append(p)
	}
	return b
}

// Shows: IKE-6. Signalling and data both ways.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, other := connect()
		b := &end{}
		b.Flow = New(other, b.options(false))
		ike := append(make([]byte, 4), "an IKE message"...)
		if err := a.Send(netip.AddrPort{}, ike); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(b.got) != 1 || !bytes.Equal(b.got[0], ike) || b.peer != near {
			t.Fatalf("arrived: %q from %v", b.got, b.peer)
		}
		if err := b.Send(near, ike); err != nil {
			t.Fatal(err)
		}
		if err := b.Send(far, ike); err == nil {
			t.Error("sent to somebody else")
		}
		if err := b.Path(link.Protected).Send(data(100, 1000)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(a.got) != 101 || len(a.got[100]) != 1000 || a.got[100][0] != 100 || a.peer != far {
			t.Errorf("%d messages arrived", len(a.got))
		}
		if p := a.Path(link.Protected); p.MTU+p.Overhead != 1500 || p.Overhead != 20+32+2 {
			t.Errorf("path %+v", p)
		}
		if a.Local() != near || a.Remote() != far {
			t.Errorf("endpoints %v, %v", a.Local(), a.Remote())
		}
		if err := a.Send(far, ike); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(b.got) != 2 {
			t.Errorf("what was sent last has not arrived: %d messages", len(b.got))
		}
		if err := a.Send(far, ike); !errors.Is(err, net.ErrClosed) {
			t.Errorf("sent after the end: %v", err)
		}
		if err := a.Path(link.Protected).Send(data(3, 10)); !errors.Is(err, net.ErrClosed) || a.drops.Of(packet.DropSendFailed) != 3 {
			t.Errorf("data after the end: %v, %v", err, a.drops.Snapshot())
		}
		if len(a.ended) != 0 || len(b.ended) != 1 || !errors.Is(b.ended[0], io.EOF) {
			t.Errorf("ended: %v, %v", a.ended, b.ended)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Shows: IKE-6. A peer that takes nothing: data is dropped, nobody waits, signalling still has room, and after a while the
// connection ends.
func TestStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, other := connect()
		synctest.Wait() // the writer waits with the prefix
		began := time.Now()
		if err := a.Path(link.Protected).Send(data(packet.BatchSize, 2000)); err != nil {
			t.Fatal(err)
		}
		if err := a.Path(link.Protected).Send(data(packet.BatchSize, 2000)); err != nil {
			t.Fatal(err)
		}
		if n := a.drops.Of(packet.DropQueueFull); n != uint64(2*packet.BatchSize-dataRoom/2002) {
			t.Errorf("%d packets were dropped", n)
		}
		if time.Since(began) != 0 {
			t.Error("data has waited")
		}
		if err := a.Send(far, make([]byte, 2000)); err != nil {
			t.Errorf("signalling: %v", err)
		}
		time.Sleep(Stalled)
		synctest.Wait()
		if len(a.ended) != 1 || !errors.Is(a.ended[0], ErrStalled) {
			t.Errorf("ended: %v", a.ended)
		}
		_ = a.Close()
		_ = other.Close()
	})
}

// Shows: IKE-6, IKE-10
func TestCorrupt(t *testing.T) {
	for name, tc := range map[string]struct {
		stream string
		want   error
	}{
		"no prefix":    {"SSH-2.0-x\r\n", iketcp.ErrPrefix},
		"bad length":   {"IKETCP\x00\x00", iketcp.ErrLength},
		"half of it":   {"IKETCP\x00\x09abc", io.EOF},
		"nothing else": {"IKETCP", io.EOF},
	} {
		synctest.Test(t, func(t *testing.T) {
			x, y := net.Pipe()
			e := &end{}
			e.Flow = New(named{x, far, near}, e.options(false))
			if _, err := y.Write([]byte(tc.stream)); err != nil {
				t.Fatal(err)
			}
			_ = y.Close()
			synctest.Wait()
			if len(e.ended) != 1 || !errors.Is(e.ended[0], tc.want) || len(e.got) != 0 {
				t.Errorf("%s: ended with %v, %d messages", name, e.ended, len(e.got))
			}
			_ = e.Close()
		})
	}
}
