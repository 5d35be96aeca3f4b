package bench

import "slices"

// seldom is how often what no goal asks for is measured: in one pair of so many.
const seldom = 4

// Group is runs that follow one another: a tunnel and those that it is compared with.
type Group struct {
	// Name is the compared tunnel's.
	Name string
	// Tunnels are in the order in which they run.
	Tunnels []string
}

// Order returns the groups of runs in the pair of that number that measure the quantities, of the tunnels that stand. A tunnel
// with goals comes between the reference and those that its goals relate it to, every second time in the opposite order. What
// no goal relates is left out but in one of four pairs; in those the tunnels that no goal names have their turn too, each
// beside the reference.
func Order(standing []string, quantities []Quantity, pair int) []Group {
	all := pair%seldom == 0
	if !slices.ContainsFunc(Goals, func(g Goal) bool { return slices.Contains(standing, g.Tunnel) }) {
		all = true // there is nothing but yardsticks
	}
	var groups []Group
	placed := map[string]bool{}
	add := func(name string, beside ...string) {
		if !slices.Contains(standing, name) || placed[name] {
			return
		}
		g := Group{Name: name}
		for _, t := range append([]string{Reference, name}, beside...) {
			if slices.Contains(standing, t) && !slices.Contains(g.Tunnels, t) {
				g.Tunnels = append(g.Tunnels, t)
				placed[t] = true
			}
		}
		if pair%2 == 1 {
			slices.Reverse(g.Tunnels)
		}
		groups = append(groups, g)
	}
	for _, g := range Goals {
		if all {
			add(g.Tunnel, references(g.Tunnel, nil)...)
		} else if slices.Contains(quantities, g.Quantity) {
			add(g.Tunnel, references(g.Tunnel, quantities)...)
		}
	}
	if all {
		for _, t := range standing {
			if t != Reference {
				add(t)
			}
		}
		add(Reference) // alone, when there is nothing else
	}
	return groups
}

// references are those that the goals relate the tunnel to, by the quantities or, with nil, by any.
func references(tunnel string, quantities []Quantity) []string {
	var all []string
	for _, g := range Goals {
		if g.Tunnel == tunnel && g.Reference != "" && (quantities == nil || slices.Contains(quantities, g.Quantity)) && !slices.Contains(all, g.Reference) {
			all = append(all, g.Reference)
		}
	}
	return all
}
