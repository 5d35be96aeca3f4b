package simulated

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/scenario"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/stack/simnet"
)

// servicePort is the port of the correspondent's TCP and UDP services.
const servicePort = 7000

// handTime is how long a cable is out on its way from one network to another.
const handTime = 300 * time.Millisecond

// World is the simulated lab with everything running on it: a scenario.World.
type World struct {
	lab             *simnet.Lab
	client          *client.Client
	agents          []io.Closer
	outside, inside *judge.Judge
	stops           []func()
	listener        *simnet.Listener
	echo            *simnet.UDPConn
}

// Start makes the lab and starts everything on it. Chances are drawn from the seed.
func Start(seed uint64, o company.Options, log *zap.Logger) (*World, error) {
	j := func() *judge.Judge {
		return &judge.Judge{Enterprise: simnet.LabEnterprise, Secret: []netip.Addr{simnet.LabHomeAddress, simnet.LabCorrespondent}}
	}
	w := &World{lab: simnet.NewLab(seed), outside: j(), inside: j()}
	if err := w.start(o, log); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(o company.Options, log *zap.Logger) (err error) {
	w.tap(w.lab.Core, w.inside)
	for _, wire := range w.lab.External() {
		w.tap(wire, w.outside)
	}
	at := netip.AddrPortFrom(simnet.LabCorrespondent, servicePort)
	if w.listener, err = w.lab.Correspondent.ListenTCP(at); err != nil {
		return err
	}
	if w.echo, err = w.lab.Correspondent.ListenUDP(at); err != nil {
		return err
	}
	go session.Echo(w.echo) // ends with the socket
	keys, err := company.Secrets()
	if err != nil {
		return err
	}
	if err := w.startAgents(keys, o, log); err != nil {
		return err
	}
	o.Interfaces = []string{w.lab.Eth0.Name(), w.lab.Wlan0.Name()}
	files, err := company.Files("", o)
	if err != nil {
		return err
	}
	cfg, err := config.Parse(company.ClientConfig, files[company.ClientConfig], func(name string) ([]byte, error) {
		return slices.Clone(keys[name]), nil
	})
	if err != nil {
		return err
	}
	w.client, err = client.Start(w.lab.Laptop, cfg, log.Named("laptop"), client.WithDrops(w.lab.Laptop.Drops()))
	return err
}

// tap has the judge see every frame of the wire.
func (w *World) tap(wire *simnet.Wire, j *judge.Judge) {
	w.stops = append(w.stops, wire.Tap(func(f simnet.Frame) { j.Frame(f.Wire, f.Wall, f.Ethernet()) }))
}

// Tap has f called for each Ethernet frame on the wire, lent for the call, until stop.
func (w *World) Tap(wire string, f func(frame []byte)) (stop func() error, err error) {
	on := w.lab.Wire(wire)
	if on == nil {
		return nil, fmt.Errorf("simulated: there is no wire %s", wire)
	}
	end := on.Tap(func(s simnet.Frame) { f(s.Ethernet()) })
	return func() error { end(); return nil }, nil
}

// Close ends everything.
func (w *World) Close() error {
	var errs []error
	if w.client != nil {
		errs = append(errs, w.client.Close())
	}
	for _, a := range w.agents {
		errs = append(errs, a.Close())
	}
	w.Settle()
	return errors.Join(append(errs, w.lab.Close())...)
}

// Describe implements scenario.World.
func (w *World) Describe() string {
	return "simulated network: agents, gateway and client in this process, in real time"
}

// Client implements scenario.World.
func (w *World) Client() scenario.Client { return backend{w.client} }

// nic returns the laptop's interface by the scenario's name for it.
func (w *World) nic(iface string) (*simnet.NIC, error) {
	switch iface {
	case "eth0":
		return w.lab.Eth0, nil
	case "eth1":
		return w.lab.Wlan0, nil
	}
	return nil, fmt.Errorf("simulated: the laptop has no interface %s", iface)
}

// InterfaceName returns the laptop's own name of the interface that scenarios know by the name given, that itself where there is none.
func (w *World) InterfaceName(iface string) string {
	if nic, err := w.nic(iface); err == nil {
		return nic.Name()
	}
	return iface
}

// Plug implements scenario.World.
func (w *World) Plug(ctx context.Context, iface, network string) (time.Time, error) {
	nic, err := w.nic(iface)
	if err != nil {
		return time.Time{}, err
	}
	wire := w.lab.Wire(network)
	if wire == nil {
		return time.Time{}, fmt.Errorf("simulated: there is no wire %s", network)
	}
	changed := make(chan struct{}, 1)
	stop, err := w.lab.Laptop.Watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return time.Time{}, err
	}
	defer stop()
	if nic.Wire() != nil {
		w.lab.Unplug(nic)
		select {
		case <-time.After(handTime):
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	w.lab.Plug(nic, wire)
	if wire == w.lab.OfficeFA || wire == w.lab.Hotspot {
		return time.Now(), nil
	}
	for !nic.Address().IsValid() {
		select {
		case <-changed:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
	return time.Now(), nil
}

// Unplug implements scenario.World.
func (w *World) Unplug(iface string) error {
	nic, err := w.nic(iface)
	if err == nil {
		w.lab.Unplug(nic)
	}
	return err
}

// OpenConversation implements scenario.World.
func (w *World) OpenConversation(context.Context) (near, far session.Conn, err error) {
	type accepted struct {
		conn net.Conn
		err  error
	}
	ch := make(chan accepted, 1)
	go func() {
		c, err := w.listener.Accept()
		ch <- accepted{c, err}
	}()
	conn, err := w.lab.Laptop.DialTCP(netip.AddrPortFrom(simnet.LabCorrespondent, servicePort), 10*time.Second)
	if err != nil {
		w.listener.Close() // so that the accepting ends
		<-ch
		return nil, nil, err
	}
	a := <-ch
	if a.err != nil {
		conn.Abort()
		return nil, nil, a.err
	}
	return conn, a.conn.(*simnet.Stream), nil
}

// OpenStream implements scenario.World.
func (w *World) OpenStream(context.Context) (net.Conn, error) {
	return w.lab.Laptop.DialUDP(netip.AddrPortFrom(simnet.LabHomeAddress, 0), netip.AddrPortFrom(simnet.LabCorrespondent, servicePort))
}

// Outside implements scenario.World.
func (w *World) Outside() *judge.Judge { return w.outside }

// Inside implements scenario.World.
func (w *World) Inside() *judge.Judge { return w.inside }

// Settle implements scenario.World. A tap loses nothing.
func (w *World) Settle() (lost int, err error) {
	for _, stop := range w.stops {
		stop()
	}
	w.stops = nil
	return 0, nil
}

// Err implements scenario.World.
func (w *World) Err() error { return nil }

// backend is the client as a scenario sees it.
type backend struct{ *client.Client }

// Events implements scenario.Client.
func (b backend) Events(ctx context.Context, f func(control.Event)) error {
	events, cancel := b.Subscribe()
	defer cancel()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-events:
			if !ok {
				return client.ErrClosed
			}
			f(e)
		}
	}
}
