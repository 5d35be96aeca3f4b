package handoff

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
)

// The goals.
const (
	// GapGoal is the most that the median of the ratios of mipvpn's gap to strongSwan's may be where a second interface is up.
	GapGoal = 0.3
	// LostGoal is the most datagrams that mipvpn may lose in one change where a second interface is up.
	LostGoal = 1
	// SimulatedGoal is the most datagrams that may be lost in all changes of a simulation.
	SimulatedGoal = 0
)

// Row is what one program came to in one place with one kind of change.
type Row struct {
	Place   Place  `json:"place"`
	Kind    Kind   `json:"kind"`
	Program string `json:"program"`
	// Modes are mipvpn's access modes before and after, empty for the others.
	Modes string `json:"modes,omitempty"`
	// Gap is in milliseconds, Lost in datagrams, over the repetitions.
	Gap  bench.Spread `json:"gap_ms"`
	Lost bench.Spread `json:"lost"`
	// Ratio is of this program's gap to strongSwan's in the same repetition, nil where strongSwan was not measured.
	Ratio *bench.Spread `json:"gap_ratio,omitempty"`
	// Moved counts the repetitions in which traffic had moved before the first interface went; for MakeBeforeBreak.
	Moved int `json:"moved_before_break"`
	// Stuck counts the repetitions in which nothing came back for as long as was waited.
	Stuck int `json:"stuck"`
	// Sent counts the datagrams of all repetitions.
	Sent int `json:"sent"`
}

// Goal is something that is wanted, and what came of it.
type Goal struct {
	Place  Place   `json:"place,omitempty"`
	Kind   Kind    `json:"kind,omitempty"`
	What   string  `json:"what"`
	AtMost float64 `json:"at_most"`
	Value  float64 `json:"value"`
	Met    bool    `json:"met"`
}

// Missing is a program that could not be measured.
type Missing struct {
	Program string `json:"program"`
	Why     string `json:"why"`
}

// Report is what came of measuring handoffs.
type Report struct {
	// Reference is the program that ratios are to.
	Reference string `json:"reference"`
	// Interval is the time between two datagrams in milliseconds, the least that a gap can be.
	Interval    float64   `json:"interval_ms"`
	Repetitions int       `json:"repetitions"`
	Rows        []Row     `json:"rows"`
	Missing     []Missing `json:"missing,omitempty"`
	// Simulated is nil when nothing was simulated.
	Simulated *Simulated `json:"simulated,omitempty"`
	Goals     []Goal     `json:"goals"`
	// Seconds is how long all of it took.
	Seconds float64 `json:"seconds"`
}

// Simulated is what came of a simulation.
type Simulated struct {
	// Changes is how many there were, by Modes which ones, as "cvc to c".
	Changes int            `json:"changes"`
	Modes   map[string]int `json:"modes"`
	// Sent counts the datagrams of the times observed, Lost those of them that did not come back. LostUp of those lost did not
	// get to the correspondent.
	Sent   int `json:"sent"`
	Lost   int `json:"lost"`
	LostUp int `json:"lost_up"`
	// Losses say of each change that lost something which it was, at most 20 of them.
	Losses []string `json:"losses,omitempty"`
	// Virtual is the virtual time that it took, in seconds.
	Virtual float64 `json:"virtual_seconds"`
}

// keptLosses is how many losses a Simulated tells of.
const keptLosses = 20

// Add adds what came of another simulation.
func (s *Simulated) Add(o Simulated) {
	if s.Modes == nil {
		s.Modes = map[string]int{}
	}
	for m, n := range o.Modes {
		s.Modes[m] += n
	}
	s.Changes += o.Changes
	s.Sent += o.Sent
	s.Lost += o.Lost
	s.LostUp += o.LostUp
	s.Losses = append(s.Losses, o.Losses...)
	s.Losses = s.Losses[:min(len(s.Losses), keptLosses)]
	s.Virtual += o.Virtual
}

