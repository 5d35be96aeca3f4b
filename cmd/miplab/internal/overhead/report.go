package overhead

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"mipvpn/cmd/miplab/internal/verdict"
)

// Schema is the version of the Report's JSON.
const Schema = 1

// Report is what has been measured.
type Report struct {
	Schema int    `json:"schema"`
	World  string `json:"world"`
	verdict.Verdict
	// Figures are in the order of measuring.
	Figures []Figure `json:"figures"`
	// Cells are the draft's table.
	Cells []Cell `json:"cells"`
}

// Range is the least and the most of some octets.
type Range struct {
	Least int `json:"least"`
	Most  int `json:"most"`
	any   bool
}

func (r *Range) take(n int) {
	if !r.any {
		*r = Range{n, n, true}
	}
	r.Least, r.Most = min(r.Least, n), max(r.Most, n)
}

// Figure is what one composition adds to packets, measured over all lengths.
type Figure struct {
	Composition Composition `json:"-"`
	// Name is the composition's.
	Name string `json:"composition"`
	// Encapsulated is set where each layer that can goes in UDP.
	Encapsulated bool `json:"udp_encapsulation"`
	// Up is for packets that leave the laptop, Down for those that come in.
	Up   Range `json:"up"`
	Down Range `json:"down"`
	// Paper and Draft are the most that it is on paper, for AES-GCM-16 and for the draft's cipher.
	Paper int `json:"paper"`
	Draft int `json:"paper_draft_cipher"`
	// Differs tells the first packet that got another number of octets than on paper, empty if none did.
	Differs string `json:"differs,omitempty"`
}

// name is the composition with its encapsulation.
func (f *Figure) name() string {
	if f.Encapsulated {
		return f.Composition.String() + " in UDP"
	}
	return f.Composition.String()
}

// Cell is one cell of the draft's table.
type Cell struct {
	Row    string `json:"row"`
	Column string `json:"column"`
	// Composition is empty where the laptop would not be mobile.
	Composition string `json:"composition,omitempty"`
	// Draft is the draft's figure, NotMobile where it has none; Measured is nil for what has not been measured.
	Draft    int  `json:"draft"`
	Measured *int `json:"measured"`
}

func newReport() *Report {
	return &Report{Schema: Schema, Verdict: verdict.New(), Figures: []Figure{}, Cells: []Cell{}}
}

// add takes a figure into the report and judges it.
func (r *Report) add(f Figure) {
	f.Name, f.Paper, f.Draft = f.Composition.String(), f.Composition.Most(GCM, f.Encapsulated), f.Composition.Most(DraftCipher, f.Encapsulated)
	r.Figures = append(r.Figures, f)
	if f.Differs != "" {
		r.Fail("%s: %s", f.name(), f.Differs)
	}
	if f.Up.Most != f.Paper || f.Down.Most != f.Paper {
		r.Fail("%s: at most %d octets out and %d in, on paper %d", f.name(), f.Up.Most, f.Down.Most, f.Paper)
	}
}

// figure returns what has been measured of a composition.
func (r *Report) figure(c Composition, encapsulated bool) (Figure, bool) {
	for _, f := range r.Figures {
		if f.Composition == c && f.Encapsulated == encapsulated {
			return f, true
		}
	}
	return Figure{}, false
}

// Settle fills in the draft's table and judges its cells.
func (r *Report) Settle() {
	for _, row := range Rows {
		for i, column := range Columns {
			cell := Cell{Row: row.Place, Column: column, Composition: row.Cells[i].String(), Draft: row.Draft[i]}
			if f, ok := r.figure(row.Cells[i], false); ok {
				n := f.Up.Most
				cell.Measured = &n
				if n != cell.Draft {
					r.Fail("%s, %s: %d octets, the draft says %d", row.Place, column, n, cell.Draft)
				}
			}
			r.Cells = append(r.Cells, cell)
		}
	}
	r.Verdict.Settle()
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	fmt.Fprintf(w, "Octets added at most between the laptop and its first router: draft §6.2 (%s, on paper) / measured (%s).\n\n", DraftCipher.Name, GCM.Name)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "\t%s\n", strings.Join(Columns, "\t"))
	for i, row := range Rows {
		fmt.Fprint(t, row.Place)
		for j := range Columns {
			fmt.Fprintf(t, "\t%s", r.Cells[i*len(Columns)+j].text())
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nEach mode by itself, and with UDP encapsulation in each layer (8 for ESP, 12 for a Mobile IP tunnel), over %d lengths:\n\n", lengths)
	fmt.Fprintf(t, "mode\tout\tin\ton paper\tdraft's cipher\tin UDP, out\tin\ton paper\tdraft's cipher\n")
	for _, c := range Compositions() {
		fmt.Fprint(t, c)
		for _, encapsulated := range []bool{false, true} {
			f, ok := r.figure(c, encapsulated)
			if !ok {
				fmt.Fprintf(t, "\t–\t–\t%d\t%d", c.Most(GCM, encapsulated), c.Most(DraftCipher, encapsulated))
				continue
			}
			fmt.Fprintf(t, "\t%s\t%s\t%d\t%d", f.Up.text(), f.Down.text(), f.Paper, f.Draft)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nzot: the x-HA switches addresses in the place of tunnelling, which excludes UDP encapsulation of that layer.")
	fmt.Fprintln(w, r.World)
	return r.Verdict.Write(w)
}

func (c Cell) text() string {
	switch {
	case c.Draft == NotMobile:
		return "not mobile"
	case c.Measured == nil:
		return fmt.Sprintf("%d / –", c.Draft)
	}
	return fmt.Sprintf("%d / %d (%s)", c.Draft, *c.Measured, c.Composition)
}

func (r Range) text() string {
	if r.Least == r.Most {
		return fmt.Sprint(r.Most)
	}
	return fmt.Sprintf("%d to %d", r.Least, r.Most)
}
