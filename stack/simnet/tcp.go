package simnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Errors of streams, as the kernel's.
var (
	// ErrRefused: the other end has nothing that listens.
	ErrRefused = errors.New("connection refused")
	// ErrReset: the other end has reset the connection.
	ErrReset = errors.New("connection reset by peer")
)

const (
	streamBuffer = 256 << 10              // octets that wait in a stream, sending
	streamWindow = 65535                  // the greatest window without scaling
	minRTO       = 200 * time.Millisecond // as Linux; RFC 6298 §2.4 says one second
	maxRTO       = 60 * time.Second       // RFC 6298 §2.5
	giveUp       = 15 * time.Minute       // the time without an acknowledgment that ends a connection, as Linux about
	timeWait     = 60 * time.Second
	defaultMSS   = 536 // RFC 9293 §3.7.1
)

type streamKey struct{ local, remote netip.AddrPort }

// streamState is a TCP state (RFC 9293 §3.3.2), FIN-WAIT and the like being told by the flags beside it.
type streamState uint8

const (
	synSent streamState = iota
	synReceived
	established
	timeWaiting
	dead
)

// Stream is one end of a TCP connection of an application. It goes by the host's routes, so into a TUN device where they
// lead there. It implements net.Conn.
type Stream struct {
	host    *Host
	key     streamKey
	state   streamState
	err     error // why it is dead
	change  signal
	accept  *Listener // to be told when established
	bound   *NIC      // the interface that it leaves by, nil for whichever the routes say
	started bool      // the connection was established once

	// Sending (RFC 9293 §3.3.1).
	iss, una, nxt, max uint32 // max is the highest nxt yet: a timeout takes nxt back to una
	window             uint32
	buf                []byte // from una on, without SYN
	closing            bool   // FIN follows buf
	finDone            bool   // FIN has been acknowledged
	mss                int
	cwnd, ssthresh     int
	dup                int
	recover            uint32 // fast recovery until this is acknowledged
	recovering         bool

	// Timing (RFC 6298).
	srtt, rttvar, rto time.Duration
	timedSeq          uint32
	timedAt           time.Duration
	timing            bool
	progress          time.Duration // when something was last acknowledged, or first sent
	timer             *event

	// Receiving.
	rcv        uint32
	in         []byte    // in order, not read yet
	early      []segment // out of order, by sequence number
	finished   bool      // FIN has come
	lastWindow uint32

	readDeadline, writeDeadline time.Time
	stats                       StreamStats
}

// StreamStats counts what a stream has done.
type StreamStats struct {
	// Retransmissions is the number of segments sent again, Timeouts how often that was because the timer ran out.
	Retransmissions, Timeouts int
	// Sent and Received are octets of data acknowledged by the other end, and received in order.
	Sent, Received uint64
}

var _ net.Conn = (*Stream)(nil)

// Listener accepts streams. It implements net.Listener.
type Listener struct {
	host    *Host
	local   netip.AddrPort
	backlog []*Stream
	change  signal
	closed  bool
}

var _ net.Listener = (*Listener)(nil)

// ListenTCP opens a listener. The zero Addr stands for any address.
func (h *Host) ListenTCP(local netip.AddrPort) (*Listener, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if local.Addr().IsUnspecified() {
		local = netip.AddrPortFrom(netip.Addr{}, local.Port())
	}
	err := error(nil)
	switch {
	case h.net.closed:
		err = errClosed
	case local.Port() == 0:
		err = errors.New("a port is needed")
	case slices.ContainsFunc(h.listeners, func(l *Listener) bool { return l.local == local }):
		err = ErrPortTaken
	}
	if err != nil {
		return nil, fmt.Errorf("simnet: listen on TCP %v on %s: %w", shown(local), h.name, err)
	}
	l := &Listener{host: h, local: local}
	h.listeners = append(h.listeners, l)
	return l, nil
}

var _ link.StreamHost = (*Host)(nil)

