package load

import (
	"bytes"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/cmd/miplab/internal/verdict"
)

// half is one end of an in-memory connection whose directions end one by one.
type half struct {
	*io.PipeReader
	*io.PipeWriter
	change func(p []byte, at int64) // what happens on the way
	sent   int64
}

func (h *half) CloseWrite() error { return h.PipeWriter.Close() }

func (h *half) Close() error {
	h.PipeReader.Close()
	return h.PipeWriter.Close()
}

func (h *half) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	if h.change != nil {
		h.change(p, h.sent)
	}
	h.sent += int64(len(p))
	return h.PipeWriter.Write(p)
}

// TestStream shows that octets that are wrong, two that changed places and a piece of another place are seen, and where.
func TestStream(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(p []byte, at int64)
		wrong  bool
		first  int64
	}{
		{"nothing", nil, false, 0},
		{"one bit", func(p []byte, at int64) {
			if at == blockLen {
				p[17] ^= 4
			}
		}, true, blockLen + 17},
		{"a segment from elsewhere", func(p []byte, at int64) {
			if at == 0 {
				copy(p[1448:2896], p[:1448])
			}
		}, true, 1448},
	} {
		r1, w1 := io.Pipe()
		r2, w2 := io.Pipe()
		enough, once := make(chan struct{}), sync.Once{}
		change := func(p []byte, at int64) {
			if c.change != nil {
				c.change(p, at)
			}
			if at > 3*blockLen {
				once.Do(func() { close(enough) })
			}
		}
		near := startEnd("laptop", &half{PipeReader: r1, PipeWriter: w2, change: change}, 7, 'u', 'd')
		far := startEnd("correspondent", &half{PipeReader: r2, PipeWriter: w1}, 7, 'd', 'u')
		<-enough
		near.stop.Store(true)
		far.stop.Store(true)
		near.done.Wait()
		far.done.Wait()
		if near.Err() != nil || far.Err() != nil {
			t.Fatal(near.Err(), far.Err())
		}
		n, first := far.wrong.Load(), far.first.Load()-1
		if n > 0 != c.wrong || n > 0 && (first < c.first || first > c.first+4) || near.wrong.Load() != 0 {
			t.Errorf("%s: %d octets wrong from %d on, and %d the other way", c.name, n, first, near.wrong.Load())
		}
	}
}

