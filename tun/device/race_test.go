//go:build race

package device

// raceEnabled reports whether the race detector is on.
const raceEnabled = true
