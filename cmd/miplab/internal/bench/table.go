package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// WriteTable writes the report for a person: the goals, the medians, what is missing.
func (r *Report) WriteTable(w io.Writer) error {
	var b strings.Builder
	if len(r.Verdicts) > 0 {
		r.writeGoals(&b)
	}
	for _, wire := range r.wires() {
		for _, d := range []Direction{Up, Down, None} {
			r.writeFigures(&b, wire, d)
		}
	}
	for _, t := range r.Tunnels {
		if t.Missing != "" {
			fmt.Fprintf(&b, "%s (%s): %s\n", t.Name, t.Title, t.Missing)
		} else {
			fmt.Fprintf(&b, "%s: %s\n", t.Name, t.Title)
		}
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "FAILED: %s\n", f)
	}
	fmt.Fprintf(&b, "%d pairs of runs of %g s, both ends on one machine with %d cores, %s\n", r.Pairs, r.Seconds, r.Cores, r.System)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeGoals writes a line for each verdict.
func (r *Report) writeGoals(b *strings.Builder) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "tunnel\twhat\twires\tway\tmedian\tleast\tmost\tgoal\t")
	for _, v := range r.Verdicts {
		k := kindOf(v.Quantity)
		what, show := k.ratio, func(x float64) string { return fmt.Sprintf("%.2f", x) }
		bound := "<= " + show(v.AtMost)
		if v.AtMost == 0 {
			bound = ">= " + show(v.AtLeast)
		}
		if v.Reference == "" {
			show, what = k.show, k.title
			bound = "<= " + show(v.AtMost)
		} else {
			bound += " " + v.Reference
		}
		verdict := "met"
		if !v.Met {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Tunnel, what, v.Wire, v.Direction, show(v.Median), show(v.Least), show(v.Most), bound, verdict)
	}
	t.Flush()
	b.WriteByte('\n')
}

// writeFigures writes the medians of one direction, a line for each tunnel.
func (r *Report) writeFigures(b *strings.Builder, wire string, d Direction) {
	var shown []kind
	for _, k := range kinds {
		if slices.ContainsFunc(r.Figures, func(f Figure) bool { return f.Wire == wire && f.Direction == d && f.Quantity == k.quantity }) {
			shown = append(shown, k)
		}
	}
	if len(shown) == 0 {
		return
	}
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := wire
	if d != None {
		head += " " + string(d)
	}
	fmt.Fprintf(t, "%s\t", head)
	for _, k := range shown {
		fmt.Fprintf(t, "%s\t", k.title)
	}
	fmt.Fprintln(t)
	for _, tunnel := range r.Tunnels {
		line, any := tunnel.Name+"\t", false
		for _, k := range shown {
			cell := ""
			for _, f := range r.Figures {
				if f.Key == (Key{tunnel.Name, wire, d, k.quantity}) {
					cell, any = k.show(f.Median), true
				}
			}
			line += cell + "\t"
		}
		if any {
			fmt.Fprintln(t, line)
		}
	}
	t.Flush()
	b.WriteByte('\n')
}

// wires are the kinds of wires of the figures, in their order.
func (r *Report) wires() []string {
	var all []string
	for _, f := range r.Figures {
		if !slices.Contains(all, f.Wire) {
			all = append(all, f.Wire)
		}
	}
	return all
}
