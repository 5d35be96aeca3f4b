package main

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mipvpn/client/config/profile"
	"mipvpn/client/control"
)

// What a screen of 24 lines has room for.
const (
	shownInterfaces = 4
	shownHandoffs   = 3
	shownProblems   = 3
)

// What goes first when a screen is too small for all of the status.
const (
	spareBlank = 1 + iota
	spareLittle
	spareMore
	spareMost
)

// writeStatus writes the status for people.
func writeStatus(w io.Writer, sc screen, s control.Status) error {
	p := &page{screen: sc.printed()}
	p.headline(s)
	p.situation(s)
	p.layers(s.Layers)
	p.interfaces(s.Interfaces, shownInterfaces, standsAt)
	p.handoffs(s.Handoffs, shownHandoffs)
	p.traffic(s)
	p.fit()
	return p.write(w)
}

// headline says in one line what the client is doing.
func (p *page) headline(s control.Status) {
	l := line{{strings.ToUpper(string(s.State)), stateStyle(s.State)}, say(", mode "), {orNone(s.Mode), strong}}
	if s.Interface != "" {
		l = append(l, say(" on "+s.Interface))
	}
	l = append(l, say(fmt.Sprintf(" (policy %s)", s.ModePolicy)))
	if !s.Since.IsZero() {
		l = append(l, span{", since " + s.Since.Local().Format(time.DateTime), faint})
	}
	p.add(0, l)
}

func stateStyle(s control.State) style {
	switch s {
	case control.StateConnected:
		return "1;32"
	case control.StateDetecting, control.StateConnecting:
		return "1;33"
	case control.StateBlocked:
		return bad
	}
	return strong
}

// situation says where the laptop is, how that is known, and what is wrong.
func (p *page) situation(s control.Status) {
	if s.TNCWaived {
		p.field(field{label: "WARNING", text: waived, style: bad})
	}
	if s.State == control.StateDown {
		p.field(field{label: "where", text: "not looked for: the client is down (`mipvpn up`)"})
	} else {
		p.field(field{label: "where", text: proven(s.Proof), style: proofStyle(s.Proof)})
		p.field(field{label: "known by", text: s.Proof.Reason})
	}
	if s.ModeReason != "" {
		p.field(field{label: "mode by", text: s.ModeReason, spare: spareLittle})
	}
	if s.Profile != "" && s.Profile != profile.Default {
		p.field(field{label: "profile", text: s.Profile, spare: spareMore})
	}
	if s.HomeAddress.IsValid() {
		p.field(field{label: "address", text: fmt.Sprintf("%v%s", s.HomeAddress, on(s.Device))})
	}
	for _, f := range append(namesFields(s.DNS), gatewayFields(s.VPN)...) {
		p.field(f)
	}
	if s.Power != nil {
		p.field(field{label: "power", text: powered(*s.Power), spare: spareMore})
	}
	for _, q := range s.Questions {
		p.field(field{label: "asks for", text: q + " (`mipvpn up` or `mipvpn answer` on a terminal)", style: poor})
	}
	for i, problem := range s.Problems {
		if i == shownProblems {
			p.field(field{label: "problem", text: fmt.Sprintf("and %d more (--json shows all)", len(s.Problems)-i), style: bad})
			break
		}
		p.field(field{label: "problem", text: problem.String(), style: bad})
	}
}

// title adds the title of a part.
func (p *page) title(text string) { p.add(0, line{{text, strong}}) }

// layers shows the layers as they stand on each other, the interface at the bottom.
func (p *page) layers(list []control.Layer) {
	if len(list) == 0 {
		return
	}
	p.title("layers, down to the interface")
	rows := make([][]span, 0, len(list))
	for i, l := range slices.Backward(list) {
		if i > 0 && l.CareOf == list[i-1].Local { // which stands on the next line
			l.CareOf = netip.Addr{}
		}
		rows = append(rows, []span{say("  " + l.Kind), {orNone(addr(l.Local)), strong}, say(to(l)), say(carriedBy(l)), {layerDetail(l), faint}})
	}
	p.table(0, rows)
}

