package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/session"
	"mipvpn/cmd/miplab/internal/verdict"
)

// World is where the load is carried. Networks go by the names of the lab's wires.
type World interface {
	// Describe says in a line what this world is.
	Describe() string
	// Up brings the client up, Status asks it.
	Up(ctx context.Context) error
	Status(ctx context.Context) (control.Status, error)
	// Plug puts the cable of the laptop's interface into the network, Unplug pulls it.
	Plug(iface, network string) error
	Unplug(iface string) error
	// Connect opens a TCP connection from the laptop's home address to the correspondent.
	Connect(ctx context.Context) (near, far session.Conn, err error)
	// Sockets opens UDP sockets of the laptop's home address and of the correspondent, connected to each other.
	Sockets() (near, far Socket, err error)
	// Err says that a part of the world has broken down; nil while all is well.
	Err() error
}

// Config says what is to be done.
type Config struct {
	// Seed is where the order of the networks and all octets come from.
	Seed uint64
	// Transitions is how many changes of network there are to be, besides the first connection.
	Transitions int
	// Octets and Datagrams are what each direction has to carry in each network, at least, before the laptop goes on.
	Octets, Datagrams int64
	// Patience is how long that and a change may take.
	Patience time.Duration
	// Log takes a line for each transition.
	Log io.Writer
}

// networks in which the laptop gets connected, with the mode that each brings about.
var networks = map[string]string{"office": "c", "office-fa": "f", "cafe": "cvc", "hotspot": "fvc"}

// foreign are those with a foreign agent and no addresses.
var foreign = map[string]bool{"office-fa": true, "hotspot": true}

// networkNames are they in order: the first four transitions go once through all of them.
var networkNames = []string{"office", "office-fa", "cafe", "hotspot"}

// run is a run under way.
type run struct {
	Config
	world  World
	rng    *rand.Rand
	report *Report
	begun  time.Time
	paths  paths

	iface, network string // where the laptop is
	near, far      *end
	up, down       *shooter
	upAt, downAt   *catcher
}

// Run moves the laptop under load. The error is for what kept that from being done; what failed stands in the report.
func Run(ctx context.Context, cfg Config, w World) (*Report, error) {
	r := &run{Config: cfg, world: w, rng: rand.New(rand.NewPCG(cfg.Seed, 0x10ad)), begun: time.Now(), iface: "eth1",
		report: &Report{Schema: Schema, World: w.Describe(), Seed: cfg.Seed, Modes: map[string]*Row{}, Verdict: verdict.New()}}
	limit, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	if err := w.Up(limit); err != nil {
		return nil, fmt.Errorf("load: bringing the client up: %w", err)
	}
	if err := r.move(limit, "office", false); err != nil {
		return nil, err
	}
	stop, err := r.open(limit)
	if err != nil {
		return nil, err
	}
	err = r.travel(ctx)
	stop()
	r.end(ctx)
	r.report.Took = time.Since(r.begun)
	r.report.judge()
	return r.report, err
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.Log, "%8.3fs  %s\n", time.Since(r.begun).Seconds(), fmt.Sprintf(format, args...))
}

// open starts the load. stop ends the datagrams.
func (r *run) open(ctx context.Context) (stop func(), err error) {
	near, far, err := r.world.Connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("load: the TCP connection: %w", err)
	}
	nearSocket, farSocket, err := r.world.Sockets()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load: the UDP sockets: %w", err), near.Close(), far.Close())
	}
	r.near, r.far = startEnd("laptop", near, r.Seed, 'u', 'd'), startEnd("correspondent", far, r.Seed, 'd', 'u')
	r.up = &shooter{socket: nearSocket, direction: 'u', paths: &r.paths, rng: rand.New(rand.NewPCG(r.Seed, 'u'))}
	r.down = &shooter{socket: farSocket, direction: 'd', paths: &r.paths, rng: rand.New(rand.NewPCG(r.Seed, 'd'))}
	r.upAt = &catcher{socket: farSocket, direction: 'u', inEpoch: map[uint32]int64{}}
	r.downAt = &catcher{socket: nearSocket, direction: 'd', inEpoch: map[uint32]int64{}}
	ended := make(chan struct{})
	var shooting, catching sync.WaitGroup
	shooting.Go(func() { r.up.run(ended) })
	shooting.Go(func() { r.down.run(ended) })
	catching.Go(r.upAt.run)
	catching.Go(r.downAt.run)
	return func() {
		close(ended)
		shooting.Wait()
		nearSocket.Close()
		farSocket.Close()
		catching.Wait()
	}, nil
}

// travel stays in the first network, and moves and stays until enough transitions are made or one fails.
func (r *run) travel(ctx context.Context) error {
	for {
		if err := r.stay(ctx); err != nil {
			return r.broken(ctx, err)
		}
		if r.report.Transitions == r.Transitions {
			return nil
		}
		r.report.Transitions++
		next := networkNames[r.report.Transitions%len(networkNames)]
		if r.report.Transitions >= len(networkNames) {
			for next = networkNames[r.rng.IntN(len(networkNames))]; next == r.network; {
				next = networkNames[r.rng.IntN(len(networkNames))]
			}
		}
		limit, cancel := context.WithTimeout(ctx, r.Patience)
		err := r.move(limit, next, r.rng.IntN(2) == 0)
		cancel()
		if err != nil {
			return r.broken(ctx, err)
		}
	}
}

// broken notes a failure, or returns the context's end.
func (r *run) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.report.Fail("transition %d: %v", r.report.Transitions, err)
	r.say("FAILED: %v", err)
	return nil
}

