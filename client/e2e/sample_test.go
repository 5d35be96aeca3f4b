package e2e

import "testing"

// Sweeps over places, modes and conditions are run whole by `go test`, and so by `make quick` and `make stress`. With -short, which
// `make test` gives where the race detector makes everything slow, they take a sample: each case of each dimension, not each combination.

// sampled reports whether a case is among those to be run, given its numbers in the sweep's dimensions: all are, but of n combinations
// one when there is to be a sample. With two dimensions of at least n cases, each case of either comes up.
func sampled(n int, at ...int) bool {
	sum := 0
	for _, i := range at {
		sum += i
	}
	return !testing.Short() || sum%n == 0
}