// carriedBy says how a layer's packets travel, nothing for the lowest one.
func carriedBy(l control.Layer) string {
	if l.Kind == "underlay" {
		return "-"
	}
	return orNone(l.Encapsulation)
}

// standsAt says on little room where an interface is and for how long that is proven.
func standsAt(i control.Interface) span {
	switch {
	case i.Portal != nil:
		return span{"login page: run `mipvpn portal`", poor}
	case i.Proof.Age != nil && i.Proof.ExpiresIn != nil:
		return span{fmt.Sprintf("inside, proven for %.0f s more", *i.Proof.ExpiresIn), good}
	}
	return span{standing(i), proofStyle(i.Proof)}
}

// interfaces shows where each interface is, as place says it, the one in use first, and no more than most of them. Those that are
// down share a line.
func (p *page) interfaces(all []control.Interface, most int, place func(control.Interface) span) {
	if len(all) == 0 {
		return
	}
	p.title("interfaces")
	var down []string
	var up []control.Interface
	for _, i := range all {
		switch {
		case i.InUse:
			up = slices.Insert(up, 0, i)
		case i.Up:
			up = append(up, i)
		default:
			down = append(down, i.Name)
		}
	}
	var rows [][]span
	for _, i := range up[:min(most, len(up))] {
		mark := span{"  " + i.Name, usual}
		if i.InUse {
			mark = span{"* " + i.Name, strong}
		}
		rows = append(rows, []span{mark, say(ifaceAddress(i)), place(i)})
	}
	p.table(0, rows)
	if len(up) > most {
		p.add(0, line{{fmt.Sprintf("  and %d more (--json shows all)", len(up)-most), faint}})
	}
	if len(down) > 0 {
		p.add(spareMore, line{{"  down: " + strings.Join(down, ", "), faint}})
	}
}

// handoffs shows the last changes, the newest first, and no more than most of them.
func (p *page) handoffs(all []control.Handoff, most int) {
	if len(all) == 0 {
		return
	}
	p.title("last changes")
	var rows [][]span
	for _, h := range slices.Backward(all[max(0, len(all)-most):]) {
		rows = append(rows, []span{say("  " + h.Time.Local().Format(time.TimeOnly)), say(orNone(h.From) + " -> " + orNone(h.To)),
			{outage(h.Outage), outageStyle(h.Outage)}, {h.Reason, faint}})
	}
	p.table(0, rows)
}

// outage says for how long no user data could flow, in milliseconds.
func outage(ms float64) string {
	if ms >= 10_000 {
		return fmt.Sprintf("%.0f s without", ms/1000)
	}
	return fmt.Sprintf("%.0f ms without", ms)
}

// outageStyle makes those stand out that people notice.
func outageStyle(ms float64) style {
	switch {
	case ms < 1000:
		return good
	case ms < 10_000:
		return poor
	}
	return bad
}

// traffic says what was carried and dropped, and how old a proof was at worst.
func (p *page) traffic(s control.Status) {
	c := s.Counters
	p.add(spareBlank, line{{"traffic", strong}})
	p.field(field{label: "carried", text: fmt.Sprintf("%d packets (%s) out, %d (%s) in", c.TxPackets, octets(c.TxBytes), c.RxPackets, octets(c.RxBytes)), spare: spareBlank})
	p.field(field{label: "dropped", text: drops(c.Drops), spare: spareMore})
	e := field{label: "exposed", text: exposed(s), spare: spareLittle}
	if s.Monitor > 0 && float64(s.Exposure)/1000 > s.Monitor {
		e.style, e.spare = bad, 0
	}
	p.field(e)
}

// proofStyle is the style of where something is.
func proofStyle(p control.Proof) style {
	switch {
	case p.Age != nil && p.ExpiresIn != nil, p.Verdict == control.VerdictOutside:
		return good
	}
	return poor
}

// powered says what is dear, and what follows from that.
func powered(p control.Power) string {
	s := "the laptop runs on battery"
	switch {
	case p.Battery && p.Metered:
		s += ", and the connection is metered"
	case p.Metered:
		s = "the connection is metered"
	}
	if p.Sparing > 1 {
		s += fmt.Sprintf(": keepalives of the VPN are up to %d times rarer", p.Sparing)
	}
	return s
}
