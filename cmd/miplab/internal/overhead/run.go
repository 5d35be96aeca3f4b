package overhead

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/company"
	"mipvpn/cmd/miplab/internal/scenario"
)

// World is a lab in which octets are counted.
type World interface {
	scenario.World
	// Tap has f called for each Ethernet frame on the wire, whole and only for the call, until stop.
	Tap(wire string, f func(frame []byte)) (stop func() error, err error)
}

// Bed makes a World with the company set up as the options say, and what ends it.
type Bed func(ctx context.Context, o company.Options) (w World, end func() error, err error)

// Lengths that are sent: those of datagrams' payloads, so that all lengths modulo 4 and 16 occur.
const (
	firstPayload = 100
	lengths      = 64
	udpHeader    = ipv4 + udp // of the datagram itself
)

// Config says what to measure.
type Config struct {
	// Compositions are measured in their order; each by itself and with UDP encapsulation.
	Compositions []Composition
	// HomeAddresses are those under which the laptop may show on a wire beside its interface's: i-HoA and x-HoA.
	HomeAddresses []netip.Addr
	// Patience is how long a change of mode may take.
	Patience time.Duration
	// Log takes lines for a person while it goes.
	Log io.Writer
}

// setups are the ways in which the company is set up, each a bed of its own.
func setups() []company.Options {
	var all []company.Options
	for _, o := range []company.Options{
		{InternalEncapsulation: "ipip", ExternalEncapsulation: "ipip", ZeroOverhead: "off"},
		{InternalEncapsulation: "udp", ExternalEncapsulation: "udp", ForceUDPEncapsulation: true, ZeroOverhead: "off"},
		{InternalEncapsulation: "ipip", ExternalEncapsulation: "ipip", ZeroOverhead: "always"},
		{InternalEncapsulation: "udp", ExternalEncapsulation: "ipip", ForceUDPEncapsulation: true, ZeroOverhead: "always"},
	} {
		o.Interfaces, o.Optional = []string{laptopInterface}, true
		all = append(all, o)
	}
	return all
}

// Run measures. The error is for what kept it from measuring at all; a mode that was not reached and an octet too many are in the
// report.
func Run(ctx context.Context, cfg Config, bed Bed) (*Report, error) {
	begun := time.Now()
	r := newReport()
	for _, o := range setups() {
		chosen := slices.DeleteFunc(slices.Clone(cfg.Compositions), func(c Composition) bool { return c.Switched != (o.ZeroOverhead == "always") })
		if len(chosen) == 0 {
			continue
		}
		if err := cfg.measure(ctx, r, o, chosen, bed); err != nil {
			return r, err
		}
	}
	r.Took = time.Since(begun)
	r.Settle()
	return r, nil
}

// measure measures what one set-up shows.
func (cfg Config) measure(ctx context.Context, r *Report, o company.Options, chosen []Composition, bed Bed) (err error) {
	w, end, err := bed(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	r.World = w.Describe()
	if err := w.Client().Up(ctx); err != nil {
		return fmt.Errorf("overhead: bringing the client up: %w", err)
	}
	plugged := ""
	for _, c := range chosen {
		f := Figure{Composition: c, Encapsulated: o.ForceUDPEncapsulation}
		if err := cfg.figure(ctx, w, &plugged, &f); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.Fail("%s: %v", f.name(), err)
			continue
		}
		r.add(f)
		fmt.Fprintf(cfg.Log, "%s: %d to %d octets out, %d to %d in\n", f.name(), f.Up.Least, f.Up.Most, f.Down.Least, f.Down.Most)
	}
	return nil
}

// laptopInterface is the interface whose wire is looked at.
const laptopInterface = "eth0"

// place returns the network for a composition: without a NAT, which only the set-up's UDP encapsulation stands for.
func place(c Composition) string {
	switch l, _ := c.Mode.Composition(); {
	case !l.VPN && l.ForeignAgent:
		return "office-fa"
	case !l.VPN:
		return "office"
	case l.ForeignAgent:
		return "hotspot"
	}
	return "campus"
}

// figure brings the client into the composition and measures all lengths.
func (cfg Config) figure(ctx context.Context, w World, plugged *string, f *Figure) (err error) {
	limit, cancel := context.WithTimeout(ctx, cfg.Patience)
	defer cancel()
	network := place(f.Composition)
	if network != *plugged {
		if err := w.Client().SetMode(limit, "auto"); err != nil {
			return err
		}
		*plugged = ""
		if _, err := w.Plug(limit, laptopInterface, network); err != nil {
			return err
		}
		*plugged = network
		if _, err := await(limit, w, ""); err != nil {
			return err
		}
	}
	if err := w.Client().SetMode(limit, string(f.Composition.Mode)); err != nil {
		return err
	}
	status, err := await(limit, w, string(f.Composition.Mode))
	if err != nil {
		return err
	}
	lap := &wire{own: slices.Clone(cfg.HomeAddresses), heard: make(chan struct{}, 1)}
	for _, i := range status.Interfaces {
		if i.InUse && i.Address.IsValid() {
			lap.own = append(lap.own, i.Address.Addr())
		}
	}
	stop, err := w.Tap(network, lap.frame)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	conn, err := w.OpenStream(limit)
	if err != nil {
		return err
	}
	defer conn.Close()
	return f.fill(ctx, lap, conn)
}

// fill measures all lengths.
func (f *Figure) fill(ctx context.Context, lap *wire, conn net.Conn) error {
	for n := firstPayload; n < firstPayload+lengths; n++ {
		up, down, err := lap.measure(ctx, conn, n)
		if err != nil {
			return err
		}
		inner := udpHeader + n
		f.Up.take(up - inner)
		f.Down.take(down - inner)
		if want := f.Composition.Added(GCM, inner, f.Encapsulated); f.Differs == "" && (up-inner != want || down-inner != want) {
			f.Differs = fmt.Sprintf("a packet of %d octets got %d out and %d in, on paper %d", inner, up-inner, down-inner, want)
		}
	}
	return nil
}

// pollInterval is how often the client is asked for its state.
const pollInterval = 20 * time.Millisecond

// await waits until the client is connected in the mode, in any for "".
func await(ctx context.Context, w World, mode string) (control.Status, error) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		s, err := w.Client().Status(ctx)
		if err == nil && s.State == control.StateConnected && (mode == "" || s.Mode == mode) {
			return s, nil
		}
		if err := w.Err(); err != nil {
			return s, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			why := ""
			for _, p := range s.Problems {
				why += "; " + p.Message
			}
			return s, fmt.Errorf("overhead: mode %s was not reached: the client is %s in mode %q (%s)%s", mode, s.State, s.Mode, s.Proof.Reason, why)
		}
	}
}
