package tunnel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/program"
	"mipvpn/cmd/miplab/internal/space"
	"mipvpn/ipsec/interop/charon"
)

// Programs are what tunnels run.
type Programs struct {
	// Self is the path of miplab, for its hidden commands; Binaries the directory of mipvpn and mipagent.
	Self, Binaries string
	// Encapsulation is what the modes c and cvc ask home agents for: "udp", "auto" or "ipip".
	Encapsulation string
}

// Kind is one kind of tunnel.
type Kind struct {
	// Name is one of package bench; Title says what it is.
	Name, Title string
	// Missing returns an error that says what is not installed; nil when the tunnel can be started.
	Missing func(Programs) error

	start func(context.Context, *Site, Programs, *Standing) error
}

// Kinds are all kinds of tunnels in the order of the table.
var Kinds = []Kind{
	{bench.Kernel, "no tunnel, the kernel alone", nil, startKernel},
	{bench.Reference, "wireguard-go", nil, startWireGuard},
	{bench.StrongSwan, "strongSwan with kernel-libipsec, AES-GCM-128", func(Programs) error { return charon.Available() }, startStrongSwan},
	{bench.Null, "null tunnel: the same I/O, nothing else", nil, startNull},
	{bench.NullHops, "null tunnel over the hops of cvc", nil, startNullHops},
	{bench.ModeC, "mipvpn in mode c, i-HA of mipagent", built, startModeC},
	{bench.ModeVC, "vc, pinned: i-MIP and ESP in UDP, AES-GCM-128", nil, startVC},
	{bench.ModeCVC, "mipvpn in mode cvc, all far ends in one mipagent", built, startModeCVC},
}

// Find returns the kind of that name.
func Find(name string) (Kind, bool) {
	i := slices.IndexFunc(Kinds, func(k Kind) bool { return k.Name == name })
	if i < 0 {
		return Kind{}, false
	}
	return Kinds[i], true
}

// Standing is a tunnel whose both ends run.
type Standing struct {
	Kind
	// Path is what the application uses.
	Path traffic.Path
	// Near is the near end's process, 0 where there is none; Far are those of the far end.
	Near traffic.Process
	Far  []traffic.Process

	programs []*program.Program
	charons  []*charon.Daemon
	closers  []func() error
	site     *Site
}

// startTime is how long both ends may take until the first packet passes.
const startTime = 30 * time.Second

// Start starts both ends on the site, which Stop closes too, and waits until packets pass. An error comes with the ends of the
// programs' logs on log.
func (k Kind) Start(ctx context.Context, s *Site, p Programs, log io.Writer) (*Standing, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	t := &Standing{Kind: k, Path: traffic.Path{Near: s.Near, Far: s.Far}, site: s}
	err := k.start(ctx, s, p, t)
	if err == nil {
		err = t.await(ctx)
	}
	if err != nil {
		s.tails(log)
		return nil, errors.Join(fmt.Errorf("tunnel: starting %s: %w", k.Title, err), t.Stop())
	}
	return t, nil
}

// await waits until packets pass.
func (t *Standing) await(ctx context.Context) error {
	g, err := openPinger(ctx, t.Path)
	if err != nil {
		return errors.Join(err, t.Err())
	}
	defer g.Close()
	if err := g.Await(ctx); err != nil {
		return errors.Join(err, t.Err())
	}
	return nil
}

// openPinger opens the socket once the near end has the address that it sends from.
func openPinger(ctx context.Context, p traffic.Path) (*traffic.Pinger, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		g, err := traffic.OpenPinger(p)
		if err == nil {
			return g, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// run starts a program of the tunnel in a namespace.
func (t *Standing) run(s *space.Space, name, path string, args ...string) (*program.Program, error) {
	p, err := program.Start(s, name+" in "+s.Name, filepath.Join(t.site.Dir, name+"-"+s.Name+".log"), path, args...)
	if err != nil {
		return nil, err
	}
	t.programs = append(t.programs, p)
	if s == t.site.Near {
		t.Near = traffic.Process(p.PID())
	} else {
		t.Far = append(t.Far, traffic.Process(p.PID()))
	}
	return p, nil
}

// Err says which program has ended, nil while all run.
func (t *Standing) Err() error {
	for _, p := range t.programs {
		if err := p.Err(); err != nil {
			return err
		}
	}
	for _, d := range t.charons {
		select {
		case <-d.Done():
			return fmt.Errorf("tunnel: charon has ended:\n%s", d.Tail(12))
		default:
		}
	}
	return nil
}

// Stop ends the programs, the near end first, and closes the site.
func (t *Standing) Stop() error {
	var errs []error
	for _, p := range slices.Backward(t.programs) {
		errs = append(errs, p.Stop())
	}
	for _, c := range slices.Backward(t.closers) {
		errs = append(errs, c())
	}
	t.programs, t.charons, t.closers = nil, nil, nil
	return errors.Join(append(errs, t.site.Close())...)
}

// startKernel has nothing to start.
func startKernel(_ context.Context, _ *Site, _ Programs, t *Standing) error {
	t.Path.NearAddress, t.Path.FarAddress = NearAddress, FarAddress
	return nil
}

// Processes are those of both ends.
func (t *Standing) Processes() []traffic.Process {
	all := slices.Clone(t.Far)
	if t.Near != 0 {
		all = append(all, t.Near)
	}
	return all
}
