package auth

import (
	mathrand "math/rand/v2"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// keeper is a home agent's replay protection by timestamps (RFC 5944 §5.7.1): its clock is right.
type keeper struct {
	last    wire.Identification
	refused int
}

// takes reports whether the home agent accepts a request that arrives at the true time now; what it answers otherwise bears its
// time of day in the upper half.
func (k *keeper) takes(id wire.Identification, now time.Time) (reply wire.Identification, ok bool) {
	if off := id.Time().Sub(now).Abs(); off <= 7*time.Second && id > k.last {
		k.last = id
		return id, true
	}
	k.refused++
	return id.WithHigh(wire.IdentificationAt(now)), false
}

// The laptop's clock is set between two requests that are at least a second apart (RFC 5944 §3.6.3), or while the first is
// under way; any fraction of a second, any step, any offset that was known before. One refusal is enough to set the source
// right: the request that follows it at once is taken.
//
// Shows: MIP-3, HST-6 (a step of the wall clock costs at most one resynchronisation)
func TestClockStepCostsOneResynchronisation(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{7})
	r := mathrand.New(mathrand.NewPCG(7, 7))
	steps := []time.Duration{0, 5 * time.Second, -5 * time.Second, 8 * time.Second, -8 * time.Second, time.Minute, -time.Minute, time.Hour, -time.Hour,
		24 * time.Hour, -24 * time.Hour, 30 * 365 * 24 * time.Hour, -30 * 365 * 24 * time.Hour}
	for round := range 20000 {
		s, ha := association(t, HMACMD5), &keeper{}
		truth := start.Add(time.Duration(r.Int64N(int64(time.Hour)))) // any fraction of a second
		off := steps[r.IntN(len(steps))]                              // of the laptop's clock at first
		request := func() bool {
			sent := next(t, s, truth.Add(off), random)
			flight := time.Duration(r.Int64N(int64(200 * time.Millisecond)))
			if r.IntN(4) == 0 { // the clock is set while the request is under way
				off = steps[r.IntN(len(steps))]
			}
			reply, ok := ha.takes(sent.Identification, truth.Add(flight/2))
			truth = truth.Add(flight)
			if ok {
				s.Accepted(sent)
			} else {
				s.Resynchronize(at(truth.Add(off)), sent, reply)
			}
			return ok
		}
		for range 6 {
			off = steps[r.IntN(len(steps))]
			before := off
			if !request() && off == before && !request() && off == before {
				t.Fatalf("round %d: refused twice after one step of the clock (now %v off)", round, off)
			}
			truth = truth.Add(time.Second + time.Duration(r.Int64N(int64(time.Second))))
		}
	}
}

// A home agent whose clock was set back, and which was restarted without its memory, is followed: what it had accepted before
// is given up when it refuses values above that.
//
// Shows: MIP-3
func TestHomeAgentSetBack(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{8})
	for _, back := range []time.Duration{10 * time.Second, time.Hour, 30 * 365 * 24 * time.Hour} {
		s, ha := association(t, HMACMD5), &keeper{}
		truth := start
		sent := next(t, s, truth, random)
		if _, ok := ha.takes(sent.Identification, truth); !ok {
			t.Fatal("refused at first")
		}
		s.Accepted(sent)
		ha, truth = &keeper{}, truth.Add(time.Second)
		taken := false
		for range 3 {
			sent := next(t, s, truth, random)
			reply, ok := ha.takes(sent.Identification, truth.Add(-back))
			if taken = ok; ok {
				break
			}
			s.Resynchronize(at(truth), sent, reply)
			truth = truth.Add(time.Second)
		}
		if !taken {
			t.Errorf("set back by %v: %d refusals and no end", back, ha.refused)
		}
	}
}
