//go:build race

package stack

// raceEnabled is set under the race detector, whose sync.Pool drops buffers at random.
const raceEnabled = true
