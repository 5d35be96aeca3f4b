package handoff

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"mipvpn/cmd/miplab/internal/session"
)

// Bed is where one program is measured.
type Bed interface {
	// Program returns the program's name.
	Program() string
	// Can reports whether the program can make changes in the place at all.
	Can(p Place) bool
	// Enter brings the laptop into the place and the program up there.
	Enter(ctx context.Context, p Place) error
	// Change makes one change and returns what it cost; afterwards everything is as Enter left it.
	Change(ctx context.Context, k Kind) (Sample, error)
	// Leave ends the program.
	Leave() error
}

// Config says what Run is to measure.
type Config struct {
	Repetitions int
	// Places and Kinds limit the measurement; all when empty.
	Places []Place
	Kinds  []Kind
	// Log takes a line for each change.
	Log io.Writer
}

// NewReport returns a report without figures.
func NewReport(repetitions int) *Report {
	return &Report{Reference: StrongSwan, Interval: milliseconds(session.Interval), Repetitions: repetitions, Rows: []Row{}, Goals: []Goal{}}
}

// Run measures in the beds, one change in each after the other, as often as Config says, and adds the rows to the report. The
// error names the program that could not be measured to the end.
func Run(ctx context.Context, cfg Config, beds []Bed, r *Report) error {
	for _, p := range Places {
		if len(cfg.Places) > 0 && !slices.Contains(cfg.Places, p) {
			continue
		}
		if err := cfg.measure(ctx, r, p, beds); err != nil {
			return err
		}
	}
	return nil
}

// Close judges what is in the report. All parts of it have come together, which took so long.
func (r *Report) Close(took time.Duration) {
	r.Seconds = took.Seconds()
	r.judge()
}

// kinds returns the kinds of change to be repeated in the place: in Between the only interface cannot change its network
// without its cable being moved, which is what `miplab demo` measures.
func (c Config) kinds(p Place) []Kind {
	return slices.DeleteFunc(slices.Clone(Kinds), func(k Kind) bool {
		return len(c.Kinds) > 0 && !slices.Contains(c.Kinds, k) || p == Between && k == NewNetwork
	})
}

// measure measures in one place.
func (c Config) measure(ctx context.Context, r *Report, p Place, beds []Bed) (err error) {
	beds = slices.DeleteFunc(slices.Clone(beds), func(b Bed) bool { return !b.Can(p) })
	defer func() {
		for _, b := range beds {
			if leaveErr := b.Leave(); err == nil && leaveErr != nil {
				err = fmt.Errorf("handoff: %s: %w", b.Program(), leaveErr)
			}
		}
	}()
	for _, b := range beds {
		if err := b.Enter(ctx, p); err != nil {
			return fmt.Errorf("handoff: %s, %s: %w", b.Program(), p, err)
		}
	}
	all := []Kind{}
	if p == Between {
		all = append(all, FirstCut)
	}
	all = append(all, c.kinds(p)...)
	samples := map[Kind]map[string][]Sample{}
	for _, k := range all {
		samples[k] = map[string][]Sample{}
	}
	for n := range c.Repetitions {
		for _, k := range all {
			if k == FirstCut && n > 0 {
				continue
			}
			for i := range beds {
				b := beds[(i+n)%len(beds)] // so that none is always the first
				s, err := b.Change(ctx, k)
				if err != nil {
					return fmt.Errorf("handoff: %s, %s, %s: %w", b.Program(), p, k, err)
				}
				samples[k][b.Program()] = append(samples[k][b.Program()], s)
				fmt.Fprintf(c.Log, "%-8s %-19s %-12s %d of %d: gap %6.1f ms, %3d of %d lost%s\n", p, k, b.Program(), n+1, c.Repetitions,
					milliseconds(s.Gap), s.Lost, s.Sent, map[bool]string{true: ", moved before"}[s.Moved])
			}
		}
	}
	for _, k := range all {
		for _, b := range beds {
			r.Rows = append(r.Rows, row(p, k, b.Program(), samples[k][b.Program()], samples[k][r.Reference]))
		}
	}
	return nil
}
