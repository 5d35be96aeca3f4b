package interop

import (
	"cmp"
	"slices"
	"testing"
)

// axis is one thing in which cases differ.
type axis struct {
	name   string
	values []string
}

// pick is an index into the values of each axis, open where it is not chosen yet.
type pick []int

const open = -1

// cover returns picks in which each value of each axis meets each value of every other one, as far as fits allows it. It is
// greedy and always gives the same picks. fits is asked about picks with open axes too: it says false only when nothing that
// could be filled in would help.
func cover(axes []axis, fits func(pick) bool) []pick {
	type pair struct{ a, va, b, vb int }
	var todo []pair
	missing := map[pair]bool{}
	for a := range axes {
		for b := a + 1; b < len(axes); b++ {
			for va := range axes[a].values {
				for vb := range axes[b].values {
					p := pair{a, va, b, vb}
					todo, missing[p] = append(todo, p), true
				}
			}
		}
	}
	// gain is the number of missing pairs that the value of an axis makes with the chosen ones.
	gain := func(p pick, a, va int) (n int) {
		for b, vb := range p {
			switch {
			case vb == open || b == a:
			case b < a && missing[pair{b, vb, a, va}], b > a && missing[pair{a, va, b, vb}]:
				n++
			}
		}
		return n
	}
	turn := 0
	var fill func(p pick) bool
	fill = func(p pick) bool {
		if !fits(p) {
			return false
		}
		a := slices.Index(p, open)
		if a < 0 {
			return true
		}
		order := make([]int, len(axes[a].values))
		for i := range order {
			order[i] = (i + turn) % len(order) // where nothing is gained, values take turns
		}
		slices.SortStableFunc(order, func(x, y int) int { return cmp.Compare(gain(p, a, y), gain(p, a, x)) })
		for _, v := range order {
			if p[a] = v; fill(p) {
				return true
			}
		}
		p[a] = open
		return false
	}
	var picks []pick
	for _, want := range todo {
		if !missing[want] {
			continue
		}
		p := make(pick, len(axes))
		for i := range p {
			p[i] = open
		}
		p[want.a], p[want.b] = want.va, want.vb
		delete(missing, want)
		if !fill(p) {
			continue
		}
		turn++
		for a, va := range p {
			for b := a + 1; b < len(p); b++ {
				delete(missing, pair{a, va, b, p[b]})
			}
		}
		picks = append(picks, p)
	}
	return picks
}

// third returns every third pick, and others so that each value that is among picks is among them.
func third(axes []axis, picks []pick) []pick {
	var out []pick
	seen := make([]map[int]bool, len(axes))
	for a := range seen {
		seen[a] = map[int]bool{}
	}
	fresh := func(p pick) bool {
		news := false
		for a, v := range p {
			news = news || !seen[a][v]
		}
		return news
	}
	take := func(p pick) {
		out = append(out, p)
		for a, v := range p {
			seen[a][v] = true
		}
	}
	for i, p := range picks {
		if i%3 == 0 {
			take(p)
		}
	}
	for _, p := range picks {
		if fresh(p) {
			take(p)
		}
	}
	return out
}

func TestCover(t *testing.T) {
	axes := []axis{{"a", []string{"0", "1", "2"}}, {"b", []string{"0", "1"}}, {"c", []string{"0", "1", "2", "3"}}, {"d", []string{"0", "1"}}}
	fits := func(p pick) bool { return !(p[0] == 2 && p[2] == 3) && !(p[1] == 1 && p[3] == 0) }
	picks := cover(axes, fits)
	if all := 3 * 2 * 4 * 2; len(picks) < 12 || len(picks) > all/2 {
		t.Errorf("%d picks of %d", len(picks), all)
	}
	for a := range axes {
		for b := a + 1; b < len(axes); b++ {
			for va := range axes[a].values {
				for vb := range axes[b].values {
					want := pick{open, open, open, open}
					want[a], want[b] = va, vb
					if met := slices.ContainsFunc(picks, func(p pick) bool { return p[a] == va && p[b] == vb }); met != fits(want) {
						t.Errorf("%s=%d with %s=%d: met %t", axes[a].name, va, axes[b].name, vb, met)
					}
				}
			}
		}
	}
	for _, p := range picks {
		if !fits(p) || slices.Contains(p, open) {
			t.Errorf("%v does not fit", p)
		}
	}
	some := third(axes, picks)
	if len(some) >= len(picks) || len(some) < len(picks)/3 {
		t.Errorf("%d of %d picks", len(some), len(picks))
	}
	for a := range axes {
		for v := range axes[a].values {
			if !slices.ContainsFunc(some, func(p pick) bool { return p[a] == v }) {
				t.Errorf("%s=%d is not among the third", axes[a].name, v)
			}
		}
	}
}
