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
	see(&b, about.See)
	return b.Bytes()
}

// document is what the lines so far were.
type document struct {
	b      *bytes.Buffer
	fenced bool
	header []string
	rows   int // of the table at hand, its head and rule among them
}

func (d *document) line(l string) {
	if d.fenced {
		if strings.HasPrefix(strings.TrimSpace(l), "```") {
			d.fenced = false
			d.b.WriteString(".EE\n.RE\n.PP\n")
			return
		}
		fmt.Fprintf(d.b, "%s\n", verbatim(l))
		return
	}
	bare := strings.TrimSpace(l)
	if strings.HasPrefix(bare, "|") {
		d.row(bare)
		return
	}
	d.rows = 0
	switch {
	case strings.HasPrefix(bare, "<!--"):
	case bare == "":
		d.end()
	case strings.HasPrefix(bare, "```"):
		d.fenced = true
		d.b.WriteString(".PP\n.RS 4\n.EX\n")
	case strings.HasPrefix(l, "# "):
	case strings.HasPrefix(l, "## "):
		d.end()
		fmt.Fprintf(d.b, ".SH %s\n", quoted(strings.ToUpper(plain(l[3:]))))
	case strings.HasPrefix(l, "###"):
		d.end()
		fmt.Fprintf(d.b, ".SS %s\n", quoted(plain(strings.TrimLeft(l, "# "))))
	case strings.HasPrefix(bare, "- "):
		fmt.Fprintf(d.b, ".IP \\(bu 3\n%s\n", marked(bare[2:]))
	default:
		fmt.Fprintf(d.b, "%s\n", marked(bare))
	}
}

// end ends a paragraph or an entry.
func (d *document) end() { d.b.WriteString(".PP\n") }

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
