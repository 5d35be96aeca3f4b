package underlay

import (
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

var queryInterruptTime = windows.NewLazySystemDLL("api-ms-win-core-realtime-l1-1-1.dll").NewProc("QueryInterruptTimePrecise")

// bootTime returns the time since boot, suspend included: QueryInterruptTimePrecise, in steps of 100 ns, or where that is not
// there GetTickCount64, in steps of some 16 ms.
func bootTime() time.Duration {
	if queryInterruptTime.Find() != nil {
		return windows.DurationSinceBoot()
	}
	var steps uint64
	_, _, _ = queryInterruptTime.Call(uintptr(unsafe.Pointer(&steps)))
	return time.Duration(steps) * 100
}
