package contest

import (
	"context"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
)

const (
	// rest is the time before wake-ups are counted, idleTime the least time in which they are.
	rest     = 5 * time.Second
	idleTime = 10 * time.Second
	// glance is the time between two looks at a process: one that has not run between two has rested.
	glance = 10 * time.Millisecond
)

// sleeper is a near end that is looked at while nothing goes.
type sleeper struct {
	*tunnel.Standing
	switches uint64
	cpu      time.Duration
	awake    bool
	wakeUps  int
}

// look counts a wake-up when the process has run since the last look and had not before.
func (s *sleeper) look() error {
	cpu, err := s.Near.CPU()
	if err != nil {
		return err
	}
	ran := cpu != s.cpu
	if ran && !s.awake {
		s.wakeUps++
	}
	s.cpu, s.awake = cpu, ran
	return nil
}

// idle counts the wake-ups of all near ends at once while nothing goes.
func (c *contest) idle(ctx context.Context, wire string, standing []*tunnel.Standing) error {
	c.say("%s: all tunnels rest", wire)
	quiet, window := rest, max(idleTime, c.Duration)
	if c.trying() {
		quiet, window = c.Duration, c.Duration
	}
	if err := pause(ctx, quiet); err != nil {
		return err
	}
	var all []*sleeper
	for _, t := range standing {
		if t.Near == 0 {
			continue
		}
		s := &sleeper{Standing: t}
		var err error
		if s.switches, err = t.Near.Switches(); err != nil {
			return err
		}
		if s.cpu, err = t.Near.CPU(); err != nil {
			return err
		}
		all = append(all, s)
	}
	begin := time.Now()
	for time.Since(begin) < window {
		if err := pause(ctx, glance); err != nil {
			return err
		}
		for _, s := range all {
			if err := s.look(); err != nil {
				return err
			}
		}
	}
	took := time.Since(begin).Seconds()
	for _, s := range all {
		switches, err := s.Near.Switches()
		if err != nil {
			return err
		}
		r := run{contest: c, t: s.Standing, wire: wire}
		r.add(bench.WakeUps, float64(s.wakeUps)/took)
		// Those of threads that have ended meanwhile are gone.
		more := max(0, float64(switches)-float64(s.switches)) / took
		r.add(bench.Switches, more)
		c.say("%s %s: %.2f wake-ups a second, %.1f context switches", wire, s.Name, float64(s.wakeUps)/took, more)
	}
	return nil
}
