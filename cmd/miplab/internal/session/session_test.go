package session

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// half is one end of an in-memory connection whose directions end one by one.
type half struct {
	*io.PipeReader
	*io.PipeWriter
	flip bool // change one octet
}

func (h *half) CloseWrite() error { return h.PipeWriter.Close() }

func (h *half) Close() error {
	h.PipeReader.Close()
	return h.PipeWriter.Close()
}

func (h *half) Write(p []byte) (int, error) {
	if h.flip {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 1
		h.flip = false
	}
	return h.PipeWriter.Write(p)
}

func pipe() (a, b *half) {
	r1, w1 := io.Pipe()
	r2, w2 := io.Pipe()
	return &half{PipeReader: r1, PipeWriter: w2}, &half{PipeReader: r2, PipeWriter: w1}
}

// TestConversation shows that equal streams compare as intact, and that one octet changed under way does not.
func TestConversation(t *testing.T) {
	for _, flip := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			a, b := pipe()
			a.flip = flip
			canary, err := NewCanary()
			if err != nil {
				t.Fatal(err)
			}
			near, far := StartEnd(a, canary), StartEnd(b, canary)
			time.Sleep(time.Second)
			near.Stop()
			far.Stop()
			if err := near.Wait(); err != nil {
				t.Error(err)
			}
			if err := far.Wait(); err != nil {
				t.Error(err)
			}
			r := Compare(near, far)
			if r.Intact == flip {
				t.Errorf("intact = %v with an octet changed: %v", r.Intact, flip)
			}
			if r.Sent < 90*recordLen || r.Received < 90*recordLen {
				t.Errorf("carried %d and %d octets in a second, want about 100 records of %d each", r.Sent, r.Received, recordLen)
			}
		})
	}
}

// TestConversationBreaks shows that a connection that breaks is an error at the end that lives.
func TestConversationBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := pipe()
		near := StartEnd(a, make([]byte, canaryLen))
		b.PipeReader.CloseWithError(io.ErrUnexpectedEOF)
		b.PipeWriter.CloseWithError(io.ErrUnexpectedEOF)
		if near.Wait() == nil || near.Err() == nil {
			t.Error("a broken session was taken for a whole one")
		}
	})
}

// TestEverySegmentHasACanary shows that any 47 octets of a stream hold the canary whole.
func TestEverySegmentHasACanary(t *testing.T) {
	canary, err := NewCanary()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, recordLen)
	fill(p, canary, 0)
	const window = blockLen + canaryLen - 1
	for i := 0; i+window <= len(p); i++ {
		if !bytes.Contains(p[i:i+window], canary) {
			t.Fatalf("the octets %d to %d hold no canary", i, i+window)
		}
	}
}

// lossy is a connection to an echo that swallows datagrams while shut.
type lossy struct {
	net.Conn
	mu   sync.Mutex
	shut bool
	back chan []byte
	end  chan struct{}
}

func (l *lossy) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.shut {
		l.back <- bytes.Clone(p)
	}
	return len(p), nil
}

func (l *lossy) Read(p []byte) (int, error) {
	select {
	case b := <-l.back:
		return copy(p, b), nil
	case <-l.end:
		return 0, net.ErrClosed
	}
}

func (l *lossy) Close() error { close(l.end); return nil }

func (l *lossy) set(shut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shut = shut
}

// TestStream shows that losses and outage are what they were: half a second shut is 50 datagrams of a hundred a second.
func TestStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &lossy{back: make(chan []byte, 10), end: make(chan struct{})}
		start := time.Now()
		s := StartStream(conn, make([]byte, canaryLen))
		time.Sleep(time.Second + Interval/2)
		shut := time.Now()
		conn.set(true)
		time.Sleep(500 * time.Millisecond)
		conn.set(false)
		open := time.Now()
		resumed := <-s.Resumed(open)
		time.Sleep(time.Second)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		// The last one may have been sent at the very time of Close.
		if sent, back := s.Counts(); sent < 250 || back < sent-51 || back > sent-50 {
			t.Errorf("%d datagrams counted and %d of them back, want 50 fewer, or 51", sent, back)
		}
		if d := resumed.Sub(open); d <= 0 || d > Interval {
			t.Errorf("resumed %v after it could, want within %v", d, Interval)
		}
		if f := s.Between(start, shut); f.Lost != 0 || f.Sent != 100 || f.Outage > Interval {
			t.Errorf("before: %+v, want 100 sent, none lost", f)
		}
		if f := s.Between(shut, resumed.Add(time.Millisecond)); f.Lost != 50 || f.Outage < 490*time.Millisecond || f.Outage > 510*time.Millisecond {
			t.Errorf("during: %+v, want 50 lost and an outage of 500ms", f)
		}
	})
}

// TestEchoOverSockets shows the correspondent's service and a stream over real sockets.
func TestEchoOverSockets(t *testing.T) {
	service, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- Echo(service) }()
	conn, err := net.Dial("udp4", service.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	s := StartStream(conn, make([]byte, canaryLen))
	<-s.Resumed(time.Now())
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	service.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
