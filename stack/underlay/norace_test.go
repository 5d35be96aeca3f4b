//go:build !race

package underlay

// raceEnabled reports whether the race detector is on.
const raceEnabled = false
