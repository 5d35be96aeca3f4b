package bench

import (
	"math"
	"slices"
)

// Spread is what several values come to.
type Spread struct {
	Median float64   `json:"median"`
	Least  float64   `json:"least"`
	Most   float64   `json:"most"`
	Values []float64 `json:"values"`
}

// NewSpread returns the spread of the values, in the order in which they were taken. There must be one at least.
func NewSpread(values []float64) Spread {
	return Spread{Median: Percentile(values, 50), Least: slices.Min(values), Most: slices.Max(values), Values: slices.Clone(values)}
}

// Percentile returns the value that p of 100 values do not exceed, between two values by their distance; NaN for none.
func Percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := p / 100 * float64(len(sorted)-1)
	low := int(at)
	if low+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	part := at - float64(low)
	return sorted[low]*(1-part) + sorted[low+1]*part
}
