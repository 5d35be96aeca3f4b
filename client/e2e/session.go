package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"mipvpn/stack/simnet"
)

const (
	sessionPort = 7000
	probePort   = 7001
	// chunk octets are written every pace, both ways.
	chunk = 1000
	pace  = 20 * time.Millisecond
)

// Canary is in every packet of a Session's and Probe's payload, for a judge of wires to look for.
var Canary = []byte("canary-5f1d0b7c")

// Session is one TCP connection between the laptop's home address and the correspondent, busy both ways, every octet
// hashed where it is written and where it is read.
type Session struct {
	near, far net.Conn
	stop      chan struct{}
	work      sync.WaitGroup
	mu        sync.Mutex
	errs      []error
	up, down  transfer
}

// transfer is one direction.
type transfer struct {
	written, read hash.Hash
	octets        atomic.Int64 // read
}

// StartSession connects and begins to talk.
func StartSession(w *World) (*Session, error) {
	l, err := w.Correspondent.ListenTCP(netip.AddrPortFrom(simnet.LabCorrespondent, sessionPort))
	if err != nil {
		return nil, err
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	near, err := w.Laptop.DialTCP(netip.AddrPortFrom(simnet.LabCorrespondent, sessionPort), 10*time.Second)
	if err != nil {
		return nil, err
	}
	far, ok := <-accepted
	if !ok {
		return nil, errors.New("e2e: the correspondent accepted nothing")
	}
	s := &Session{near: near, far: far, stop: make(chan struct{})}
	s.up.written, s.up.read, s.down.written, s.down.read = sha256.New(), sha256.New(), sha256.New(), sha256.New()
	s.work.Go(func() { s.write(near, &s.up, 1) })
	s.work.Go(func() { s.write(far, &s.down, 2) })
	s.work.Go(func() { s.read(far, &s.up) })
	s.work.Go(func() { s.read(near, &s.down) })
	return s, nil
}

// Addresses returns the socket pair as the laptop sees it and as the correspondent does.
func (s *Session) Addresses() (near, far [2]string) {
	return [2]string{s.near.LocalAddr().String(), s.near.RemoteAddr().String()},
		[2]string{s.far.RemoteAddr().String(), s.far.LocalAddr().String()}
}

// Octets returns how many octets have arrived at the correspondent and at the laptop.
func (s *Session) Octets() (up, down int64) { return s.up.octets.Load(), s.down.octets.Load() }

// Finish ends the talk and checks that every octet arrived unchanged. It returns the octets of both directions.
func (s *Session) Finish() (up, down int64, err error) {
	close(s.stop)
	s.work.Wait()
	err = errors.Join(append(s.errs, s.near.Close(), s.far.Close())...)
	for name, t := range map[string]*transfer{"to the correspondent": &s.up, "to the laptop": &s.down} {
		if w, r := t.written.Sum(nil), t.read.Sum(nil); string(w) != string(r) {
			err = errors.Join(err, fmt.Errorf("e2e: %s: wrote %x, read %x", name, w[:8], r[:8]))
		}
	}
	up, down = s.Octets()
	return up, down, err
}

func (s *Session) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errs = append(s.errs, err)
}

func (s *Session) write(c net.Conn, t *transfer, seed byte) {
	buf := make([]byte, chunk)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for n := byte(0); ; n++ {
		select {
		case <-tick.C:
		case <-s.stop:
			if cw, ok := c.(interface{ CloseWrite() error }); ok {
				if err := cw.CloseWrite(); err != nil {
					s.fail(err)
				}
			}
			return
		}
		for i := range buf {
			buf[i] = byte(i)*seed + n
		}
		copy(buf, Canary)
		m, err := c.Write(buf)
		t.written.Write(buf[:m])
		if err != nil {
			s.fail(fmt.Errorf("e2e: write: %w", err))
			return
		}
	}
}

func (s *Session) read(c net.Conn, t *transfer) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		t.read.Write(buf[:n])
		t.octets.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			s.fail(fmt.Errorf("e2e: read: %w", err))
			return
		}
	}
}

// Probe is a stream of small UDP packets from the laptop to the correspondent and back, a hundred a second.
type Probe struct {
	near, far *simnet.UDPConn
	stop      chan struct{}
	work      sync.WaitGroup
	sent      atomic.Int64
	back      atomic.Int64
	last      atomic.Int64 // boot time of the last answer, in nanoseconds
	gap       atomic.Int64 // longest time without an answer
}

// StartProbe begins the stream.
func StartProbe(w *World) (*Probe, error) {
	far, err := w.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, probePort))
	if err != nil {
		return nil, err
	}
	near, err := w.Laptop.ListenUDP(netip.AddrPortFrom(simnet.LabHomeAddress, probePort))
	if err != nil {
		return nil, errors.Join(err, far.Close())
	}
	p := &Probe{near: near, far: far, stop: make(chan struct{})}
	start := time.Now()
	p.work.Go(func() { // the correspondent's echo
		buf := make([]byte, 2048)
		for {
			n, from, err := far.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = far.WriteToAddrPort(buf[:n], from) // a lost answer is what is counted
		}
	})
	p.work.Go(func() {
		buf := make([]byte, 2048)
		for {
			if _, _, err := near.ReadFromAddrPort(buf); err != nil {
				return
			}
			now := int64(time.Since(start))
			if before := p.last.Swap(now); before != 0 {
				p.gap.Store(max(p.gap.Load(), now-before))
			}
			p.back.Add(1)
		}
	})
	p.work.Go(func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = near.WriteToAddrPort(Canary, netip.AddrPortFrom(simnet.LabCorrespondent, probePort))
				p.sent.Add(1)
			case <-p.stop:
				return
			}
		}
	})
	return p, nil
}

// Counts returns how many packets were sent and came back, and the longest time without an answer since the last Reset.
func (p *Probe) Counts() (sent, back int64, gap time.Duration) {
	return p.sent.Load(), p.back.Load(), time.Duration(p.gap.Load())
}

// Reset forgets the longest gap.
func (p *Probe) Reset() { p.gap.Store(0) }

// Close ends the stream.
func (p *Probe) Close() error {
	close(p.stop)
	err := errors.Join(p.near.Close(), p.far.Close())
	p.work.Wait()
	return err
}
