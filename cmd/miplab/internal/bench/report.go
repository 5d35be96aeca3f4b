package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Schema is the version of the Report's JSON.
const Schema = 1

// Row is one tunnel's figures.
type Row struct {
	Name string `json:"name"`
	Rates
	// UpRatio and DownRatio are to the reference, wireguard-go.
	UpRatio   float64 `json:"up_ratio"`
	DownRatio float64 `json:"down_ratio"`
}

// Report is the table of a run.
type Report struct {
	Schema    int     `json:"schema"`
	Reference string  `json:"reference"`
	Seconds   float64 `json:"seconds_per_direction"`
	Cores     int     `json:"cores"`
	Rows      []Row   `json:"rows"`
}

// Relate computes the ratios to the row of the reference, which must be there.
func (r *Report) Relate() error {
	for _, ref := range r.Rows {
		if ref.Name != r.Reference {
			continue
		}
		for i := range r.Rows {
			r.Rows[i].UpRatio, r.Rows[i].DownRatio = r.Rows[i].Up/ref.Up, r.Rows[i].Down/ref.Down
		}
		return nil
	}
	return fmt.Errorf("bench: there is no row of the reference %s", r.Reference)
}

// WriteJSON writes the report as one JSON document.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tup Mbit/s\tof %s\tdown Mbit/s\tof %s\t\n", r.Reference, r.Reference)
	for _, row := range r.Rows {
		fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%.0f\t%.2f\t\n", row.Name, row.Up/1e6, row.UpRatio, row.Down/1e6, row.DownRatio)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "one TCP connection, %.0f s each way, everything on one machine with %d cores\n", r.Seconds, r.Cores)
	return err
}