// TestCatcher shows what is judged of datagrams: content, copies, order on one path and over a change.
func TestCatcher(t *testing.T) {
	one := func(number uint64, epoch uint32, n int) []byte {
		p := make([]byte, n)
		fill(p, 'u', number, epoch)
		return p
	}
	flip := func(p []byte, at int) []byte {
		p[at] ^= 1
		return p
	}
	for _, c := range []struct {
		name string
		in   [][]byte
		want Flow
	}{
		{"in order", [][]byte{one(0, 2, 100), one(1, 2, 1200), one(5, 2, 20)}, Flow{Received: 3}},
		{"overtaken", [][]byte{one(0, 2, 100), one(2, 2, 100), one(1, 2, 100)}, Flow{Received: 3, Late: 1, Reordered: 1}},
		{"overtaken over a change", [][]byte{one(0, 2, 100), one(2, 4, 100), one(1, 2, 100)}, Flow{Received: 3, Late: 1}},
		{"overtaken in a change", [][]byte{one(0, 3, 100), one(2, 3, 100), one(1, 3, 100)}, Flow{Received: 3, Late: 1}},
		{"twice", [][]byte{one(0, 2, 100), one(0, 2, 100)}, Flow{Received: 1, Duplicates: 1}},
		{"number", [][]byte{flip(one(0, 2, 100), 7)}, Flow{Corrupted: 1}},
		{"epoch", [][]byte{flip(one(0, 2, 100), 11)}, Flow{Corrupted: 1}},
		{"content", [][]byte{flip(one(0, 2, 100), 99)}, Flow{Corrupted: 1}},
		{"length", [][]byte{one(0, 2, 100)[:99], make([]byte, 3), make([]byte, 5000)}, Flow{Corrupted: 3}},
	} {
		k := &catcher{direction: 'u', inEpoch: map[uint32]int64{}}
		want := make([]byte, longest)
		for _, p := range c.in {
			k.take(p, want)
		}
		if got, _ := k.result(&shooter{}); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	k := &catcher{direction: 'd', inEpoch: map[uint32]int64{}}
	k.take(one(0, 2, 100), make([]byte, longest))
	if got, _ := k.result(&shooter{}); got.Corrupted != 1 {
		t.Errorf("a datagram of the other direction: %+v", got)
	}
}

// wire is a Socket that keeps what is sent.
type wire struct {
	mu     sync.Mutex
	trains [][][]byte
}

func (w *wire) SendTrain(p []byte, size int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var train [][]byte
	for one := range slices.Chunk(p, size) {
		train = append(train, bytes.Clone(one))
	}
	w.trains = append(w.trains, train)
	return nil
}

func (w *wire) Read([]byte) (int, error) { return 0, net.ErrClosed }
func (w *wire) Close() error             { return nil }

// TestShooter shows that what is sent in trains is what the other end expects.
func TestShooter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, p := &wire{}, &paths{}
		p.changing()
		if epoch := p.settled(); epoch != 2 {
			t.Fatalf("the first path has epoch %d, want 2", epoch)
		}
		s := &shooter{socket: w, direction: 'u', paths: p, rng: rand.New(rand.NewPCG(1, 1))}
		stop := make(chan struct{})
		var done sync.WaitGroup
		done.Go(func() { s.run(stop) })
		time.Sleep(time.Second)
		p.changing()
		time.Sleep(time.Second)
		if epoch := p.settled(); epoch != 4 {
			t.Errorf("the second path has epoch %d, want 4", epoch)
		}
		time.Sleep(time.Second)
		close(stop)
		done.Wait()
		k := &catcher{direction: 'u', inEpoch: map[uint32]int64{}}
		want := make([]byte, longest)
		n := 0
		for _, train := range w.trains {
			n = max(n, len(train))
			for _, one := range train {
				k.take(one, want)
			}
		}
		f, remarks := k.result(s)
		if f.Received != f.Sent || f.Corrupted+f.Late+f.Duplicates != 0 || n < mostInTrain/2 {
			t.Errorf("%+v, %v, the longest train of %d", f, remarks, n)
		}
		for _, epoch := range []uint32{2, 3, 4} {
			if k.received(epoch) < 100 {
				t.Errorf("%d datagrams of epoch %d", k.received(epoch), epoch)
			}
		}
	})
}

// TestReport shows what makes a report fail, and that both forms have the counts.
func TestReport(t *testing.T) {
	good := func() *Report {
		return &Report{Schema: Schema, Seed: 3, Transitions: 4, Modes: map[string]*Row{"cvc": {Stays: 1}}, Verdict: verdict.New(),
			Up: Stream{Sent: 10, Received: 10}, Down: Stream{Sent: 10, Received: 10},
			DatagramsUp: Flow{Sent: 5, Received: 4, Late: 1}, DatagramsDown: Flow{Sent: 5, Received: 5}}
	}
	r := good()
	if r.judge(); !r.Passed {
		t.Errorf("failed: %v", r.Failures)
	}
	for name, spoil := range map[string]func(*Report){
		"an octet":      func(r *Report) { r.Down.Corrupted = 1 },
		"a datagram":    func(r *Report) { r.DatagramsUp.Corrupted = 1 },
		"order":         func(r *Report) { r.DatagramsDown.Reordered = 1 },
		"octets lost":   func(r *Report) { r.Up.Received = 9 },
		"nothing came":  func(r *Report) { r.DatagramsDown.Received = 0 },
		"failed before": func(r *Report) { r.Fail("before") },
	} {
		r := good()
		spoil(r)
		if r.judge(); r.Passed {
			t.Errorf("%s: passed", name)
		}
	}
	r.Up.Corrupted = 7
	var table, document strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "\n4 transitions under load, seed 3\n7 octets and 0 datagrams CORRUPTED, 0 datagrams overtaken") {
		t.Errorf("the table:\n%s", table.String())
	}
	if err := verdict.WriteJSON(&document, r); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(document.String()), &back); err != nil || back.Up.Corrupted != 7 || back.DatagramsUp.Late != 1 {
		t.Errorf("%+v, %v", back, err)
	}
}
