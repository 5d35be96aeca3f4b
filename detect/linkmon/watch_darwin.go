package linkmon

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Watch calls f, from goroutines of its own but never from two at once, whenever the routing socket tells something: of interfaces,
// addresses, routes and neighbours. At once for the first hint after a quiet time, then not sooner than 10 ms after the last call,
// and in the long run at most every 100 ms. stop ends that; a call of f that is under way may still be going on when it returns.
func (*Monitor) Watch(f func()) (stop func(), err error) {
	fd, err := unix.Socket(unix.AF_ROUTE, unix.SOCK_RAW, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("linkmon: open a routing socket: %w", err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("linkmon: open a routing socket: %w", err)
	}
	c, file := &coalescer{f: f}, os.NewFile(uintptr(fd), "route")
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := file.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
				return // closed
			}
			c.hint()
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			c.stop()
			file.Close()
		})
	}, nil
}