// row returns the figures of one program's samples, of which there is one at least; the reference's are nil where there are none.
func row(p Place, k Kind, program string, samples, reference []Sample) Row {
	gap := func(s Sample) float64 { return milliseconds(s.Gap) }
	r := Row{
		Place: p, Kind: k, Program: program, Modes: Modes(program, p, k), Gap: bench.NewSpread(column(samples, gap)),
		Lost: bench.NewSpread(column(samples, func(s Sample) float64 { return float64(s.Lost) })),
	}
	for _, s := range samples {
		r.Sent += s.Sent
		if s.Moved {
			r.Moved++
		}
		if s.Stuck {
			r.Stuck++
		}
	}
	var ratios []float64
	for i, ref := range column(reference, gap) {
		if i < len(samples) && ref > 0 {
			ratios = append(ratios, gap(samples[i])/ref)
		}
	}
	if len(ratios) > 0 {
		spread := bench.NewSpread(ratios)
		r.Ratio = &spread
	}
	return r
}

// judge sets the goals from the rows and the simulation.
func (r *Report) judge() {
	add := func(g Goal) {
		g.Met = g.Value <= g.AtMost
		r.Goals = append(r.Goals, g)
	}
	r.Goals = []Goal{}
	for _, row := range r.Rows {
		if row.Program != Mipvpn || row.Kind == NewNetwork {
			continue
		}
		if row.Ratio != nil {
			add(Goal{Place: row.Place, Kind: row.Kind, What: "median ratio of the gap to " + r.Reference + "'s", AtMost: GapGoal, Value: row.Ratio.Median})
		}
		add(Goal{Place: row.Place, Kind: row.Kind, What: "most datagrams lost in one change", AtMost: LostGoal, Value: row.Lost.Most})
	}
	if s := r.Simulated; s != nil {
		add(Goal{Kind: MakeBeforeBreak, What: fmt.Sprintf("datagrams lost in %d simulated changes", s.Changes), AtMost: SimulatedGoal, Value: float64(s.Lost)})
	}
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	if len(r.Rows) > 0 {
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "place\tchange\tprogram\tmodes\tgap ms\tleast\tmost\tof %s\tlost\tleast\tmost\tmoved before\n", r.Reference)
		for _, row := range r.Rows {
			ratio, moved := "", ""
			if row.Ratio != nil {
				ratio = fmt.Sprintf("%.2f", row.Ratio.Median)
			}
			if row.Kind == MakeBeforeBreak {
				moved = fmt.Sprintf("%d of %d", row.Moved, len(row.Gap.Values))
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.0f\t%.0f\t%.0f\t%s\t%.0f\t%.0f\t%.0f\t%s\n", row.Place, row.Kind, row.Program, row.Modes,
				row.Gap.Median, row.Gap.Least, row.Gap.Most, ratio, row.Lost.Median, row.Lost.Least, row.Lost.Most, moved)
		}
		if err := t.Flush(); err != nil {
			return err
		}
		fmt.Fprintf(w, "one datagram every %.0f ms, each sent back; gap: the longest time between two that came back; medians of %d repetitions,\n"+
			"interleaved; ratio: the median of the ratios of pairs; moved before: before the first interface went. A gap of little more than %.0f ms is\n"+
			"none: where strongSwan has none either, the ratio says nothing\n", r.Interval, r.Repetitions, r.Interval)
	}
	for _, row := range r.Rows {
		if row.Stuck > 0 {
			fmt.Fprintf(w, "%s, %s, %s: nothing came back for as long as was waited in %d of %d\n", row.Place, row.Kind, row.Program, row.Stuck, len(row.Gap.Values))
		}
	}
	for _, m := range r.Missing {
		fmt.Fprintf(w, "not measured: %s: %s\n", m.Program, m.Why)
	}
	if s := r.Simulated; s != nil {
		fmt.Fprintf(w, "simulated: %d changes with make before break %v, %v of virtual time: %d of %d datagrams lost (%d on the way up)\n",
			s.Changes, s.Modes, time.Duration(s.Virtual*float64(time.Second)).Round(time.Second), s.Lost, s.Sent, s.LostUp)
		for _, l := range s.Losses {
			fmt.Fprintln(w, "  lost:", l)
		}
	}
	for _, g := range r.Goals {
		word := "MISSED"
		if g.Met {
			word = "met"
		}
		fmt.Fprintf(w, "goal %s: %s %s: %s: %.2f, at most %g wanted\n", word, g.Place, g.Kind, g.What, g.Value, g.AtMost)
	}
	_, err := fmt.Fprintf(w, "took %v\n", time.Duration(r.Seconds*float64(time.Second)).Round(time.Second))
	return err
}
