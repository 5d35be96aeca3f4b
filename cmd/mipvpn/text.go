package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"mipvpn/client/control"
)

// What a screen of 24 lines has room for.
const (
	shownInterfaces = 4
	shownHandoffs   = 3
	shownProblems   = 3
)

// writeStatus writes the status for people.
func writeStatus(w io.Writer, s control.Status) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, mode %s (policy %s)\n", strings.ToUpper(string(s.State)), orNone(s.Mode), s.ModePolicy)
	fmt.Fprintf(&b, "  where     %s\n", whereabouts(s))
	fmt.Fprintf(&b, "  known by  %s\n", s.Proof.Reason)
	fmt.Fprintf(&b, "  until     %s\n", until(s))
	if s.HomeAddress.IsValid() {
		fmt.Fprintf(&b, "  address   %v%s\n", s.HomeAddress, on(s.Device))
	}
	b.WriteString(namesLine(s.DNS))
	for i, p := range s.Problems {
		if i == shownProblems {
			fmt.Fprintf(&b, "  problem   and %d more (--json shows all)\n", len(s.Problems)-i)
			break
		}
		fmt.Fprintf(&b, "  problem   %v\n", p)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.Layers) > 0 {
		fmt.Fprintln(t, "layers, from the interface up")
	}
	for _, l := range s.Layers {
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", l.Kind, orNone(addr(l.Local)), to(l), orNone(l.Encapsulation), layerDetail(l))
	}
	if len(s.Interfaces) > 0 {
		fmt.Fprintln(t, "interfaces")
	}
	for i, f := range s.Interfaces {
		if i == shownInterfaces {
			fmt.Fprintf(t, "  and %d more (--json shows all)\n", len(s.Interfaces)-i)
			break
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\n", star(f.InUse), f.Name, ifaceAddress(f), f.Proof.Verdict, f.State)
	}
	if len(s.Handoffs) > 0 {
		fmt.Fprintln(t, "last changes")
	}
	for _, h := range s.Handoffs[max(0, len(s.Handoffs)-shownHandoffs):] {
		fmt.Fprintf(t, "  %s\t%s -> %s\t%.0f ms without\t%s\n", h.Time.Local().Format(time.TimeOnly), orNone(h.From), orNone(h.To), h.Outage, h.Reason)
	}
	t.Flush()
	fmt.Fprintf(&b, "carried: %d packets (%s) out, %d (%s) in; dropped: %s\n", s.Counters.TxPackets, octets(s.Counters.TxBytes),
		s.Counters.RxPackets, octets(s.Counters.RxBytes), drops(s.Counters.Drops))
	if s.Exposure > 0 {
		fmt.Fprintf(&b, "plaintext has passed on proofs up to %.1f s old\n", float64(s.Exposure)/1000)
	}
	return plain(w, b.String())
}

func whereabouts(s control.Status) string {
	where := map[control.Verdict]string{
		control.VerdictInside:  "inside the company's network",
		control.VerdictOutside: "outside",
	}[s.Proof.Verdict]
	switch {
	case s.State == control.StateDown:
		return "not looked for: the client is down"
	case where == "":
		where = "not known"
	}
	if s.Interface != "" {
		where += ", on " + s.Interface
	}
	for _, i := range s.Interfaces {
		if i.Name == s.Interface {
			where += " (" + ifaceAddress(i) + ")"
		}
	}
	return where
}

func until(s control.Status) string {
	p := s.Proof
	if s.State == control.StateDown {
		return "`mipvpn up`"
	}
	if p.Age != nil && p.ExpiresIn != nil {
		return fmt.Sprintf("proof %.0f s old, plaintext stops in %.0f s unless it is renewed", *p.Age, *p.ExpiresIn)
	}
	if p.Verdict == control.VerdictOutside {
		return "the connection changes or the i-HA proves inside; nothing leaves without ESP"
	}
	return "a home agent answers; until then nothing of the enterprise's traffic leaves in the clear"
}