// move takes the laptop into another network: its cable, or the other one first where before is set.
func (r *run) move(ctx context.Context, network string, before bool) error {
	r.paths.changing()
	from, began := r.network, time.Now()
	old, iface := r.iface, "eth0"
	if old == "eth0" {
		iface = "eth1"
	}
	r.network = network
	var err error
	switch {
	case from == "": // the first one
		err = r.world.Plug(iface, network)
		r.iface = iface
	case before:
		// Which one the client prefers while both are in is its own affair.
		if err = r.world.Plug(iface, network); err == nil {
			err = r.usable(ctx, iface, network)
		}
		if err == nil {
			err = r.world.Unplug(old)
		}
		r.iface = iface
	default:
		err = r.world.Plug(old, network)
	}
	if err != nil {
		return fmt.Errorf("from %s to %s: %w", from, network, err)
	}
	if err := r.connected(ctx, networks[network]); err != nil {
		return fmt.Errorf("from %s to %s: %w", from, network, err)
	}
	how := "cable moved"
	if before {
		how = "second cable first"
	}
	r.say("%3d to %-9s %-18s mode %-3s by %s, %4d ms", r.report.Transitions, network, how, networks[network], r.iface, time.Since(began).Milliseconds())
	return nil
}

// pollInterval is how often the client is asked for its state.
const pollInterval = 20 * time.Millisecond

// poll waits until f says so.
func (r *run) poll(ctx context.Context, f func() (bool, error)) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		if ok, err := f(); ok || err != nil {
			return err
		}
		if err := r.world.Err(); err != nil {
			return err
		}
		if r.near != nil {
			if err := errors.Join(r.near.Err(), r.far.Err()); err != nil {
				return err
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// usable waits until the client sees that the interface is in a network: with an address where the network gives one. It does
// not ask on an interface that it does not need.
func (r *run) usable(ctx context.Context, iface, network string) error {
	var last control.Status
	err := r.poll(ctx, func() (bool, error) {
		s, err := r.world.Status(ctx)
		if err != nil {
			return false, nil
		}
		last = s
		for _, i := range s.Interfaces {
			if i.Name == iface && i.Up && (i.Address.IsValid() || foreign[network]) {
				return true, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("%s was not in the network within %v (%w): %+v", iface, r.Patience, err, last.Interfaces)
	}
	return nil
}

// connected waits until the client is connected in the mode, by the interface that the laptop is to use.
func (r *run) connected(ctx context.Context, mode string) error {
	var last control.Status
	err := r.poll(ctx, func() (bool, error) {
		s, err := r.world.Status(ctx)
		if err != nil {
			return false, nil
		}
		last = s
		return s.State == control.StateConnected && s.Mode == mode && s.Interface == r.iface, nil
	})
	if err != nil {
		return fmt.Errorf("not connected in mode %s by %s within %v (%w): the client is %s in mode %q by %q, problems %v", mode, r.iface, r.Patience,
			err, last.State, last.Mode, last.Interface, last.Problems)
	}
	return nil
}

// stay waits until all four directions have carried enough over the path as it is now.
func (r *run) stay(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	epoch := r.paths.settled()
	up, down := r.far.received.Load(), r.near.received.Load()
	err := r.poll(ctx, func() (bool, error) {
		return r.far.received.Load()-up >= r.Octets && r.near.received.Load()-down >= r.Octets &&
			r.upAt.received(epoch) >= r.Datagrams && r.downAt.received(epoch) >= r.Datagrams, nil
	})
	mode := networks[r.network]
	row := r.report.Modes[mode]
	if row == nil {
		row = &Row{}
		r.report.Modes[mode] = row
	}
	row.Stays++
	row.OctetsUp += r.far.received.Load() - up
	row.OctetsDown += r.near.received.Load() - down
	row.DatagramsUp += r.upAt.received(epoch)
	row.DatagramsDown += r.downAt.received(epoch)
	if err != nil {
		return fmt.Errorf("mode %s: within %v only %d octets of TCP went up and %d down, %d datagrams up and %d down: %w", mode, r.Patience,
			r.far.received.Load()-up, r.near.received.Load()-down, r.upAt.received(epoch), r.downAt.received(epoch), err)
	}
	return nil
}

// end ends the TCP connection and draws up the counts.
func (r *run) end(ctx context.Context) {
	r.near.stop.Store(true)
	r.far.stop.Store(true)
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	hung := context.AfterFunc(ctx, func() { // so that waiting for it ends
		r.near.conn.Close()
		r.far.conn.Close()
	})
	r.near.done.Wait()
	r.far.done.Wait()
	if !hung() {
		r.report.Fail("the TCP connection did not end within %v", r.Patience)
	}
	r.near.conn.Close()
	r.far.conn.Close()
	if err := errors.Join(r.near.Err(), r.far.Err()); err != nil {
		r.report.Fail("the TCP connection broke: %v", err)
	}
	r.report.Up, r.report.Down = r.stream(r.near, r.far), r.stream(r.far, r.near)
	for _, d := range []struct {
		flow *Flow
		s    *shooter
		c    *catcher
	}{{&r.report.DatagramsUp, r.up, r.upAt}, {&r.report.DatagramsDown, r.down, r.downAt}} {
		var remarks []string
		*d.flow, remarks = d.c.result(d.s)
		r.report.Remarks = append(r.report.Remarks, remarks...)
	}
}

// stream is what one direction of the TCP connection came to.
func (r *run) stream(from, to *end) Stream {
	if n := to.wrong.Load(); n > 0 {
		r.report.Remarks = append(r.report.Remarks, fmt.Sprintf("%d octets that the %s received are wrong, the first of them number %d", n, to.name, to.first.Load()-1))
	}
	return Stream{Sent: from.sent.Load(), Received: to.received.Load(), Corrupted: to.wrong.Load()}
}
