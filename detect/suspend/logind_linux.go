package suspend

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of the login manager's interface.
const (
	managerName      = "org.freedesktop.login1"
	managerPath      = dbus.ObjectPath("/org/freedesktop/login1")
	managerInterface = "org.freedesktop.login1.Manager"
	sleepMember      = "PrepareForSleep"
	sleepSignal      = managerInterface + "." + sleepMember
	inhibitMethod    = managerInterface + ".Inhibit"

	busName      = "org.freedesktop.DBus"
	ownerMember  = "NameOwnerChanged"
	ownerSignal  = busName + "." + ownerMember
	getNameOwner = busName + ".GetNameOwner"
)

const (
	// retryFirst and retryMost bound the time between attempts to reach the bus and the login manager.
	retryFirst = time.Second
	retryMost  = time.Minute
	// signalQueue is how many signals may wait for the handler.
	signalQueue = 64
)

var (
	errBusClosed = errors.New("suspend: the connection to the D-Bus daemon has ended")
	errNoManager = errors.New("suspend: there is no login manager (" + managerName + ") on D-Bus")
)

// Logind follows the login manager on D-Bus. The zero value follows that of the system.
type Logind struct {
	// Address is the bus's address, such as "unix:path=/run/dbus/system_bus_socket"; empty for the system bus.
	Address string
}

var _ Source = Logind{}

// Watch implements Source.
func (l Logind) Watch(h Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{address: l.Address, handler: h}
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	running.Go(func() {
		if err := followClock(ctx, h.Clock); err != nil && ctx.Err() == nil {
			h.Available(err)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// watch is one watch of the login manager. One goroutine owns it.
type watch struct {
	address  string
	handler  Handler
	lock     *os.File // the inhibitor lock, nil while there is none
	prepared bool     // Prepare was called and Resumed was not
	told     error    // what Available was last told
	said     bool     // Available was called
}

// run follows the login manager until ctx ends, over all that can happen to it and to the bus.
func (w *watch) run(ctx context.Context) {
	delay := retryFirst
	for {
		heard, err := w.follow(ctx)
		w.release()
		if ctx.Err() != nil {
			return
		}
		w.resumed() // nobody would say so any more
		w.available(err)
		if heard {
			delay = retryFirst
		}
		t := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		delay = min(2*delay, retryMost)
	}
}

// follow connects to the bus and follows the login manager until something ends it; heard says that there was one.
func (w *watch) follow(ctx context.Context) (heard bool, err error) {
	conn, err := w.connect(ctx)
	if err != nil {
		return false, fmt.Errorf("suspend: D-Bus: %w", err)
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, signalQueue)
	conn.Signal(signals)
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(managerName), dbus.WithMatchObjectPath(managerPath), dbus.WithMatchInterface(managerInterface), dbus.WithMatchMember(sleepMember)},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName), dbus.WithMatchMember(ownerMember), dbus.WithMatchArg(0, managerName)},
	} {
		if err := conn.AddMatchSignalContext(ctx, match...); err != nil {
			return false, fmt.Errorf("suspend: D-Bus: ask for signals: %w", err)
		}
	}
	// Whoever is on the bus may send us a signal of any name: only the login manager's own counts.
	var manager string
	if err := conn.BusObject().CallWithContext(ctx, getNameOwner, 0, managerName).Store(&manager); err != nil {
		return false, fmt.Errorf("%w: %w", errNoManager, err)
	}
	if err := w.inhibit(ctx, conn); err != nil {
		return false, err
	}
	w.available(nil)
	for {
		select {
		case <-ctx.Done():
			return true, ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return true, errBusClosed
			}
			switch {
			case s.Name == ownerSignal && s.Sender == busName:
				return true, errNoManager // it ended, or another one took over: begin anew with that
			case s.Name == sleepSignal && s.Sender == manager && s.Path == managerPath:
				if err := w.announced(ctx, conn, s.Body); err != nil {
					return true, err
				}
			}
		}
	}
}

// connect connects to the bus. The connection is to be closed.
func (w *watch) connect(ctx context.Context) (*dbus.Conn, error) {
	if w.address == "" {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	}
	return dbus.Connect(w.address, dbus.WithContext(ctx))
}

// announced takes the body of a PrepareForSleep signal: true before the system sleeps, false afterwards. Anything else is
// ignored.
func (w *watch) announced(ctx context.Context, conn *dbus.Conn, body []any) error {
	sleeps, ok := sleepArgument(body)
	switch {
	case !ok:
		return nil
	case sleeps:
		if !w.prepared {
			w.prepared = true
			w.handler.Prepare()
		}
		w.release()
		return nil
	}
	w.prepared = true // also when its beginning was not heard
	w.resumed()
	return w.inhibit(ctx, conn)
}

// sleepArgument returns the one argument of PrepareForSleep.
func sleepArgument(body []any) (sleeps, ok bool) {
	if len(body) != 1 {
		return false, false
	}
	sleeps, ok = body[0].(bool)
	return sleeps, ok
}

// inhibit takes the delay lock, unless there is one.
func (w *watch) inhibit(ctx context.Context, conn *dbus.Conn) error {
	if w.lock != nil {
		return nil
	}
	var fd dbus.UnixFD
	err := conn.Object(managerName, managerPath).CallWithContext(ctx, inhibitMethod, 0,
		"sleep", "mipvpn", "plaintext is stopped before the laptop sleeps", "delay").Store(&fd)
	if err != nil {
		return fmt.Errorf("suspend: take the login manager's delay lock: %w", err)
	}
	w.lock = os.NewFile(uintptr(fd), "sleep inhibitor lock")
	return nil
}

// release lets the system sleep.
func (w *watch) release() {
	if w.lock != nil {
		_ = w.lock.Close() // closing it is all that there is to it
		w.lock = nil
	}
}

func (w *watch) resumed() {
	if w.prepared {
		w.prepared = false
		w.handler.Resumed()
	}
}

// available tells of a change; the same again is told once.
func (w *watch) available(err error) {
	if w.said && (err == nil) == (w.told == nil) && (err == nil || err.Error() == w.told.Error()) {
		return
	}
	w.said, w.told = true, err
	w.handler.Available(err)
}
