package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"mipvpn/client/control"
)

const (
	// monitorHistory is how many rates are kept: as many as the widest terminal shows.
	monitorHistory = 500
	// monitorHandoffs is how many changes are shown at most.
	monitorHandoffs = 12
	// proofBar is the length of the bar of a whole T_MONITOR.
	proofBar = 20
)

// Keys.
const (
	keyInterrupt = 3
	keySpace     = ' '
)

// monitor is what the live view knows. It reads no clock: times come with what it is given.
type monitor struct {
	screen
	status control.Status // the last one
	known  bool           // there is one
	at     time.Time      // when the last answer came, or the lack of one was seen
	err    error          // why there is no newer one
	silent time.Time      // since when
	paused bool

	counted   bool // counters and countedAt are set
	counters  control.Counters
	countedAt time.Time
	out, in   []float64         // octets a second, the newest last
	began     map[string]uint64 // drops when the view began
}

// press takes a key and reports whether it ends the view.
func (m *monitor) press(key byte) (quit bool) {
	switch key {
	case 'q', 'Q', keyInterrupt:
		return true
	case 'p', 'P', keySpace:
		m.paused = !m.paused
	}
	return false
}

// take takes an answer of the daemon in.
func (m *monitor) take(p polled) {
	if m.paused {
		return
	}
	m.at = p.at
	if p.err != nil {
		if m.err == nil {
			m.silent = p.at
		}
		m.err, m.counted = p.err, false
		m.rate(0, 0)
		return
	}
	m.err, m.status = nil, p.status
	c := p.status.Counters
	if !m.known || c.TxBytes < m.counters.TxBytes || c.RxBytes < m.counters.RxBytes { // a new daemon counts from nothing
		m.counted, m.began = false, maps.Clone(c.Drops)
		if m.known {
			m.began = nil
		}
	}
	if seconds := p.at.Sub(m.countedAt).Seconds(); m.counted && seconds > 0 {
		m.rate(float64(c.TxBytes-m.counters.TxBytes)/seconds, float64(c.RxBytes-m.counters.RxBytes)/seconds)
	}
	m.known, m.counted, m.counters, m.countedAt = true, true, c, p.at
}

// rate adds one rate in each direction.
func (m *monitor) rate(out, in float64) {
	m.out, m.in = append(m.out, out), append(m.in, in)
	m.out, m.in = m.out[max(0, len(m.out)-monitorHistory):], m.in[max(0, len(m.in)-monitorHistory):]
}

// frame returns what draws the whole picture over the one before.
func (m *monitor) frame() string {
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range m.view() {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l)
		b.WriteString("\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// view returns the lines of the picture, no more than the screen has.
func (m *monitor) view() []string {
	p := &page{screen: m.screen}
	m.heading(p)
	switch s := m.status; {
	case m.known && m.err != nil: // what it has said of proofs and layers need not be so any more
		p.headline(s)
		p.handoffs(s.Handoffs, shownHandoffs)
	case m.known:
		p.headline(s)
		p.situation(s)
		m.throughput(p)
		p.field(field{label: "dropped", text: m.drops()})
		p.interfaces(s.Interfaces, 2*shownInterfaces, m.remaining)
		p.layers(s.Layers)
		p.handoffs(s.Handoffs, min(monitorHandoffs, max(p.height-2-len(p.lines), shownHandoffs)))
	}
	p.fit()
	lines := strings.Split(strings.TrimSuffix(p.text(), "\n"), "\n")
	if p.height > 0 {
		lines = lines[:min(len(lines), max(p.height-1, 0))]
	}
	keys := line{{"q ", strong}, {"ends  ", faint}, {"p ", strong}, {"holds", faint}}
	if m.paused {
		keys = line{{"HELD: ", poor}, {"p ", strong}, {"goes on  ", faint}, {"q ", strong}, {"ends", faint}}
	}
	return append(lines, keys.cut(p.width).render(p.colour))
}

// heading says whether the daemon answers.
func (m *monitor) heading(p *page) {
	switch {
	case m.err != nil:
		text := fmt.Sprintf("the daemon does not answer since %s: it is asked again every second (%v)", m.silent.Local().Format(time.TimeOnly), m.err)
		if m.known {
			text += "; below is what was so at last"
		}
		p.field(field{label: "WAITING", text: text, style: bad})
	case !m.known:
		p.field(field{label: "WAITING", text: "asking the daemon"})
	}
}

// throughput draws what was carried in the last seconds, the newest at the right.
func (m *monitor) throughput(p *page) {
	width := 40
	if p.width > 0 {
		width = max(8, p.width-labelWidth-28)
	}
	for _, d := range []struct {
		name  string
		rates []float64
	}{{"out", m.out}, {"in", m.in}} {
		now := 0.0
		if n := len(d.rates); n > 0 {
			now = d.rates[n-1]
		}
		chart, most := sparkline(d.rates, width)
		p.add(0, line{say("  "), {d.name + strings.Repeat(" ", labelWidth-2-len(d.name)), faint}, {chart, "36"},
			{fmt.Sprintf(" %10s/s", octets(uint64(now))), strong}, {" peak " + octets(uint64(most)), faint}})
	}
}

// sparkline draws the last rates in columns of eight heights, as many as the width has, up to the greatest of them, which it returns.
func sparkline(rates []float64, width int) (chart string, most float64) {
	rates = rates[max(0, len(rates)-width):]
	for _, r := range rates {
		most = max(most, r)
	}
	heights := []rune("▁▂▃▄▅▆▇█")
	b := []rune(strings.Repeat(" ", width-len(rates)))
	for _, r := range rates {
		if r <= 0 {
			b = append(b, ' ')
			continue
		}
		b = append(b, heights[min(len(heights)-1, int(math.Ceil(r/most*float64(len(heights))))-1)])
	}
	return string(b), most
}

// drops says what was dropped, and how much of it since the view began.
func (m *monitor) drops() string {
	all := m.status.Counters.Drops
	if len(all) == 0 {
		return "none"
	}
	var list []string
	for _, reason := range slices.Sorted(maps.Keys(all)) {
		text := fmt.Sprintf("%d %s", all[reason], reason)
		if more := all[reason] - m.began[reason]; more > 0 {
			text += fmt.Sprintf(" (+%d)", more)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// remaining is standsAt with a bar for how long the proof still holds.
func (m *monitor) remaining(i control.Interface) span {
	if i.Portal != nil || i.Proof.Age == nil || i.Proof.ExpiresIn == nil || m.status.Monitor <= 0 {
		return standsAt(i)
	}
	left := min(1, max(0, *i.Proof.ExpiresIn/m.status.Monitor))
	look := good
	switch {
	case left < 0.15:
		look = bad
	case left < 0.4:
		look = poor
	}
	cells := int(math.Round(left * proofBar))
	return span{fmt.Sprintf("inside %s%s %.0f s", strings.Repeat("█", cells), strings.Repeat("░", proofBar-cells), *i.Proof.ExpiresIn), look}
}
