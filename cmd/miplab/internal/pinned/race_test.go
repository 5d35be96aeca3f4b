//go:build race

package pinned

// raceEnabled says that the race detector is on, whose own allocations cannot be told from ours.
const raceEnabled = true
