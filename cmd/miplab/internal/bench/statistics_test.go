package bench

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestSpread shows median, least and most, between two values and of one.
func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values              []float64
		median, least, most float64
	}{
		{[]float64{3}, 3, 3, 3},
		{[]float64{3, 1}, 2, 1, 3},
		{[]float64{9, 1, 2}, 2, 1, 9},
		{[]float64{4, 1, 3, 2}, 2.5, 1, 4},
	} {
		s := NewSpread(c.values)
		if s.Median != c.median || s.Least != c.least || s.Most != c.most || !slices.Equal(s.Values, c.values) {
			t.Errorf("%v: %+v, want %v, %v, %v", c.values, s, c.median, c.least, c.most)
		}
	}
}

// TestPercentile shows values at and between ranks, and that nothing has no percentile.
func TestPercentile(t *testing.T) {
	values := []float64{50, 10, 40, 20, 30}
	for _, c := range []struct{ p, want float64 }{{0, 10}, {25, 20}, {50, 30}, {90, 46}, {100, 50}} {
		if got := Percentile(values, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("percentile %v is %v, want %v", c.p, got, c.want)
		}
	}
	if !math.IsNaN(Percentile(nil, 50)) {
		t.Error("nothing has a median")
	}
}

// tunnelOf carries so many datagrams a second and loses what is more, and its sender reaches no more than `sender`.
func tunnelOf(carries, sender float64) func(float64) (Outcome, error) {
	return func(rate float64) (Outcome, error) {
		offered := min(rate, sender)
		sent := int(offered)
		return Outcome{Sent: sent, Received: int(min(offered, carries)), Offered: offered}, nil
	}
}

// TestSearch finds what tunnels of all speeds carry, from below and from above, with a hint that is near or far off.
func TestSearch(t *testing.T) {
	for _, carries := range []float64{100, 2e3, 47e3, 1.3e6} {
		for _, start := range []float64{carries, 20e3, carries * 1.1, carries / 1.3} {
			s := Search{Start: start, Step: 1.3, Precision: 1.05}
			trials := 0
			try := tunnelOf(carries, math.Inf(1))
			best, err := s.Run(func(rate float64) (Outcome, error) { trials++; return try(rate) })
			if err != nil {
				t.Fatal(err)
			}
			if got := best.Delivered(); got < carries/1.06 || got > carries*1.001 || best.Lost() > MaxLoss {
				t.Errorf("carries %v, from %v: found %v with loss %v", carries, start, got, best.Lost())
			}
			if trials >= maxTrials {
				t.Errorf("carries %v, from %v: %d trials", carries, start, trials)
			}
		}
	}
}

// TestSearchSlowSender shows that a sender which cannot reach more is where the search ends, with what it reached.
func TestSearchSlowSender(t *testing.T) {
	best, err := Search{Start: 20e3, Step: 2, Precision: 1.05}.Run(tunnelOf(1e9, 70e3))
	if err != nil || best.Delivered() < 69e3 || best.Delivered() > 70e3 {
		t.Errorf("found %v, %v, want 70000", best.Delivered(), err)
	}
}

// TestSearchForgivesOneLoss shows that a trial in which the machine did something else does not end the way up.
func TestSearchForgivesOneLoss(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	try := tunnelOf(50e3, math.Inf(1))
	lastBad := false
	best, err := Search{Start: 20e3, Step: 2, Precision: 1.05}.Run(func(rate float64) (Outcome, error) {
		o, err := try(rate)
		lastBad = !lastBad && random.IntN(3) == 0
		if lastBad {
			o.Received /= 2
		}
		return o, err
	})
	if err != nil || best.Delivered() < 47e3 {
		t.Errorf("found %v, %v, want about 50000", best.Delivered(), err)
	}
}

// TestSearchErrors shows a tunnel that passes nothing, and a trial that cannot be made.
func TestSearchErrors(t *testing.T) {
	s := Search{Start: 20e3, Step: 2, Precision: 1.05}
	if _, err := s.Run(func(rate float64) (Outcome, error) { return Outcome{Sent: 100, Offered: rate}, nil }); !errors.Is(err, ErrNothingPasses) {
		t.Errorf("a tunnel that passes nothing: %v", err)
	}
	broken := errors.New("broken")
	if _, err := s.Run(func(float64) (Outcome, error) { return Outcome{}, broken }); !errors.Is(err, broken) {
		t.Errorf("a broken trial: %v", err)
	}
}
