package underlay

import (
	"bytes"
	"runtime"
	"strconv"
)

// goroutineID returns the number of the calling goroutine, from the first line of its stack trace ("goroutine N [..."),
// as the only way the runtime gives it out. It tells a Close that comes from the flow's own receiver, which must not
// wait for itself. 0 when the line has another form: Close then waits.
func goroutineID() uint64 {
	var line [64]byte
	s := bytes.TrimPrefix(line[:runtime.Stack(line[:], false)], []byte("goroutine "))
	if i := bytes.IndexByte(s, ' '); i > 0 {
		n, err := strconv.ParseUint(string(s[:i]), 10, 64)
		if err == nil {
			return n
		}
	}
	return 0
}