// ListenStream implements link.StreamHost.
func (h *Host) ListenStream(local netip.AddrPort) (net.Listener, error) {
	l, err := h.ListenTCP(local)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Accept implements net.Listener; the connection is a *Stream.
func (l *Listener) Accept() (net.Conn, error) {
	n := l.host.net
	for {
		n.mu.Lock()
		if len(l.backlog) > 0 {
			s := l.backlog[0]
			l.backlog = l.backlog[1:]
			n.mu.Unlock()
			return s, nil
		}
		if l.closed {
			n.mu.Unlock()
			return nil, fmt.Errorf("simnet: accept on TCP %v on %s: %w", shown(l.local), l.host.name, errClosed)
		}
		c := l.change.wait()
		n.mu.Unlock()
		<-c
	}
}

// Close implements net.Listener. Streams that have been accepted live on.
func (l *Listener) Close() error {
	n := l.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	l.host.listeners = slices.DeleteFunc(l.host.listeners, func(o *Listener) bool { return o == l })
	l.end()
	return nil
}

func (l *Listener) end() {
	l.closed = true
	l.change.fire()
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(shown(l.local)) }

// DialTCP opens a stream to remote and waits until it is established, for at most the timeout (0: until TCP gives up).
// Errors wrap ErrRefused, ErrNoRoute or os.ErrDeadlineExceeded.
func (h *Host) DialTCP(remote netip.AddrPort, timeout time.Duration) (*Stream, error) {
	fail := func(err error) (*Stream, error) {
		return nil, fmt.Errorf("simnet: dial TCP %v from %s: %w", remote, h.name, err)
	}
	h.net.mu.Lock()
	s, err := h.connect(remote, nil)
	h.net.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	if err := s.established(deadline); err != nil {
		return fail(err)
	}
	return s, nil
}

// established waits until the connection is established, until the deadline (zero: none).
func (s *Stream) established(deadline time.Time) error {
	n := s.host.net
	for {
		n.mu.Lock()
		started, err, c := s.started, s.err, s.change.wait()
		n.mu.Unlock()
		switch {
		case started:
			return nil
		case err != nil:
			return err
		}
		if err := await(c, deadline); err != nil {
			n.mu.Lock()
			s.fail(err)
			n.mu.Unlock()
			return err
		}
	}
}

// connect sends the SYN, by the bound interface only unless that is nil.
func (h *Host) connect(remote netip.AddrPort, bound *NIC) (*Stream, error) {
	if h.net.closed {
		return nil, errClosed
	}
	if !remote.Addr().Is4() {
		return nil, fmt.Errorf("an IPv4 destination is needed, this is %v", remote)
	}
	src, mtu := remote.Addr(), packet.LargeSize
	if !h.owns(src) {
		via, ok := h.route(remote.Addr(), bound, false)
		if !ok {
			return nil, ErrNoRoute
		}
		if src, mtu = h.sourceFor(via), h.mtuOf(via); !src.IsValid() {
			return nil, ErrNoRoute
		}
	}
	key := streamKey{remote: remote}
	for key.local = netip.AddrPortFrom(src, uint16(32768+h.rng.IntN(28232))); h.streams[key] != nil; {
		key.local = netip.AddrPortFrom(src, uint16(32768+h.rng.IntN(28232)))
	}
	s := h.newStream(key, mtu)
	s.state, s.bound = synSent, bound
	s.sendSYN()
	return s, nil
}

// newStream makes a stream over a path with that MTU.
func (h *Host) newStream(key streamKey, mtu int) *Stream {
	iss := h.rng.Uint32()
	s := &Stream{
		host: h, key: key, iss: iss, una: iss, nxt: iss, max: iss,
		mss: min(mtu, 65535) - packet.IPv4Len - tcpLen, rto: time.Second, ssthresh: 1 << 20, progress: h.net.now(),
		lastWindow: streamWindow,
	}
	if m, ok := h.pathMTU[key.remote.Addr()]; ok {
		s.mss = min(s.mss, m-packet.IPv4Len-tcpLen)
	}
	s.cwnd = 10 * s.mss // RFC 6928
	h.streams[key] = s
	return s
}

// Read implements net.Conn.
func (s *Stream) Read(p []byte) (int, error) {
	n := s.host.net
	for {
		n.mu.Lock()
		if len(s.in) > 0 || len(p) == 0 {
			k := copy(p, s.in)
			s.in = s.in[k:]
			// Tell the other end of a window that opens by a segment or half the buffer (RFC 9293 §3.8.6.2.2).
			if s.state == established && s.receiveWindow() >= s.lastWindow+uint32(min(s.mss, streamWindow/2)) {
				s.sendACK()
			}
			n.mu.Unlock()
			return k, nil
		}
		err := s.err
		if s.finished {
			err = errEOF
		}
		c, deadline := s.change.wait(), s.readDeadline
		n.mu.Unlock()
		if err == errEOF {
			return 0, err
		}
		if err == nil {
			err = await(c, deadline)
		}
		if err != nil {
			return 0, fmt.Errorf("simnet: read %s: %w", s, err)
		}
	}
}

// Write implements net.Conn. It waits while the send buffer (256 KiB) is full.
func (s *Stream) Write(p []byte) (int, error) {
	n := s.host.net
	written := 0
	for {
		n.mu.Lock()
		err := s.err
		if err == nil && s.closing {
			err = errClosed
		}
		if err == nil {
			k := min(len(p)-written, streamBuffer-len(s.buf))
			s.begin()
			s.buf = append(s.buf, p[written:written+k]...)
			written += k
			s.push()
		}
		c, deadline := s.change.wait(), s.writeDeadline
		n.mu.Unlock()
		if err == nil && written == len(p) {
			return written, nil
		}
		if err == nil {
			err = await(c, deadline)
		}
		if err != nil {
			return written, fmt.Errorf("simnet: write %s: %w", s, err)
		}
	}
}

// Close implements net.Conn: what has been written is still sent, then FIN. It does not wait. Nothing can be read any
// more.
func (s *Stream) Close() error {
	n := s.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := s.closeWrite(); err != nil {
		return err
	}
	if s.err == nil {
		s.err = errClosed
	}
	s.change.fire()
	return nil
}

// CloseWrite sends FIN behind what has been written; reading goes on.
func (s *Stream) CloseWrite() error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	return s.closeWrite()
}

