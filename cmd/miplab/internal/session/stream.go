package session

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// Interval is the time between two datagrams of a Stream: a hundred a second.
	Interval = 10 * time.Millisecond
	// datagramLen is the length in octets of a datagram's payload.
	datagramLen = 8 + 6*blockLen
	// PacketLen is the length in octets of the IPv4 packet of a Stream's datagram.
	PacketLen = 20 + 8 + datagramLen
)

// Stream sends datagrams at a steady pace to a correspondent that sends each back, and remembers when.
type Stream struct {
	conn   net.Conn
	canary []byte
	stop   chan struct{}
	done   sync.WaitGroup

	mu      sync.Mutex
	packets []packet // by sequence number
	back    int      // of these, how many have come back
	waiters []waiter
}

type packet struct{ sent, echoed time.Time }

type waiter struct {
	after time.Time // the echo of a packet sent at or after this
	ch    chan time.Time
}

// StartStream begins to send over conn, which is connected to the correspondent.
func StartStream(conn net.Conn, canary []byte) *Stream {
	s := &Stream{conn: conn, canary: canary, stop: make(chan struct{})}
	s.done.Go(s.send)
	s.done.Go(s.receive)
	return s
}

// Close ends the stream. What it has measured can still be asked.
func (s *Stream) Close() error {
	close(s.stop)
	err := s.conn.Close()
	s.done.Wait()
	return err
}

func (s *Stream) send() {
	pace := time.NewTicker(Interval)
	defer pace.Stop()
	p := make([]byte, datagramLen)
	for {
		select {
		case <-s.stop:
			return
		case <-pace.C:
		}
		now := time.Now()
		s.mu.Lock()
		seq := uint64(len(s.packets))
		s.packets = append(s.packets, packet{sent: now})
		s.mu.Unlock()
		binary.BigEndian.PutUint64(p, seq)
		fill(p[8:], s.canary, seq)
		s.conn.Write(p) // a refusal of the host is a loss like any other
	}
}

func (s *Stream) receive() {
	buf := make([]byte, 2048)
	for {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < 8 {
			select {
			case <-s.stop:
				return
			default:
				continue // an ICMP error told of an earlier datagram
			}
		}
		s.echoed(binary.BigEndian.Uint64(buf), time.Now())
	}
}

func (s *Stream) echoed(seq uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq >= uint64(len(s.packets)) || !s.packets[seq].echoed.IsZero() {
		return
	}
	s.packets[seq].echoed = now
	s.back++
	rest := s.waiters[:0]
	for _, w := range s.waiters {
		if s.packets[seq].sent.Before(w.after) {
			rest = append(rest, w)
			continue
		}
		w.ch <- now
	}
	s.waiters = rest
}

// Resumed returns a channel that yields the time of the first echo of a packet sent at or after t.
func (s *Stream) Resumed(t time.Time) <-chan time.Time {
	ch := make(chan time.Time, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.packets {
		if !p.sent.Before(t) && !p.echoed.IsZero() {
			ch <- p.echoed
			return ch
		}
	}
	s.waiters = append(s.waiters, waiter{t, ch})
	return ch
}

// Counts returns how many datagrams have been sent so far, and how many of them have come back.
func (s *Stream) Counts() (sent, back int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.packets), s.back
}

// Figures are what a stream came to in some span of time.
type Figures struct {
	// Sent counts the datagrams sent in the span, Lost those of them that have not come back.
	Sent int `json:"sent"`
	Lost int `json:"lost"`
	// Outage is the longest time between two echoes that followed each other in the span, less the interval between two
	// datagrams; the span's ends count as echoes.
	Outage time.Duration `json:"outage_ns"`
}

// Between returns the figures of the datagrams sent from one time to another.
func (s *Stream) Between(from, to time.Time) Figures {
	s.mu.Lock()
	defer s.mu.Unlock()
	var f Figures
	last := from
	for _, p := range s.packets {
		if p.sent.Before(from) || !p.sent.Before(to) {
			continue
		}
		f.Sent++
		if p.echoed.IsZero() {
			f.Lost++
			continue
		}
		f.Outage = max(f.Outage, p.echoed.Sub(last)-Interval)
		if p.echoed.After(last) {
			last = p.echoed
		}
	}
	f.Outage = max(f.Outage, to.Sub(last)-Interval, 0)
	return f
}

// Echo sends back what comes in on conn until that is closed.
func Echo(conn net.PacketConn) error {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conn.WriteTo(buf[:n], from) // a refusal is a loss like any other
	}
}
