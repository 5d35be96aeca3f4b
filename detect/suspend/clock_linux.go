package suspend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// followClock calls set whenever the kernel says that the wall clock was set or that the system resumed, and once a day
// besides, until ctx ends, whose error it returns then (timerfd_create(2), TFD_TIMER_CANCEL_ON_SET).
func followClock(ctx context.Context, set func()) error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("suspend: make a timer on the wall clock: %w", err)
	}
	timer := os.NewFile(uintptr(fd), "timer on the wall clock")
	stop := context.AfterFunc(ctx, func() { timer.Close() })
	defer func() {
		if stop() {
			timer.Close()
		}
	}()
	if err = cancellations(timer, func() error { return armTimer(timer) }, set); ctx.Err() != nil {
		return ctx.Err() // it was closed for that
	}
	return err
}

// armTimer arms the timer so that it is cancelled when the clock is set. It expires in a day, which only costs a wake-up.
func armTimer(timer *os.File) error {
	raw, err := timer.SyscallConn()
	if err != nil {
		return err
	}
	at := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().Add(24 * time.Hour).UnixNano())}
	cerr := raw.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &at, nil)
	})
	return errors.Join(cerr, err)
}

// cancellations arms the timer and calls set for each time that it is cancelled or expires, until that fails.
func cancellations(timer io.Reader, arm func() error, set func()) error {
	var expiries [8]byte
	for {
		if err := arm(); err != nil {
			return fmt.Errorf("suspend: arm the timer on the wall clock: %w", err)
		}
		if _, err := timer.Read(expiries[:]); err != nil && !errors.Is(err, unix.ECANCELED) {
			return fmt.Errorf("suspend: read the timer on the wall clock: %w", err)
		}
		set()
	}
}