func (s *Stream) closeWrite() error {
	if s.closing {
		return nil
	}
	s.begin()
	s.closing = true
	if s.state != dead {
		s.push()
	}
	return nil
}

// Abort resets the connection.
func (s *Stream) Abort() {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	if s.state != dead && s.state != synSent {
		s.send(segment{seq: s.nxt, ack: s.rcv, flags: tcpRST | tcpACK})
	}
	s.fail(errClosed)
}

// Stats returns the stream's counters.
func (s *Stream) Stats() StreamStats {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	return s.stats
}

// LocalAddr implements net.Conn.
func (s *Stream) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(s.key.local) }

// RemoteAddr implements net.Conn.
func (s *Stream) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(s.key.remote) }

// SetDeadline implements net.Conn.
func (s *Stream) SetDeadline(t time.Time) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.readDeadline, s.writeDeadline = t, t
	s.change.fire()
	return nil
}

// SetReadDeadline implements net.Conn.
func (s *Stream) SetReadDeadline(t time.Time) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.readDeadline = t
	s.change.fire()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (s *Stream) SetWriteDeadline(t time.Time) error {
	s.host.net.mu.Lock()
	defer s.host.net.mu.Unlock()
	s.writeDeadline = t
	s.change.fire()
	return nil
}

// String names the stream by host and endpoints.
func (s *Stream) String() string {
	return fmt.Sprintf("TCP %v to %v on %s", s.key.local, s.key.remote, s.host.name)
}
