package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"sync"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

func at(wall time.Time) link.Instant { return link.Instant{Boot: time.Hour, Wall: wall} }

var start = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func next(t testing.TB, s *SecurityAssociation, wall time.Time, random io.Reader) Stamp {
	t.Helper()
	st, err := s.NextIdentification(at(wall), random)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Identifications are near the time of day and increase strictly, whatever the clock does.
//
// Shows: MIP-3
func TestIdentificationIncreases(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{1})
	s := association(t, HMACMD5)
	var last wire.Identification
	wall := start
	for i, step := range []time.Duration{0, 0, 0, time.Nanosecond, time.Millisecond, time.Second, -time.Second, 0, -time.Hour, 2 * time.Hour} {
		wall = wall.Add(step)
		id := next(t, s, wall, random).Identification
		if id <= last {
			t.Errorf("step %d: %v follows %v", i, id, last)
		}
		if step >= 0 && i < 6 {
			if d := id.Time().Sub(wall); d < -4*time.Millisecond || d > 20*time.Millisecond {
				t.Errorf("step %d: %v is %v off the clock", i, id, d)
			}
		}
		last = id
	}
	if d := last.Time().Sub(wall).Abs(); d > 20*time.Millisecond {
		t.Errorf("the clock has caught up but %v is %v off", last, d)
	}
}

// Two values of one instant do not tell each other: the low bits are random.
func TestIdentificationIsRandom(t *testing.T) {
	seen := make(map[uint32]bool)
	for range 100 {
		seen[next(t, association(t, HMACMD5), start, rand.Reader).Identification.Low()] = true
	}
	if len(seen) < 95 {
		t.Errorf("%d different low halves of 100", len(seen))
	}
}

// Several machines on several goroutines share one source.
//
// Shows: MIP-3
func TestIdentificationIsShared(t *testing.T) {
	s := association(t, HMACMD5)
	const each = 500
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := make(map[wire.Identification]bool)
	for range 4 {
		wg.Go(func() {
			var last wire.Identification
			for range each {
				st, err := s.NextIdentification(at(start), rand.Reader)
				if err != nil || st.Identification <= last {
					t.Errorf("%v follows %v: %v", st.Identification, last, err)
				}
				last = st.Identification
				mu.Lock()
				seen[last] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(seen) != 4*each {
		t.Errorf("%d values of %d are different", len(seen), 4*each)
	}
}

func TestIdentificationNeedsRandomness(t *testing.T) {
	if _, err := association(t, HMACMD5).NextIdentification(at(start), bytes.NewReader([]byte{1})); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("found %v, want io.ErrUnexpectedEOF", err)
	}
}

// Shows: MIP-3 (resynchronisation both ways)
func TestResynchronize(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{2})
	for _, off := range []time.Duration{-24 * time.Hour, 24 * time.Hour, -9 * time.Second, 9 * time.Second, -20 * 365 * 24 * time.Hour} {
		s := association(t, HMACMD5)
		wrong := start.Add(off) // our clock; the home agent's shows start
		sent := next(t, s, wrong, random)
		reply := sent.Identification.WithHigh(wire.IdentificationAt(start))
		if !s.Resynchronize(at(wrong), sent, reply) {
			t.Fatalf("%v: not resynchronised", off)
		}
		again := next(t, s, wrong, random).Identification
		if d := again.Time().Sub(start).Abs(); d > time.Second {
			t.Errorf("clock off by %v: %v after resynchronisation, %v off", off, again, d)
		}
		if d := (s.ClockOffset() + off).Abs(); d > time.Second {
			t.Errorf("clock off by %v: ClockOffset() = %v", off, s.ClockOffset())
		}
		if later := next(t, s, wrong, random).Identification; later <= again {
			t.Errorf("clock off by %v: %v follows %v", off, later, again)
		}
	}
}

// The answer to a request from before a resynchronisation changes nothing: a machine on another interface has sent it.
//
// Shows: MIP-3
func TestResynchronizeOnce(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{3})
	s := association(t, HMACMD5)
	wrong := start.Add(-time.Hour)
	a, b := next(t, s, wrong, random), next(t, s, wrong, random)
	if !s.Resynchronize(at(wrong), b, b.Identification.WithHigh(wire.IdentificationAt(start))) {
		t.Fatal("the first one was refused")
	}
	last := next(t, s, wrong, random).Identification
	if s.Resynchronize(at(wrong), a, a.Identification.WithHigh(wire.IdentificationAt(start.Add(-time.Minute)))) {
		t.Error("a request from before was taken")
	}
	if after := next(t, s, wrong, random).Identification; after <= last {
		t.Errorf("%v follows %v", after, last)
	}
}

// A home agent that refuses because it has already accepted a slightly later value is not given a lower one.
func TestResynchronizeKeepsLead(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{4})
	s := association(t, HMACMD5)
	sent := next(t, s, start.Add(2*time.Second), random)
	s.Resynchronize(at(start), sent, sent.Identification.WithHigh(wire.IdentificationAt(start)))
	if id := next(t, s, start, random).Identification; id <= sent.Identification {
		t.Errorf("%v follows %v", id, sent.Identification)
	}
}

// Even when the random bits repeat, the values do not.
func TestIdentificationDoesNotRepeat(t *testing.T) {
	s := association(t, HMACMD5)
	zeros := bytes.NewReader(make([]byte, 12))
	var last wire.Identification
	for range 3 {
		id := next(t, s, start, zeros).Identification
		if id <= last {
			t.Errorf("%v follows %v", id, last)
		}
		last = id
	}
}
