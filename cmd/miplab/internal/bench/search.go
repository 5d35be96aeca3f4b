package bench

import (
	"errors"
	"math"
)

// Outcome is what became of datagrams that were offered at some rate.
type Outcome struct {
	// Sent and Received are datagrams of the part of the trial that counts.
	Sent, Received int
	// Offered is the rate at which they really went out, a second.
	Offered float64
}

// Lost is the share that did not arrive.
func (o Outcome) Lost() float64 {
	if o.Sent == 0 {
		return 1
	}
	return 1 - float64(o.Received)/float64(o.Sent)
}

// Delivered is the rate at which they arrived, a second.
func (o Outcome) Delivered() float64 { return o.Offered * (1 - o.Lost()) }

// Search finds the highest rate at which hardly anything is lost.
type Search struct {
	// Start is the rate to begin with, a second.
	Start float64
	// Step is the first factor between rates; it grows as long as all rates pass, or all fail.
	Step float64
	// Precision is the factor between the highest rate that passed and the lowest that failed at which the search ends.
	Precision float64
}

const (
	// maxTrials ends a search whose trials contradict each other.
	maxTrials = 24
	// leastRate, datagrams a second, is a rate that anything passes.
	leastRate = 50
	// kept is the part of a rate that a sender which keeps up reaches.
	kept = 0.9
)

// ErrNothingPasses tells that even a few datagrams a second are lost.
var ErrNothingPasses = errors.New("bench: more datagrams are lost than may be, at every rate")

// Run searches with trials at the rates that it chooses, and returns the outcome of the one with the highest delivered rate
// among those at which hardly anything was lost. A rate passes when that is so and the sender came near it: where sender and
// tunnel share the cores, the sender may be what gives way. A rate that fails is tried once more, since a machine that does
// something else for a moment loses datagrams too.
func (s Search) Run(try func(rate float64) (Outcome, error)) (Outcome, error) {
	var best Outcome
	rate, step := s.Start, s.Step
	low, high := 0.0, math.Inf(1)
	failed := false // at this rate, once
	for range maxTrials {
		o, err := try(rate)
		if err != nil {
			return best, err
		}
		if o.Lost() <= MaxLoss && o.Delivered() > best.Delivered() {
			best = o
		}
		passed := o.Lost() <= MaxLoss && o.Offered >= kept*rate
		if !passed && !failed {
			failed = true
			continue
		}
		failed = false
		if passed {
			low = rate
		} else {
			high = rate
		}
		if low > 0 && high/low <= s.Precision || high <= leastRate {
			break
		}
		switch {
		case math.IsInf(high, 1):
			rate = low * step
			step = min(step*step, 4)
		case low == 0:
			rate = high / step
			step = min(step*step, 4)
		default:
			rate = math.Sqrt(low * high)
		}
	}
	if best.Received == 0 {
		return best, ErrNothingPasses
	}
	return best, nil
}
