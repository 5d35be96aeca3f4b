package client

import "time"

// lived returns a clock of the time that the process has lived through, which stands still in suspend (CLOCK_MONOTONIC), for
// the gate.
func lived() func() time.Duration {
	born := time.Now()
	return func() time.Duration { return time.Since(born) }
}