// writeDetection writes what detection knows for people.
func writeDetection(w io.Writer, d control.Detection) error {
	var b bytes.Buffer
	if len(d.Interfaces) == 0 {
		fmt.Fprintln(&b, "no interface is being looked at")
	}
	for _, i := range d.Interfaces {
		fmt.Fprintf(&b, "%s (%s): %s, %s\n", i.Name, ifaceAddress(i.Interface), i.Proof.Verdict, i.State)
		fmt.Fprintf(&b, "  known by  %s\n", i.Proof.Reason)
		if i.Proof.Age != nil && i.Proof.ExpiresIn != nil {
			fmt.Fprintf(&b, "  proof     %.0f s old, ends in %.0f s\n", *i.Proof.Age, *i.Proof.ExpiresIn)
		}
		fmt.Fprintf(&b, "  i-HA      %s\n", registration(i.Internal, true))
		fmt.Fprintf(&b, "  x-HA      %s\n", registration(i.External, false))
	}
	return plain(w, b.String())
}

func registration(r control.Registration, internal bool) string {
	s := orNone(addr(r.Agent))
	if !r.Asked {
		return s + ", not asked"
	}
	s += fmt.Sprintf(", asked %.1f s ago", r.AskedAgo)
	if !r.Answered {
		return s + ", no answer yet"
	}
	s += fmt.Sprintf(", answered %.1f s ago", r.AnsweredAgo)
	if r.RoundTrip > 0 {
		s += fmt.Sprintf(" within %.0f ms", r.RoundTrip)
	}
	if internal {
		s += map[bool]string{true: ", with TNC", false: ", without TNC"}[r.TrustedNetwork]
	}
	if r.Outcome != "" {
		s += ": " + r.Outcome
	}
	return s
}

// writeEvent writes one event on a line.
func writeEvent(w io.Writer, e control.Event) error {
	s := fmt.Sprintf("%s %-10s %-11s", e.Time.Local().Format("15:04:05.000"), e.State, e.Kind)
	if e.Interface != "" {
		s += " " + e.Interface + ":"
	}
	s += " " + e.Message
	if e.Handoff != nil {
		s += fmt.Sprintf(" (%s -> %s, %.0f ms without)", orNone(e.Handoff.From), orNone(e.Handoff.To), e.Handoff.Outage)
	}
	return plain(w, strings.ReplaceAll(s, "\n", " ")+"\n")
}

// plain writes text without trailing spaces and without anything that could command a terminal: some of it comes from
// others. Lines within a value have been broken by whoever wrote it and stay.
func plain(w io.Writer, text string) error {
	lines := strings.Split(printable(text), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	_, err := io.WriteString(w, strings.Join(lines, "\n"))
	return err
}

// printable replaces everything in text that is not a printable character or a line break.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) && r != unicode.ReplacementChar {
			return r
		}
		return '?'
	}, text)
}

func to(l control.Layer) string {
	if !l.Remote.IsValid() {
		return "-"
	}
	s := "to " + l.Remote.String()
	if l.CareOf.IsValid() {
		s += " from " + l.CareOf.String()
	}
	return s
}

func layerDetail(l control.Layer) string {
	var s []string
	if l.Lifetime > 0 {
		s = append(s, fmt.Sprintf("%.0f s left", l.Lifetime))
	}
	if len(l.SPIs) > 0 {
		s = append(s, "SPI "+strings.Join(l.SPIs, " "))
	}
	return strings.Join(s, ", ")
}

func ifaceAddress(i control.Interface) string {
	switch {
	case !i.Up:
		return "down"
	case i.Address.IsValid():
		return i.Address.String()
	case i.ForeignAgent.IsValid():
		return "foreign agent " + i.ForeignAgent.String()
	}
	return "no address"
}

func drops(m map[string]uint64) string {
	if len(m) == 0 {
		return "none"
	}
	var s []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s = append(s, fmt.Sprintf("%d %s", m[k], k))
	}
	return strings.Join(s, ", ")
}

func octets(n uint64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	v, u := float64(n), 0
	for v >= 1000 && u < len(units)-1 {
		v, u = v/1000, u+1
	}
	if u == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}

func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func on(device string) string {
	if device == "" {
		return ""
	}
	return " on " + device
}

func star(used bool) string {
	if used {
		return "*"
	}
	return " "
}
