package underlay

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// bootTime returns the time since boot, suspend included: what CLOCK_MONOTONIC is on darwin.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Sprintf("underlay: read CLOCK_MONOTONIC: %v", err))
	}
	return time.Duration(ts.Nano())
}
