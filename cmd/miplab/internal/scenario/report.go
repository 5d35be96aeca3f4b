package scenario

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
)

// Schema is the version of the Report's JSON.
const Schema = 1

// Report is what came of a scenario.
type Report struct {
	Schema int    `json:"schema"`
	World  string `json:"world"`
	verdict.Verdict
	// Changes are the steps in order.
	Changes []Change `json:"changes"`
	// Conversation is the TCP session as a whole; its socket pair is the same throughout by TCP's own nature.
	Conversation session.Report `json:"conversation"`
	// Canary is what every payload was full of, in hexadecimal.
	Canary     string `json:"canary"`
	LocalAddr  string `json:"local_address"`
	RemoteAddr string `json:"remote_address"`
	// Stream is the UDP stream as a whole, the times of changes included.
	Stream session.Figures `json:"stream"`
	// External counts what crossed each external wire, PlaintextFrames the leaks on all of them.
	External        map[string]judge.Tally `json:"external_wires"`
	PlaintextFrames int                    `json:"plaintext_frames"`
	Leaks           []string               `json:"leaks,omitempty"`
	// InsideFrames counts the frames in which the same judge saw enterprise traffic inside, where it must be: proof that it
	// can see.
	InsideFrames int `json:"inside_frames"`
	// CaptureLost counts frames that the captures lost, which nobody has judged.
	CaptureLost int `json:"capture_lost"`
	// SecondOpinion is what another judge of the captures said, empty where there was none.
	SecondOpinion string `json:"second_opinion,omitempty"`
}

// Change is one change of network.
type Change struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Network string `json:"network"`
	// Policy is "auto", or the mode that was pinned.
	Policy string `json:"mode_policy"`
	// Cause says what was done to the laptop.
	Cause string `json:"cause"`
	// Evidence says how the client knows where it is.
	Evidence string          `json:"evidence"`
	Layers   []control.Layer `json:"layers"`
	// Outage is from the network's offer (an address, or the link) to the first datagram's return, Silence from the last
	// return before the cable was touched: DHCP and the pulled cable included.
	Outage  float64 `json:"outage_ms"`
	Silence float64 `json:"silence_ms"`
	// Lost and Sent count the UDP stream's datagrams from touching the cable to the step's end.
	Lost int `json:"lost"`
	Sent int `json:"sent"`
	// Registrations and IKE count the messages of each kind, both ways, that crossed the access network until traffic flowed;
	// 0 inside, where nobody counts.
	Registrations int `json:"registration_messages"`
	IKE           int `json:"ike_messages"`
	// TCP is how many octets the session had carried both ways at the end of the step.
	TCP int64 `json:"tcp_octets"`
	// PlaintextFrames counts the leaks of this step.
	PlaintextFrames int `json:"plaintext_frames"`
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "from\tto\tcause\tevidence\toutage ms\tsilence ms\tUDP lost\tTCP octets\tplaintext outside")
	for _, c := range r.Changes {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.0f\t%.0f\t%d of %d\t%d\t%d\n", c.From, c.To, c.Cause, shorten(c.Evidence, 48), c.Outage,
			c.Silence, c.Lost, c.Sent, c.TCP, c.PlaintextFrames)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\noutage: from the network's offer (address or link) to the first datagram back; silence: from the last one before.")
	fmt.Fprintf(w, "TCP session %s to %s: %d octets out (SHA-256 %.16s...), %d in (%.16s...), %s\n", r.LocalAddr, r.RemoteAddr,
		r.Conversation.Sent, r.Conversation.SentHash, r.Conversation.Received, r.Conversation.ReceivedHash,
		map[bool]string{true: "the same at both ends", false: "NOT the same at both ends"}[r.Conversation.Intact])
	fmt.Fprintf(w, "UDP stream: %d of %d datagrams lost\n", r.Stream.Lost, r.Stream.Sent)
	for _, name := range sortedKeys(r.External) {
		c := r.External[name]
		fmt.Fprintf(w, "wire %-9s %6d frames: %d ESP, %d IKE, %d registrations, %d other; in plaintext: %d\n", name, c.Frames, c.ESP, c.IKE,
			c.Registrations, c.Other, c.Leaks)
	}
	fmt.Fprintf(w, "inside, where it belongs, the same judge saw enterprise traffic in %d frames\n", r.InsideFrames)
	if r.SecondOpinion != "" {
		fmt.Fprintln(w, r.SecondOpinion)
	}
	for _, l := range r.Leaks {
		fmt.Fprintln(w, "LEAK:", l)
	}
	return r.Verdict.Write(w)
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return strings.TrimSpace(string(r[:n-1])) + "…"
	}
	return s
}
