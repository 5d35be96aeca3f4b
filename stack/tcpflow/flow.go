package tcpflow

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/ipsec/iketcp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// dataRoom is the room in octets for data in front of the connection: what the kernel is given in one go.
	dataRoom = 128 << 10
	// chunk is how much is written at a time: what the other end has Stalled for.
	chunk = 16 << 10
	// Stalled is how long a peer may take nothing before its connection ends.
	Stalled = 30 * time.Second
	// farewell is how long Close lets what was sent leave.
	farewell = time.Second
)

// ErrStalled means that the peer has taken nothing for the time of Stalled.
var ErrStalled = errors.New("the peer takes nothing from the TCP connection")

// Options say how a connection is used.
type Options struct {
	// Originator is set at the end that has opened the connection: it sends the stream prefix (RFC 9329 §4).
	Originator bool
	// MTU is that of the link below, in octets.
	MTU int
	// Drops counts what is not sent.
	Drops *packet.Drops
	// Receive takes what arrives and its ownership, Buf.Peer being the connection's other end. It must not block, and not call Close.
	Receive func(*Flow, *packet.Batch)
	// Ended, when set, is called once when the connection has ended otherwise than by Close, from a goroutine of the Flow:
	// with io.EOF when the peer has closed it, with an error that wraps iketcp.ErrPrefix or iketcp.ErrLength, ErrStalled, or
	// what the connection says. It must not block. Close is still to be called.
	Ended func(*Flow, error)
}

// Flow is a TCP connection as a link.Flow.
type Flow struct {
	conn          net.Conn
	opts          Options
	local, remote netip.AddrPort

	mu    sync.Mutex
	queue *iketcp.Queue
	out   []byte // the writer's
	wake  chan struct{}

	closed  atomic.Bool
	ended   sync.Once
	stop    chan struct{}
	written chan struct{} // closed when nothing is written any more
	workers sync.WaitGroup
}

var _ link.Flow = (*Flow)(nil)

// New makes a Flow of a connection, which it owns from now on.
func New(conn net.Conn, o Options) *Flow {
	f := &Flow{conn: conn, opts: o, local: endpoint(conn.LocalAddr()), remote: endpoint(conn.RemoteAddr()),
		queue: iketcp.NewQueue(o.Originator, dataRoom), wake: make(chan struct{}, 1), stop: make(chan struct{}), written: make(chan struct{})}
	f.workers.Go(f.read)
	f.workers.Go(f.write)
	f.signal() // the prefix goes out at once
	return f
}

func endpoint(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// Local implements link.Flow: the connection's own endpoint.
func (f *Flow) Local() netip.AddrPort { return f.local }

// Remote implements link.Flow: the connection's other end.
func (f *Flow) Remote() netip.AddrPort { return f.remote }

// Send implements link.Flow: payload goes as signalling, in front of data that waits. Errors: net.ErrClosed, iketcp.ErrFull,
// iketcp.ErrTooLong, or that `to` is not the connection's other end.
func (f *Flow) Send(to netip.AddrPort, payload []byte) error {
	if to.IsValid() && to != f.remote {
		return fmt.Errorf("tcpflow: send to %v in the connection to %v", to, f.remote)
	}
	if err := f.push(payload, true); err != nil {
		return fmt.Errorf("tcpflow: send %d octets to %v: %w", len(payload), f.remote, err)
	}
	f.signal()
	return nil
}

func (f *Flow) push(payload []byte, signalling bool) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queue.Push(payload, signalling)
}

// signal wakes the writer.
func (f *Flow) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// overhead returns the octets in front of a payload when it has a segment for itself: IP, TCP with timestamps (RFC 7323), the
// Length field.
func (f *Flow) overhead() int {
	ip := packet.IPv4Len
	if f.remote.Addr().Is6() {
		ip = 40
	}
	return ip + 20 + 12 + iketcp.LengthLen
}

