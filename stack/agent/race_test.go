//go:build race

package agent

// raceEnabled says that pools drop what is put into them now and then, so that allocations cannot be counted.
const raceEnabled = true
