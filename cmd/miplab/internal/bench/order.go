package bench

import "slices"

// seldom is how often what serves as a yardstick alone is measured: in one pair of so many.
const seldom = 3

// Group is runs that follow one another: a tunnel and those that it is compared with.
type Group struct {
	// Name is the compared tunnel's.
	Name string
	// Tunnels are in the order in which they run.
	Tunnels []string
}

// Order returns the groups of runs of the pair with that number, of the tunnels that stand: each tunnel with goals between
// those that its goals relate it to, every second time in the opposite order; then those that no group has, each beside the
// reference. The kernel alone and strongSwan take part in the first of three pairs only.
func Order(standing []string, pair int) []Group {
	has := func(t string) bool {
		return slices.Contains(standing, t) && (pair%seldom == 0 || t != Kernel && t != StrongSwan)
	}
	var groups []Group
	placed := map[string]bool{}
	add := func(name string, references ...string) {
		if !has(name) || placed[name] {
			return
		}
		g := Group{Name: name}
		for _, t := range append([]string{Reference, name}, references...) {
			if has(t) && !slices.Contains(g.Tunnels, t) {
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
		add(g.Tunnel, references(g.Tunnel)...)
	}
	for _, t := range standing {
		if t != Reference {
			add(t)
		}
	}
	add(Reference) // alone, when there is nothing else
	return groups
}

// references are those that the goals relate the tunnel to.
func references(tunnel string) []string {
	var all []string
	for _, g := range Goals {
		if g.Tunnel == tunnel && g.Reference != "" && !slices.Contains(all, g.Reference) {
			all = append(all, g.Reference)
		}
	}
	return all
}

// Due reports whether one of the quantities is measured in the group of that name in this pair: always where the tunnel has
// a goal for one, else in one of three pairs.
func Due(tunnel string, quantities []Quantity, pair int) bool {
	if pair%seldom == 0 {
		return true
	}
	return slices.ContainsFunc(Goals, func(g Goal) bool { return g.Tunnel == tunnel && slices.Contains(quantities, g.Quantity) })
}
