package walk

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
)

// Schema is the version of the Report's JSON.
const Schema = 1

// Report is what came of a walk.
type Report struct {
	Schema int    `json:"schema"`
	World  string `json:"world"`
	// Seed repeats the order of transitions; when each comes is up to the machine.
	Seed uint64 `json:"seed"`
	verdict.Verdict
	// Transitions is how many there were, Kinds says of which kinds, Modes how often each access mode was arrived at.
	Transitions int             `json:"transitions"`
	Kinds       map[string]*Row `json:"kinds"`
	Modes       map[string]int  `json:"modes"`
	// Conversation is the TCP session, Stream the UDP stream, as wholes.
	Conversation session.Report  `json:"conversation"`
	Stream       session.Figures `json:"stream"`
	// Applications counts what the other applications sent and what came back, by name.
	Applications map[string]*Count `json:"applications"`
	// External counts what crossed each external wire, PlaintextFrames the leaks on all of them.
	External        map[string]judge.Tally `json:"external_wires"`
	PlaintextFrames int                    `json:"plaintext_frames"`
	Leaks           []string               `json:"leaks,omitempty"`
	// InsideFrames counts the frames in which the same judge saw enterprise traffic inside, where it must be.
	InsideFrames int `json:"inside_frames"`
	// CaptureLost counts frames that the captures lost, which nobody has judged.
	CaptureLost int `json:"capture_lost"`
}

// Row is what came of the transitions of one kind.
type Row struct {
	Count int `json:"count"`
	// Mean and Longest are the time from the beginning of the transition to the first datagram back, in milliseconds.
	Mean    float64 `json:"mean_ms"`
	Longest float64 `json:"longest_ms"`
	total   time.Duration
	longest time.Duration
}

func (r *Row) add(d time.Duration) {
	r.Count++
	r.total += d
	r.longest = max(r.longest, d)
	r.Mean, r.Longest = milliseconds(r.total/time.Duration(r.Count)), milliseconds(r.longest)
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Count is what one application did.
type Count struct {
	Sent     int64 `json:"sent"`
	Refused  int64 `json:"refused"`
	Answered int64 `json:"answered"`
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "transition\tcount\tmean ms\tlongest ms\t")
	for _, name := range slices.Sorted(maps.Keys(r.Kinds)) {
		k := r.Kinds[name]
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%.0f\t\n", name, k.Count, k.Mean, k.Longest)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d transitions in namespaces, seed %d; arrived in modes %v\n", r.Transitions, r.Seed, r.Modes)
	for _, name := range slices.Sorted(maps.Keys(r.External)) {
		c := r.External[name]
		fmt.Fprintf(w, "wire %-9s %6d frames: %d ESP, %d IKE, %d registrations, %d other; in plaintext: %d\n", name, c.Frames, c.ESP, c.IKE,
			c.Registrations, c.Other, c.Leaks)
	}
	fmt.Fprintf(w, "%d LEAKS; inside, where it belongs, the same judge saw enterprise traffic in %d frames; %d frames lost by captures\n",
		r.PlaintextFrames, r.InsideFrames, r.CaptureLost)
	fmt.Fprintf(w, "TCP session: %d octets out, %d in, %s; UDP: %d of %d datagrams lost\n", r.Conversation.Sent, r.Conversation.Received,
		map[bool]string{true: "the same at both ends", false: "NOT the same at both ends"}[r.Conversation.Intact], r.Stream.Lost, r.Stream.Sent)
	for _, name := range slices.Sorted(maps.Keys(r.Applications)) {
		c := r.Applications[name]
		fmt.Fprintf(w, "%s: %d sent, %d refused by the host, %d answered\n", name, c.Sent, c.Refused, c.Answered)
	}
	for _, l := range r.Leaks {
		fmt.Fprintln(w, "LEAK:", l)
	}
	return r.Verdict.Write(w)
}
