//go:build race

package suite

// raceEnabled is set under the race detector, whose sync.Pool drops buffers at random.
const raceEnabled = true
