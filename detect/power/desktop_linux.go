package power

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// service is one that has a property.
type service struct {
	name     string
	path     dbus.ObjectPath
	property string
}

var (
	batteries   = service{"org.freedesktop.UPower", "/org/freedesktop/UPower", "OnBattery"}
	connections = service{"org.freedesktop.NetworkManager", "/org/freedesktop/NetworkManager", "Metered"}
)

const (
	busName       = "org.freedesktop.DBus"
	properties    = busName + ".Properties"
	ownerMember   = "NameOwnerChanged"
	changedMember = "PropertiesChanged"

	// retryFirst and retryMost bound the time between attempts to reach the bus.
	retryFirst = time.Second
	retryMost  = time.Minute
	// answerTime is how long a service may take to answer; one that takes longer is not known.
	answerTime = 25 * time.Second
	// signalQueue is how many signals may wait. What they say is asked for all the same.
	signalQueue = 64
)

var errBusClosed = errors.New("power: the connection to the D-Bus daemon has ended")

// Desktop asks UPower and NetworkManager. The zero value asks those of the system. It starts neither.
type Desktop struct {
	// Address is the bus's address, such as "unix:path=/run/dbus/system_bus_socket"; empty for the system bus.
	Address string
}

var _ Source = Desktop{}

// Watch implements Source.
func (d Desktop) Watch(tell func(State)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{address: d.Address, tell: tell}
	var running sync.WaitGroup
	running.Go(func() { w.run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// watch is one watch. One goroutine owns it.
type watch struct {
	address string
	tell    func(State)
	last    State
}

// run follows both services until ctx ends, over all that can happen to them and to the bus.
func (w *watch) run(ctx context.Context) {
	delay := retryFirst
	for {
		if reached := w.follow(ctx); reached {
			delay = retryFirst
		}
		if ctx.Err() != nil {
			return
		}
		w.now(State{}) // nobody would say so any more
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

// follow connects to the bus and follows the services until the connection ends; reached says that there was one.
func (w *watch) follow(ctx context.Context) (reached bool) {
	conn, err := w.connect(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, signalQueue)
	conn.Signal(signals)
	for _, s := range []service{batteries, connections} {
		if conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(s.name), dbus.WithMatchObjectPath(s.path), dbus.WithMatchInterface(properties), dbus.WithMatchMember(changedMember)) != nil ||
			conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName), dbus.WithMatchMember(ownerMember), dbus.WithMatchArg(0, s.name)) != nil {
			return false
		}
	}
	for {
		now, err := read(ctx, conn)
		if err != nil {
			return true
		}
		w.now(now)
		// Whoever is on the bus may send us a signal of any name: it is no more than an occasion to ask.
		select {
		case <-ctx.Done():
			return true
		case _, open := <-signals:
			for open && len(signals) > 0 { // one answer is enough for all of them
				_, open = <-signals
			}
			if !open {
				return true
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

// read asks both services. An error means that the connection has ended.
func read(ctx context.Context, conn *dbus.Conn) (State, error) {
	s := State{Battery: onBattery(get(ctx, conn, batteries)), Metered: metered(get(ctx, conn, connections))}
	if !conn.Connected() {
		return State{}, errBusClosed
	}
	return s, ctx.Err()
}

// get returns the value of a service's property, nil where it is not there.
func get(ctx context.Context, conn *dbus.Conn, s service) any {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var v dbus.Variant
	err := conn.Object(s.name, s.path).CallWithContext(ctx, properties+".Get", dbus.FlagNoAutoStart, s.name, s.property).Store(&v)
	if err != nil {
		return nil
	}
	return v.Value()
}

// onBattery reads the value of UPower's property OnBattery.
func onBattery(v any) bool {
	b, _ := v.(bool)
	return b
}

// metered reads the value of NetworkManager's property Metered: unknown, yes, no, guess-yes, guess-no, from 0.
func metered(v any) bool {
	n, _ := v.(uint32)
	return n == 1 || n == 3
}

// now tells of a change.
func (w *watch) now(s State) {
	if s != w.last {
		w.last = s
		w.tell(s)
	}
}
