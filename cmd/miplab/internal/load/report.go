package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"mipvpn/cmd/miplab/internal/verdict"
)

// Schema is the version of the JSON report.
const Schema = 1

// Report is what came of a run.
type Report struct {
	Schema      int    `json:"schema"`
	World       string `json:"world"`
	Seed        uint64 `json:"seed"`
	Transitions int    `json:"transitions"`
	// Modes are the stays by access mode.
	Modes map[string]*Row `json:"modes"`
	// Up and Down are the directions of the TCP connection, seen from the laptop.
	Up   Stream `json:"tcp_up"`
	Down Stream `json:"tcp_down"`
	// DatagramsUp and DatagramsDown are those of the datagrams.
	DatagramsUp   Flow `json:"datagrams_up"`
	DatagramsDown Flow `json:"datagrams_down"`
	// Drops are the packets that the client has dropped, by reason.
	Drops map[string]uint64 `json:"drops"`
	// Remarks say more about the first things that were wrong.
	Remarks []string `json:"remarks,omitempty"`
	verdict.Verdict
}

// Row is what was carried in one mode while the path did not change.
type Row struct {
	Stays         int   `json:"stays"`
	OctetsUp      int64 `json:"octets_up"`
	OctetsDown    int64 `json:"octets_down"`
	DatagramsUp   int64 `json:"datagrams_up"`
	DatagramsDown int64 `json:"datagrams_down"`
}

// Stream is what one direction of the TCP connection came to, in octets.
type Stream struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
	// Corrupted are octets received that are not those at their position.
	Corrupted int64 `json:"corrupted"`
}

// judge says whether all is as it must be.
func (r *Report) judge() {
	for _, d := range []struct {
		name   string
		stream Stream
		flow   Flow
	}{{"up", r.Up, r.DatagramsUp}, {"down", r.Down, r.DatagramsDown}} {
		if d.stream.Corrupted > 0 {
			r.Fail("%d octets of TCP were corrupted on their way %s", d.stream.Corrupted, d.name)
		}
		if d.stream.Sent != d.stream.Received {
			r.Fail("%d octets of TCP were sent %s, %d received", d.stream.Sent, d.name, d.stream.Received)
		}
		if d.flow.Corrupted > 0 {
			r.Fail("%d datagrams were corrupted on their way %s", d.flow.Corrupted, d.name)
		}
		if d.flow.Reordered > 0 {
			r.Fail("%d datagrams were overtaken on their way %s while the path did not change", d.flow.Reordered, d.name)
		}
		if d.stream.Received == 0 || d.flow.Received == 0 {
			r.Fail("%d octets and %d datagrams went %s: this shows nothing", d.stream.Received, d.flow.Received, d.name)
		}
	}
	r.Settle()
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "mode\tstays\tMB up\tMB down\tdatagrams up\tdatagrams down\t")
	for _, mode := range slices.Sorted(maps.Keys(r.Modes)) {
		m := r.Modes[mode]
		fmt.Fprintf(t, "%s\t%d\t%.1f\t%.1f\t%d\t%d\t\n", mode, m.Stays, float64(m.OctetsUp)/1e6, float64(m.OctetsDown)/1e6, m.DatagramsUp, m.DatagramsDown)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s\n", r.World)
	corrupted, reordered := r.Up.Corrupted+r.Down.Corrupted, r.DatagramsUp.Reordered+r.DatagramsDown.Reordered
	for _, d := range []struct {
		name   string
		stream Stream
		flow   Flow
	}{{"up", r.Up, r.DatagramsUp}, {"down", r.Down, r.DatagramsDown}} {
		fmt.Fprintf(w, "%-4s TCP: %d octets, each looked at; datagrams: %d sent, %d refused by the host, %d received, %d twice, %d late\n",
			d.name, d.stream.Received, d.flow.Sent, d.flow.Refused, d.flow.Received, d.flow.Duplicates, d.flow.Late)
	}
	fmt.Fprintf(w, "dropped by the client: %v\n", r.Drops)
	fmt.Fprintf(w, "%d transitions under load, seed %d\n", r.Transitions, r.Seed)
	fmt.Fprintf(w, "%d octets and %d datagrams CORRUPTED, %d datagrams overtaken on a path that did not change\n", corrupted,
		r.DatagramsUp.Corrupted+r.DatagramsDown.Corrupted, reordered)
	for _, s := range r.Remarks {
		fmt.Fprintln(w, "remark:", s)
	}
	return r.Verdict.Write(w)
}
