package bench

import (
	"slices"
)

// Schema is the version of the Report's JSON.
const Schema = 2

// Sample is one figure of one run.
type Sample struct {
	Tunnel    string
	Wire      string
	Direction Direction
	Quantity  Quantity
	// Pair and Group tell with which runs it is to be compared.
	Pair  int
	Group string
	Value float64
}

// Tunnel is a tunnel of the report.
type Tunnel struct {
	Name  string `json:"name"`
	Title string `json:"title"`
	// Missing says why there are no figures, empty when there are.
	Missing string `json:"missing,omitempty"`
}

// Key says what a figure is about.
type Key struct {
	Tunnel    string    `json:"tunnel"`
	Wire      string    `json:"wire"`
	Direction Direction `json:"direction,omitempty"`
	Quantity  Quantity  `json:"quantity"`
}

// Figure is what all runs of one kind came to, in the unit that the quantity's name tells.
type Figure struct {
	Key
	Spread
}

// Ratio is a figure in relation to that of the reference: of each pair the quotient.
type Ratio struct {
	Key
	Reference string `json:"reference"`
	Spread
}

// Verdict says whether a goal is met: of the median of ratios, or without a reference of the figure. Memory counts with the
// greatest of all runs.
type Verdict struct {
	Goal
	Wire      string    `json:"wire"`
	Direction Direction `json:"direction,omitempty"`
	Spread
	Met bool `json:"met"`
}

// Report is the result of all runs.
type Report struct {
	Schema   int       `json:"schema"`
	Cores    int       `json:"cores"`
	System   string    `json:"system"`
	Pairs    int       `json:"pairs"`
	Seconds  float64   `json:"seconds_per_run"`
	Tunnels  []Tunnel  `json:"tunnels"`
	Figures  []Figure  `json:"figures"`
	Ratios   []Ratio   `json:"ratios"`
	Verdicts []Verdict `json:"goals"`
	// Failures are runs that came to nothing, for which there is no figure.
	Failures []string `json:"failures,omitempty"`
}

// Fill computes figures, ratios and verdicts of the samples.
func (r *Report) Fill(samples []Sample) {
	r.Figures, r.Ratios, r.Verdicts = nil, nil, nil
	values := map[Key][]float64{}
	type place struct {
		Key
		pair  int
		group string
	}
	at := map[place]float64{}
	var keys []Key
	for _, s := range samples {
		k := Key{s.Tunnel, s.Wire, s.Direction, s.Quantity}
		if values[k] == nil {
			keys = append(keys, k)
		}
		values[k] = append(values[k], s.Value)
		at[place{k, s.Pair, s.Group}] = s.Value
	}
	ratios := func(k Key, reference string) (all []float64) {
		other := k
		other.Tunnel = reference
		for _, s := range samples {
			if s.Tunnel != k.Tunnel || s.Wire != k.Wire || s.Direction != k.Direction || s.Quantity != k.Quantity {
				continue
			}
			if v, ok := at[place{other, s.Pair, s.Group}]; ok && v != 0 {
				all = append(all, s.Value/v)
			}
		}
		return all
	}
	for _, k := range keys {
		r.Figures = append(r.Figures, Figure{k, NewSpread(values[k])})
		to := references(k.Tunnel, nil)
		if !slices.Contains(to, Reference) && k.Tunnel != Reference {
			to = append([]string{Reference}, to...)
		}
		for _, reference := range to {
			if all := ratios(k, reference); len(all) > 0 {
				r.Ratios = append(r.Ratios, Ratio{k, reference, NewSpread(all)})
			}
		}
	}
	for _, g := range Goals {
		for _, k := range keys {
			if k.Tunnel != g.Tunnel || k.Quantity != g.Quantity {
				continue
			}
			all := values[k]
			if g.Reference != "" {
				all = ratios(k, g.Reference)
			}
			if len(all) == 0 {
				continue
			}
			v := Verdict{Goal: g, Wire: k.Wire, Direction: k.Direction, Spread: NewSpread(all)}
			v.Met = g.Met(v.Median)
			if g.Quantity == NearRSS || g.Quantity == FarRSS {
				v.Met = g.Met(v.Most)
			}
			r.Verdicts = append(r.Verdicts, v)
		}
	}
}