// Path implements link.Flow. Packets are taken up to the length that one segment holds, so that no smaller loss costs two.
func (f *Flow) Path(link.Class) link.Path {
	return link.Path{Out: sender{f}, Overhead: f.overhead(), MTU: f.opts.MTU - f.overhead()}
}

// Close implements link.Flow: what has been sent still leaves, as far as that takes no longer than a second. It is not called
// from the receiver.
func (f *Flow) Close() error {
	f.ended.Do(func() {})
	var err error
	if !f.closed.Swap(true) {
		close(f.stop)
		err = f.limit()
		<-f.written
		err = errors.Join(err, f.conn.Close())
	}
	f.workers.Wait()
	return err
}

// limit says how long the write under way, or the next one, may last. net.Conn has no other way to bound it.
func (f *Flow) limit() error {
	d := Stalled
	if f.closed.Load() {
		d = farewell
	}
	return f.conn.SetWriteDeadline(time.Now().Add(d))
}

// fail ends the connection for a reason.
func (f *Flow) fail(err error) {
	f.ended.Do(func() {
		if !f.closed.Swap(true) {
			close(f.stop)
		}
		_ = f.conn.Close() // the reason is what counts
		if f.opts.Ended != nil {
			f.opts.Ended(f, err)
		}
	})
}

// sender is the end of a path.
type sender struct{ flow *Flow }

// Send implements link.Sender. Packets that find no room are dropped and counted; that is no error.
func (s sender) Send(b *packet.Batch) error {
	f := s.flow
	b.Cut()
	defer b.Release()
	for i, p := range b.Bufs {
		err := f.push(p.Bytes(), false)
		switch {
		case errors.Is(err, iketcp.ErrFull):
			f.opts.Drops.Count(packet.DropQueueFull, 1)
		case err != nil:
			f.opts.Drops.Count(packet.DropSendFailed, b.Len()-i)
			return fmt.Errorf("tcpflow: send to %v: %w", f.remote, err)
		}
	}
	f.signal()
	return nil
}

// write writes what is in the queue until the connection ends.
func (f *Flow) write() {
	defer close(f.written)
	for {
		select {
		case <-f.wake:
		case <-f.stop:
			_ = f.drain() // a farewell; nobody is there to hear of an error
			return
		}
		if err := f.drain(); err != nil {
			if f.closed.Load() {
				return
			}
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				err = fmt.Errorf("tcpflow: %v: %w", f.remote, ErrStalled)
			}
			f.fail(err)
			return
		}
	}
}

// drain writes what is in the queue now.
func (f *Flow) drain() error {
	f.mu.Lock()
	f.out = f.queue.Take(f.out)
	f.mu.Unlock()
	for rest := f.out; len(rest) > 0; {
		n := min(len(rest), chunk)
		err := f.limit()
		if err == nil && f.closed.Load() {
			err = f.limit() // Close may have come between
		}
		if err == nil {
			_, err = f.conn.Write(rest[:n])
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// read hands on what arrives until the connection ends.
func (f *Flow) read() {
	s := iketcp.NewSplitter(!f.opts.Originator)
	for {
		n, err := f.conn.Read(s.Space())
		s.Filled(n)
		if bad := f.deliver(s); bad != nil {
			f.fail(bad)
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				err = fmt.Errorf("tcpflow: %v: %w", f.remote, err)
			}
			f.fail(err)
			return
		}
	}
}

// deliver hands on the messages that are whole.
func (f *Flow) deliver(s *iketcp.Splitter) error {
	b := packet.GetBatch()
	flush := func() {
		if b.Len() == 0 || f.closed.Load() {
			b.Release()
			return
		}
		f.opts.Receive(f, b)
	}
	for {
		m, ok, err := s.Next()
		if !ok {
			flush()
			return err
		}
		p := packet.From(m)
		p.Peer = f.remote
		b.Append(p)
		if b.Len() == packet.BatchSize {
			flush()
			b = packet.GetBatch()
		}
	}
}
