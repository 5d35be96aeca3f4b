package main

import (
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// screen is what text for people is laid out on. The zero value is a file or a pipe: lines as long as they come, no end, no colour.
type screen struct {
	// width is the length of a line in characters, 0 for any.
	width int
	// height is how many lines can be read at once, 0 for any.
	height int
	// colour says that colours may be used.
	colour bool
}

// leastWidth is the narrowest screen that is laid out for: on a narrower one the terminal breaks the lines.
const leastWidth = 30

// screenOf returns the screen that the file is, the zero one where it is no terminal. Colours are left out for TERM=dumb and where NO_COLOR
// is set (no-color.org).
func screenOf(f *os.File) screen {
	if !term.IsTerminal(int(f.Fd())) {
		return screen{}
	}
	s := screen{width: 80, height: 24, colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
		s.width, s.height = width, height
	}
	return s
}

// printed is the screen for text that is printed and not drawn: what is too narrow to lay out for breaks lines by itself, and nobody
// knows how many there are then.
func (s screen) printed() screen {
	if s.width < leastWidth {
		s.width, s.height = 0, 0
	}
	return s
}

// style is how a piece of text looks: the parameters of an SGR sequence (ECMA-48 §8.3.117), empty for as usual.
type style string

// The styles, of the sixteen colours that every terminal has.
const (
	usual  style = ""
	strong style = "1"
	faint  style = "2"
	good   style = "32"
	poor   style = "33"
	bad    style = "1;31"
)

// span is a piece of a line. Its text may come from others: what could command a terminal is replaced when it is written.
type span struct {
	text  string
	style style
}

// say returns a span of the usual style.
func say(text string) span { return span{text: text} }

// line is one line of a page.
type line []span

// length is how many characters the line has.
func (l line) length() (n int) {
	for _, s := range l {
		n += utf8.RuneCountInString(s.text)
	}
	return n
}

// cut returns the line with at most width characters, the last of them an ellipsis where something is left out; 0 leaves it as it is.
func (l line) cut(width int) line {
	if width <= 0 || l.length() <= width {
		return l
	}
	var out line
	room := width - 1
	for _, s := range l {
		n := utf8.RuneCountInString(s.text)
		if n > room {
			return append(out, span{string([]rune(s.text)[:room]) + "…", s.style})
		}
		out, room = append(out, s), room-n
	}
	return out
}

// render writes the line as text.
func (l line) render(colour bool) string {
	var b strings.Builder
	for _, s := range l {
		text := strings.ReplaceAll(printable(s.text), "\n", " ")
		if colour && s.style != usual && text != "" {
			text = "\x1b[" + string(s.style) + "m" + text + "\x1b[0m"
		}
		b.WriteString(text)
	}
	return strings.TrimRight(b.String(), " ")
}

// wrap breaks text at spaces into lines of at most first, and then rest characters; words that are longer are broken too. A width
// under 1 breaks nothing.
func wrap(text string, first, rest int) []string {
	if first < 1 || rest < 1 {
		return []string{text}
	}
	var lines []string
	now, room := "", first
	end := func() { lines, now, room = append(lines, now), "", rest }
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		if now != "" {
			if utf8.RuneCountInString(now)+1+n <= room {
				now += " " + word
				continue
			}
			end()
		}
		for n > room {
			r := []rune(word)
			now, word = string(r[:room]), string(r[room:])
			n -= room
			end()
		}
		now = word
	}
	if now != "" || len(lines) == 0 {
		lines = append(lines, now)
	}
	return lines
}

// page is text that is being laid out for a screen.
type page struct {
	screen
	lines []row
	parts int // that have been begun
}

// row is a line with what it is worth: 0 stays, and of the others those with the greatest number go first when there is no room,
// each with all lines of its part.
type row struct {
	line        line
	spare, part int
}

// add adds a line as a part of its own, cut to the screen.
func (p *page) add(spare int, l line) {
	p.parts++
	p.lines = append(p.lines, row{l.cut(p.width), spare, p.parts})
}

// labelWidth is the column that texts behind a label begin in.
const labelWidth = 12

// field is a text behind a label.
type field struct {
	label, text string
	style       style
	spare       int
}

// field adds a text behind a label, on as many lines as it takes.
func (p *page) field(f field) {
	label := f.label + strings.Repeat(" ", max(1, labelWidth-2-len(f.label)))
	room := 0
	if p.width >= leastWidth {
		room = p.width - labelWidth
	}
	p.parts++
	for i, text := range wrap(f.text, room, room) {
		if i > 0 {
			label = strings.Repeat(" ", labelWidth-2)
		}
		l := line{say("  "), {label, faint}, {text, f.style}}
		p.lines = append(p.lines, row{l.cut(p.width), f.spare, p.parts})
	}
}

// table adds rows of cells in columns that are as wide as their widest cell. The last column is cut where the screen ends.
func (p *page) table(spare int, rows [][]span) {
	var widths []int
	for _, cells := range rows {
		for i, c := range cells {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, cells := range rows {
		var l line
		for i, c := range cells {
			l = append(l, c)
			if i < len(cells)-1 {
				l = append(l, say(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2)))
			}
		}
		p.add(spare, l)
	}
}

// fit takes away spare parts, the sparest first and of those the last first, until the page has room for height lines.
func (p *page) fit() {
	for p.height > 0 && len(p.lines) >= p.height { // one line is the prompt's
		least := -1
		for i, r := range p.lines {
			if r.spare > 0 && (least < 0 || r.spare >= p.lines[least].spare) {
				least = i
			}
		}
		if least < 0 {
			return
		}
		part := p.lines[least].part
		p.lines = slices.DeleteFunc(p.lines, func(r row) bool { return r.part == part })
	}
}

// text returns the page as text.
func (p *page) text() string {
	var b strings.Builder
	for _, r := range p.lines {
		b.WriteString(r.line.render(p.colour))
		b.WriteByte('\n')
	}
	return b.String()
}

// write writes the page.
func (p *page) write(w io.Writer) error {
	_, err := io.WriteString(w, p.text())
	return err
}
