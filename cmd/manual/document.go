package manual

import (
	"bytes"
	"fmt"
	"strings"
)

// Document returns the page that a Markdown document is. name is the page's, such as "mipvpn.toml", and short says in a few words what
// it is about. The document's own title is left out.
func Document(name, short string, markdown []byte, about About) []byte {
	var b bytes.Buffer
	head(&b, name, about)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n.SH DESCRIPTION\n", text(name), text(short))
	d := document{b: &b}
	for _, l := range strings.Split(string(markdown), "\n") {
		d.line(strings.TrimRight(l, " \r"))
	}
	d.end()
	if d.fenced || d.indented {
		b.WriteString(blockEnd)
	}
	see(&b, about.See)
	return b.Bytes()
}

// document is what the lines so far were.
type document struct {
	b        *bytes.Buffer
	fenced   bool
	indented bool     // within a block that is told by its indentation
	text     []string // lines of the paragraph or entry at hand: code may go on from one to the next
	header   []string
	rows     int // of the table at hand, its head and rule among them
}

// indent is what the lines of a block without a fence begin with.
const indent = "    "

func (d *document) line(l string) {
	if d.fenced {
		if strings.HasPrefix(strings.TrimSpace(l), "```") {
			d.fenced = false
			d.b.WriteString(blockEnd)
			return
		}
		fmt.Fprintf(d.b, "%s\n", verbatim(l))
		return
	}
	bare := strings.TrimSpace(l)
	if strings.HasPrefix(l, indent) && len(d.text) == 0 && bare != "" {
		if !d.indented {
			d.indented = true
			d.b.WriteString(blockBegin)
		}
		fmt.Fprintf(d.b, "%s\n", verbatim(l[len(indent):]))
		return
	}
	if d.indented {
		d.indented = false
		d.b.WriteString(blockEnd)
	}
	if strings.HasPrefix(bare, "|") {
		d.flush()
		d.row(bare)
		return
	}
	d.rows = 0
	mark, item := itemOf(bare)
	switch {
	case strings.HasPrefix(bare, "<!--"):
	case bare == "":
		d.end()
	case strings.HasPrefix(bare, "```"):
		d.flush()
		d.fenced = true
		d.b.WriteString(blockBegin)
	case strings.HasPrefix(l, "# "):
	case strings.HasPrefix(l, "## "):
		d.end()
		fmt.Fprintf(d.b, ".SH %s\n", quoted(strings.ToUpper(plain(l[3:]))))
	case strings.HasPrefix(l, "###"):
		d.end()
		fmt.Fprintf(d.b, ".SS %s\n", quoted(plain(strings.TrimLeft(l, "# "))))
	case mark != "":
		d.flush()
		fmt.Fprintf(d.b, ".IP %s 3\n", mark)
		d.text = append(d.text, item)
	default:
		d.text = append(d.text, bare)
	}
}

// What stands around a block that is shown as it is.
const (
	blockBegin = ".PP\n.RS 4\n.EX\n"
	blockEnd   = ".EE\n.RE\n.PP\n"
)

// itemOf returns the mark of an entry of a list, as the page has it, and what follows; none where the line begins no entry.
func itemOf(l string) (mark, item string) {
	if strings.HasPrefix(l, "- ") || strings.HasPrefix(l, "* ") {
		return `\(bu`, l[2:]
	}
	number, item, ok := strings.Cut(l, ". ")
	if !ok || number == "" || len(number) > 2 || strings.Trim(number, "0123456789") != "" {
		return "", ""
	}
	return number + ".", item
}

// flush writes the lines at hand.
func (d *document) flush() {
	if len(d.text) > 0 {
		fmt.Fprintf(d.b, "%s\n", marked(strings.Join(d.text, "\n")))
		d.text = nil
	}
}

// end ends a paragraph or an entry.
func (d *document) end() {
	d.flush()
	d.b.WriteString(".PP\n")
}

// row writes a row of a table as an entry: its first cell, and the others with the names of their columns.
func (d *document) row(l string) {
	cells := cellsOf(l)
	d.rows++
	switch d.rows {
	case 1:
		d.header = cells
		return
	case 2:
		return // the rule below the head
	}
	fmt.Fprintf(d.b, ".TP\n%s\n", marked(cells[0]))
	for i, c := range cells[1:] {
		if c == "" {
			continue
		}
		if i > 0 {
			d.b.WriteString(".br\n")
		}
		if i+1 < len(d.header) && len(d.header) > 2 {
			c = plain(d.header[i+1]) + ": " + c
		}
		fmt.Fprintf(d.b, "%s\n", marked(c))
	}
}

// cellsOf returns the cells of a row; a bar within code is none between cells.
func cellsOf(l string) (cells []string) {
	l = strings.TrimSuffix(strings.TrimPrefix(l, "|"), "|")
	inCode, begin := false, 0
	for i := 0; i < len(l); i++ {
		switch {
		case l[i] == '`':
			inCode = !inCode
		case l[i] == '|' && !inCode && (i == 0 || l[i-1] != '\\'):
			cells = append(cells, strings.TrimSpace(l[begin:i]))
			begin = i + 1
		}
	}
	return append(cells, strings.TrimSpace(l[begin:]))
}

// marked writes code and strong emphasis in bold.
func marked(s string) string { return line(strings.ReplaceAll(s, "**", "`")) }

// plain takes marks away.
func plain(s string) string { return strings.NewReplacer("`", "", "**", "").Replace(s) }

// verbatim is a line of a fenced block.
func verbatim(l string) string {
	l = text(l)
	if strings.HasPrefix(l, ".") || strings.HasPrefix(l, `\(aq`) {
		l = `\&` + l
	}
	return l
}
