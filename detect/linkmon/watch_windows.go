package linkmon

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

var (
	watchers sync.Map // *coalescer -> nothing: who is given a hint by each notification
	// notified is made once: a process has few callbacks, and none is ever given back.
	notified = sync.OnceValue(func() uintptr {
		return windows.NewCallback(func(_, _ uintptr, _ uint32) uintptr {
			watchers.Range(func(c, _ any) bool {
				c.(*coalescer).hint()
				return true
			})
			return 0
		})
	})
)

// Watch calls f, from goroutines of its own but never from two at once, whenever the system tells of interfaces, addresses or
// routes. At once for the first hint after a quiet time, then not sooner than 10 ms after the last call, and in the long run at
// most every 100 ms. stop ends that; a call of f that is under way may still be going on when it returns.
func (*Monitor) Watch(f func()) (stop func(), err error) {
	c := &coalescer{f: f}
	watchers.Store(c, nil)
	var handles []windows.Handle
	end := func() {
		c.stop()
		watchers.Delete(c)
		for _, h := range handles {
			_ = windows.CancelMibChangeNotify2(h)
		}
	}
	for _, subscribe := range []func(uint16, uintptr, unsafe.Pointer, bool, *windows.Handle) error{
		windows.NotifyIpInterfaceChange, windows.NotifyUnicastIpAddressChange, windows.NotifyRouteChange2,
	} {
		var h windows.Handle
		if err := subscribe(windows.AF_UNSPEC, notified(), nil, false, &h); err != nil {
			end()
			return nil, fmt.Errorf("linkmon: watch interfaces: %w", err)
		}
		handles = append(handles, h)
	}
	var once sync.Once
	return func() { once.Do(end) }, nil
}
