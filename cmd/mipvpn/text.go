package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"mipvpn/client/control"
)

// waived is said loudly wherever the administrator has waived the TNC extension (DET-3).
const waived = "the Trusted Networks Configured extension is WAIVED (detection.waive_tnc): only the firewall keeps a laptop outside from sending plaintext"

// proven says what a proof, or its absence, means for plaintext.
func proven(p control.Proof) string {
	switch {
	case p.Age != nil && p.ExpiresIn != nil:
		return fmt.Sprintf("inside, proven %.0f s ago, plaintext allowed for %.0f s more", *p.Age, *p.ExpiresIn)
	case p.Verdict == control.VerdictInside:
		return "inside, but the proof has run out: nothing leaves in the clear"
	case p.Verdict == control.VerdictOutside:
		return "outside: nothing leaves without ESP"
	}
	return "not known yet: nothing of the enterprise's traffic leaves in the clear"
}

// standing says where one interface is and why that is thought.
func standing(i control.Interface) string {
	if i.Proof.Age != nil && i.Proof.ExpiresIn != nil {
		return proven(i.Proof)
	}
	what, state := string(i.Proof.Verdict), strings.ReplaceAll(i.State, "_", " ")
	switch {
	case strings.HasSuffix(state, what): // outside, or tentatively outside
		what = state
	default:
		what += ", " + state
	}
	if i.Proof.Verdict == control.VerdictUnknown && i.Proof.Reason != "" {
		what += ": " + i.Proof.Reason
	}
	return what
}

// exposed says how old a proof was at worst when plaintext passed.
func exposed(s control.Status) string {
	limit := ""
	if s.Monitor > 0 {
		limit = fmt.Sprintf(" (T_MONITOR is %.0f s)", s.Monitor)
	}
	if s.Exposure == 0 {
		return "no plaintext has passed" + limit
	}
	return fmt.Sprintf("at worst, plaintext has passed on a proof %.1f s old%s", float64(s.Exposure)/1000, limit)
}

// writeDetection writes what detection knows for people.
func writeDetection(w io.Writer, d control.Detection) error {
	var b bytes.Buffer
	if len(d.Interfaces) == 0 {
		fmt.Fprintln(&b, "no interface is being looked at: the client is down (`mipvpn up`), or interfaces.use and interfaces.ignore leave none")
	}
	for _, i := range d.Interfaces {
		used := ""
		if i.InUse {
			used = ", in use"
		}
		fmt.Fprintf(&b, "%s (%s): %s%s\n", i.Name, ifaceAddress(i.Interface), verdict(i.Interface), used)
		fmt.Fprintf(&b, "  known by  %s\n", i.Proof.Reason)
		fmt.Fprintf(&b, "  i-HA      %s\n", registration(i.Internal, true))
		fmt.Fprintf(&b, "  x-HA      %s\n", registration(i.External, false))
		if i.Hint != "" {
			fmt.Fprintf(&b, "  hint      %s\n", i.Hint)
		}
		if i.InUse && d.ModeReason != "" {
			fmt.Fprintf(&b, "  mode      %s, since %s\n", d.Mode, d.ModeReason)
		}
	}
	return plain(w, b.String())
}

// verdict is standing without the reason, which has a line of its own.
func verdict(i control.Interface) string {
	i.Proof.Reason = ""
	return standing(i)
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
	if ahead := r.ClockOffset / 1000; ahead >= 1 || ahead <= -1 {
		s += fmt.Sprintf(" (its clock is %+.0f s from ours)", ahead)
	}
	return s
}

// writeEvent writes one event on a line: when, which interface, what kind, and what happened with its reason. It knows no
// kinds: each event's message says all.
func writeEvent(w io.Writer, e control.Event) error {
	message := e.Message
	for _, said := range []string{e.Interface, e.Kind} { // in a column of its own
		if said != "" {
			message = strings.TrimPrefix(message, said+": ")
		}
	}
	line := fmt.Sprintf("%s  %-7s  %-13s  %s", e.Time.Local().Format("15:04:05.000"), dash(e.Interface), e.Kind, message)
	return plain(w, strings.ReplaceAll(line, "\n", " ")+"\n")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
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
	if l.Why != "" {
		s = append(s, l.Why)
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
