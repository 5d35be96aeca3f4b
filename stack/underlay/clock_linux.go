package underlay

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// clock reads CLOCK_BOOTTIME, which goes on in suspend, and drives all timers of a Host with one timerfd on it.
type clock struct {
	file *os.File // the timerfd
	done chan struct{}

	mu    sync.Mutex
	armed map[*timer]struct{}
	at    time.Duration // boot time that the timerfd is set to, 0 while it is disarmed
}

func newClock() (*clock, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create a timer on CLOCK_BOOTTIME: %w", err)
	}
	c := &clock{file: os.NewFile(uintptr(fd), "timerfd"), done: make(chan struct{}), armed: make(map[*timer]struct{})}
	go c.run()
	return c, nil
}

func (c *clock) close() error {
	err := c.file.Close()
	<-c.done
	return err
}

// bootTime returns the time since boot, suspend included. clock_gettime cannot fail for a clock that a timerfd was made on. The
// gate asks once a batch, so Go's scheduler is not told of the call: that would wake its monitor thread each time.
func bootTime() time.Duration {
	var ts unix.Timespec
	_, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ts)), 0)
	if errno != 0 {
		panic(fmt.Sprintf("underlay: read CLOCK_BOOTTIME: %v", errno))
	}
	return time.Duration(ts.Nano())
}

// Now reads both clocks.
func (c *clock) Now() link.Instant { return link.Instant{Boot: bootTime(), Wall: time.Now().Round(0)} }

// NewTimer returns a stopped timer. It needs no closing: a stopped timer is plain memory.
func (c *clock) NewTimer() link.Timer { return &timer{clock: c, c: make(chan struct{}, 1)} }

func (c *clock) run() {
	defer close(c.done)
	var expirations [8]byte
	for {
		if _, err := c.file.Read(expirations[:]); err != nil {
			return // closed
		}
		if binary.NativeEndian.Uint64(expirations[:]) == 0 {
			continue
		}
		c.mu.Lock()
		now := bootTime()
		for t := range c.armed {
			if t.at <= now {
				delete(c.armed, t)
				t.c <- struct{}{} // has room: an armed timer's channel is empty
			}
		}
		c.at = 0
		c.set()
		c.mu.Unlock()
	}
}

// set arms the timerfd for the earliest timer when that differs from what it is armed for. mu is held.
func (c *clock) set() {
	var first time.Duration
	for t := range c.armed {
		if first == 0 || t.at < first {
			first = t.at
		}
	}
	if first == c.at {
		return
	}
	c.at = first
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(first))}
	if conn, err := c.file.SyscallConn(); err == nil {
		// An error means that the file is closed: the Host's timers have ended.
		_ = conn.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME, &spec, nil) })
	}
}

type timer struct {
	clock *clock
	c     chan struct{}
	at    time.Duration // while armed; never 0
}

func (t *timer) C() <-chan struct{} { return t.c }

func (t *timer) Reset(at time.Duration) {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.drain()
	t.at = max(at, 1) // timerfd takes 0 as disarmed
	t.clock.armed[t] = struct{}{}
	t.clock.set()
}

func (t *timer) Stop() {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.drain()
	delete(t.clock.armed, t)
	t.clock.set()
}

func (t *timer) drain() {
	select {
	case <-t.c:
	default:
	}
}
