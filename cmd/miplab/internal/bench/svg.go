package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Measures of the picture in pixels.
const (
	svgLabel  = 190 // left of the bars
	svgBars   = 260 // of the bars themselves
	svgFigure = 210 // right of the bars
	svgRow    = 20
	svgHead   = 44 // above a section's rows
	svgMargin = 16
	svgGap    = 14  // below a section's rows
	svgMost   = 2.5 // the goal's multiple at which bars end
)

const svgPanel = svgLabel + svgBars + svgFigure

// SVG draws the goals' ratios: a panel for each kind of wire, in it a bar for each goal that is a ratio, from 0 to the median,
// with a line from the least to the most. Bars are in units of the goal, so that the goal is one line for all of a section:
// in the first section bars are to end before it, in the second they are to reach it.
func (r *Report) SVG() []byte {
	wires := r.wires()
	sections := []struct {
		title string
		rows  map[string][]Verdict // by wire
		most  int
	}{
		{title: "at most the goal", rows: map[string][]Verdict{}},
		{title: "at least the goal", rows: map[string][]Verdict{}},
	}
	for _, v := range r.Verdicts {
		if v.Reference == "" {
			continue
		}
		s := &sections[0]
		if v.AtMost == 0 {
			s = &sections[1]
		}
		s.rows[v.Wire] = append(s.rows[v.Wire], v)
		s.most = max(s.most, len(s.rows[v.Wire]))
	}
	height := svgMargin
	for _, s := range sections {
		height += svgHead + s.most*svgRow + svgGap
	}
	height += 3 * svgRow
	width := max(1, len(wires))*svgPanel + 2*svgMargin
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	y := svgMargin
	for _, s := range sections {
		for i, wire := range wires {
			x := svgMargin + i*svgPanel
			fmt.Fprintf(&b, `<text x="%d" y="%d" font-weight="bold">%s wires: %s</text>`+"\n", x, y+14, escape(wire), s.title)
			drawSection(&b, x, y+svgHead, s.rows[wire])
		}
		y += svgHead + s.most*svgRow + svgGap
	}
	for i, line := range []string{
		fmt.Sprintf("Medians of %d pairs (bars), least and most (lines); both ends on one machine, %d cores, %s", r.Pairs, r.Cores, r.System),
		strings.Join(r.names(), "; "),
	} {
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="#555555">%s</text>`+"\n", svgMargin, y+(i+1)*svgRow, escape(line))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// drawSection draws the rows from y on.
func drawSection(b *bytes.Buffer, x, y int, rows []Verdict) {
	if len(rows) == 0 {
		return
	}
	left := x + svgLabel
	at := func(ratio float64) int { return left + int(min(max(ratio, 0), svgMost)/svgMost*svgBars) }
	for i, v := range rows {
		bound := v.AtMost + v.AtLeast
		top := y + i*svgRow
		label := v.Tunnel + " " + kindOf(v.Quantity).ratio
		if v.Direction != None {
			label += ", " + string(v.Direction)
		}
		colour, sign := "#2e7d32", "≤"
		if !v.Met {
			colour = "#c62828"
		}
		if v.AtMost == 0 {
			sign = "≥"
		}
		fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x, top+13, escape(label))
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>`+"\n", left, top+3, at(v.Median/bound)-left, svgRow-8, colour)
		fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#000000" stroke-width="2"/>`+"\n", at(v.Least/bound), top+9, at(v.Most/bound), top+9)
		fmt.Fprintf(b, `<text x="%d" y="%d">%.2f (%.2f to %.2f), %s %g %s</text>`+"\n", left+svgBars+8, top+13, v.Median, v.Least, v.Most, sign, bound, escape(v.Reference))
	}
	goal := at(1)
	fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d" stroke="#1565c0" stroke-width="2" stroke-dasharray="5 3"/>`+"\n", goal, y-8, goal, y+len(rows)*svgRow)
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#1565c0" text-anchor="middle">goal</text>`+"\n", goal, y-12)
}

// names are the references' names with their titles.
func (r *Report) names() []string {
	var all []string
	for _, t := range r.Tunnels {
		used := slices.ContainsFunc(r.Verdicts, func(v Verdict) bool { return v.Reference == t.Name })
		if used {
			all = append(all, t.Name+" = "+t.Title)
		}
	}
	return all
}

func escape(s string) string {
	var b bytes.Buffer
	xml.EscapeText(&b, []byte(s)) // a bytes.Buffer takes everything
	return b.String()
}
