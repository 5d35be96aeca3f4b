//go:build !race

package homeagent

// raceEnabled says that the race detector runs, under which everything costs many times as much.
const raceEnabled = false
