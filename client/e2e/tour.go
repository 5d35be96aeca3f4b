package e2e

import "mipvpn/stack"

// Tour returns a closed walk over all ordered pairs of modes, those of a mode with itself among them, each once: a de Bruijn
// sequence of order 2, as the concatenation of the Lyndon words of lengths 1 and 2 in lexicographic order. It begins and ends at the
// first of the modes, of which there is at least one.
func Tour(modes []stack.Mode) []stack.Mode {
	var walk []stack.Mode
	for i, m := range modes {
		walk = append(walk, m)
		for _, n := range modes[i+1:] {
			walk = append(walk, m, n)
		}
	}
	return append(walk, modes[0])
}
