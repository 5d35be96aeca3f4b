package contest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
)

// The measures.
const (
	TCP     = "tcp"     // one flow: rate, processor time, round trips meanwhile
	UDP1300 = "udp1300" // highest rate of datagrams with 1300 octets
	UDP64   = "udp64"   // highest rate of packets of 64 octets
	RTT     = "rtt"     // round trips while nothing else goes
	Idle    = "idle"    // wake-ups while nothing goes
)

// Measures are all measures in their order.
var Measures = []string{TCP, UDP1300, UDP64, RTT, Idle}

const (
	// pings is how many round trips an idle measurement takes, and pingPause is between two of them.
	pings     = 250
	pingPause = 5 * time.Millisecond
	// loadedPause is between two round trips while a flow runs.
	loadedPause = 8 * time.Millisecond
	// drain is how long what one run left on its way may take.
	drain = 10 * time.Second
	// largePayload and smallPacket are the datagrams' sizes in octets.
	largePayload = 1300
	smallPacket  = 64
)

// Options say what is run.
type Options struct {
	// Tunnels, Wires and Measures are names of each.
	Tunnels, Wires, Measures []string
	// Pairs is how often each pair of runs is made.
	Pairs int
	// Duration is what counts of each flow.
	Duration time.Duration
	// Programs are what tunnels run.
	Programs tunnel.Programs
	// Dir is an empty directory for files and logs.
	Dir string
	// Profile is a directory for profiles of the near ends' processes, taken in runs that do not count; empty for none.
	Profile string
	// Log is told what goes on.
	Log io.Writer
}

// contest is a run of the benchmark.
type contest struct {
	Options
	samples []bench.Sample
	rates   map[searchKey]float64 // of the last search
	begin   time.Time
	report  *bench.Report
}

// searchKey says what a search was about.
type searchKey struct {
	tunnel, wire string
	up           bool
	quantity     bench.Quantity
}

// Run measures everything and fills the report, whose Tunnels it sets. A run that fails while its tunnel stands is told of in
// the report; other errors end all, and the report has what was measured until then.
func Run(ctx context.Context, o Options, r *bench.Report) error {
	c := &contest{Options: o, rates: map[searchKey]float64{}, begin: time.Now(), report: r}
	kinds, err := c.kinds()
	if err != nil {
		return err
	}
	defer func() { r.Fill(c.samples) }()
	for _, wire := range o.Wires {
		if err := c.wire(ctx, wire, kinds); err != nil {
			return err
		}
	}
	return nil
}

// say tells what goes on.
func (c *contest) say(format string, args ...any) {
	fmt.Fprintf(c.Log, "%7.1fs  %s\n", time.Since(c.begin).Seconds(), fmt.Sprintf(format, args...))
}

// trying reports whether the runs are so short that it is the command that is tried, and no figure is to be kept.
func (c *contest) trying() bool { return c.Duration < 500*time.Millisecond }

// kinds finds the tunnels to run; those that are missing are told of in the report.
func (c *contest) kinds() ([]tunnel.Kind, error) {
	var all []tunnel.Kind
	for _, k := range tunnel.Kinds {
		if !slices.Contains(c.Tunnels, k.Name) {
			continue
		}
		t := bench.Tunnel{Name: k.Name, Title: k.Title}
		if k.Missing != nil {
			if err := k.Missing(c.Programs); err != nil {
				t.Missing = "not installed: " + err.Error()
				c.say("%s is left out: %s", k.Name, t.Missing)
			}
		}
		c.report.Tunnels = append(c.report.Tunnels, t)
		if t.Missing == "" {
			all = append(all, k)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("contest: there is no tunnel to be measured")
	}
	return all, nil
}

// wire runs all pairs on one kind of wire.
func (c *contest) wire(ctx context.Context, wire string, kinds []tunnel.Kind) (err error) {
	var standing []*tunnel.Standing
	var names []string
	defer func() {
		for _, t := range standing {
			err = errors.Join(err, t.Stop())
		}
	}()
	for _, k := range kinds {
		c.say("%s: starting %s", wire, k.Title)
		site, err := tunnel.NewSite(wire, c.Dir, k.Name)
		if err != nil {
			return err
		}
		t, err := k.Start(ctx, site, c.Programs, c.Log)
		if err != nil {
			return err
		}
		standing = append(standing, t)
		names = append(names, k.Name)
	}
	if slices.Contains(c.Measures, Idle) {
		if err := c.idle(ctx, wire, standing); err != nil {
			return err
		}
	}
	for _, t := range standing {
		for _, p := range t.Processes() {
			if err := p.ResetPeak(); err != nil {
				return err
			}
		}
	}
	for pair := range c.Pairs {
		for _, m := range Measures {
			if !slices.Contains(c.Measures, m) || m == Idle {
				continue
			}
			for _, g := range bench.Order(names, quantities[m], pair) {
				if err := c.group(ctx, wire, m, pair, g, standing); err != nil {
					return err
				}
			}
		}
	}
	for _, t := range standing {
		if err := c.memory(wire, t); err != nil {
			return err
		}
	}
	if c.Profile != "" {
		for _, t := range standing {
			if err := c.profile(ctx, wire, t); err != nil {
				return err
			}
		}
	}
	return nil
}

// group makes the runs of a group, each way in turn.
func (c *contest) group(ctx context.Context, wire, measure string, pair int, g bench.Group, standing []*tunnel.Standing) error {
	ways := []bench.Direction{bench.Up, bench.Down}
	if measure == RTT {
		ways = []bench.Direction{bench.None}
	}
	for _, way := range ways {
		for _, name := range g.Tunnels {
			if err := ctx.Err(); err != nil {
				return err
			}
			t := standing[slices.IndexFunc(standing, func(t *tunnel.Standing) bool { return t.Name == name })]
			r := run{contest: c, t: t, wire: wire, pair: pair, group: g.Name, way: way}
			err := r.measure(ctx, measure)
			if err == nil {
				continue
			}
			err = fmt.Errorf("contest: %s, %s %s of %s, pair %d: %w", wire, measure, way, name, pair, err)
			if ctx.Err() != nil || t.Err() != nil {
				return errors.Join(err, t.Err())
			}
			// The tunnel stands: the other runs are worth having.
			c.say("%v", err)
			c.report.Failures = append(c.report.Failures, err.Error())
		}
	}
	return nil
}

// quantities are what measures are about, of those that a goal may name.
var quantities = map[string][]bench.Quantity{
	TCP:     {bench.Rate, bench.NearCPU},
	UDP1300: {bench.Large},
	UDP64:   {bench.Small},
	RTT:     {bench.IdleRTT},
}

// run is one run of one tunnel.
type run struct {
	*contest
	t     *tunnel.Standing
	wire  string
	pair  int
	group string
	way   bench.Direction
}

// add adds a sample.
func (r *run) add(q bench.Quantity, v float64) {
	r.samples = append(r.samples, bench.Sample{Tunnel: r.t.Name, Wire: r.wire, Direction: r.way, Quantity: q, Pair: r.pair, Group: r.group, Value: v})
}

func (r *run) measure(ctx context.Context, m string) error {
	switch m {
	case TCP:
		return r.tcp(ctx)
	case UDP1300:
		return r.udp(ctx, bench.Large, largePayload)
	case UDP64:
		return r.udp(ctx, bench.Small, traffic.IPPayload(smallPacket))
	default:
		return r.rtt(ctx)
	}
}

// tcp runs one flow, and echo requests beside it.
func (r *run) tcp(ctx context.Context) error {
	f, err := traffic.OpenFlow(ctx, r.t.Path, r.way == bench.Up)
	if err != nil {
		return err
	}
	g, err := traffic.OpenPinger(r.t.Path)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	defer g.Close()
	err = r.flow(ctx, f, g)
	return errors.Join(err, f.Close(), r.drained(ctx, g))
}

func (r *run) flow(ctx context.Context, f *traffic.Flow, g *traffic.Pinger) error {
	if err := pause(ctx, min(r.Duration/2, time.Second)); err != nil { // TCP has to find its rate
		return err
	}
	pinging, stop := context.WithCancel(ctx)
	defer stop()
	type answers struct {
		rtts []time.Duration
		err  error
	}
	answered := make(chan answers, 1)
	go func() {
		rtts, err := g.Run(pinging, math.MaxInt, loadedPause)
		answered <- answers{rtts, err}
	}()
	before, err := r.meter(f)
	if err == nil {
		err = pause(ctx, r.Duration)
	}
	// A busy machine may have carried nothing in a short time.
	for end := time.Now().Add(drain); err == nil && f.Octets() == before.octets && time.Now().Before(end); {
		err = pause(ctx, r.Duration)
	}
	after, e := r.meter(f)
	stop()
	a := <-answered
	if err := errors.Join(err, e, a.err); err != nil {
		return err
	}
	octets := float64(after.octets - before.octets)
	if octets == 0 {
		return errors.New("nothing got through")
	}
	r.add(bench.Rate, octets*8/after.at.Sub(before.at).Seconds())
	if r.t.Near != 0 {
		r.add(bench.NearCPU, (after.near-before.near).Seconds()/octets*1e9)
		r.add(bench.FarCPU, (after.far-before.far).Seconds()/octets*1e9)
	}
	rtts := seconds(a.rtts)
	r.add(bench.LoadedRTT, bench.Percentile(rtts, 50))
	r.add(bench.LoadedRTT99, bench.Percentile(rtts, 99))
	r.say("%s %s %s pair %d: %.0f Mbit/s", r.wire, r.t.Name, r.way, r.pair, octets*8e-6/after.at.Sub(before.at).Seconds())
	return nil
}

// reading is what is read at the beginning and the end of what counts.
type reading struct {
	at        time.Time
	octets    uint64
	near, far time.Duration
}

func (r *run) meter(f *traffic.Flow) (m reading, err error) {
	m.at, m.octets = time.Now(), f.Octets()
	if r.t.Near != 0 {
		if m.near, err = r.t.Near.CPU(); err != nil {
			return m, err
		}
	}
	for _, p := range r.t.Far {
		cpu, err := p.CPU()
		if err != nil {
			return m, err
		}
		m.far += cpu
	}
	return m, nil
}

// drained waits until what a run has left on its way is gone: then echo requests are answered again.
func (r *run) drained(ctx context.Context, g *traffic.Pinger) error {
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	return g.Await(ctx)
}

// udp searches the highest rate of datagrams.
func (r *run) udp(ctx context.Context, q bench.Quantity, payload int) error {
	d, err := traffic.OpenDatagrams(r.t.Path, r.way == bench.Up)
	if err != nil {
		return err
	}
	defer d.Close()
	g, err := traffic.OpenPinger(r.t.Path)
	if err != nil {
		return err
	}
	defer g.Close()
	key := searchKey{r.t.Name, r.wire, r.way == bench.Up, q}
	s := bench.Search{Start: 20e3, Step: 2, Precision: 1.06}
	if r.trying() {
		s.Precision = 2
	}
	if last := r.rates[key]; last != 0 {
		s.Start, s.Step = last, 1.15
	}
	length := min(r.Duration/5, 300*time.Millisecond)
	trials := 0
	best, err := s.Run(func(rate float64) (bench.Outcome, error) {
		if err := ctx.Err(); err != nil {
			return bench.Outcome{}, err
		}
		trials++
		o, err := d.Trial(payload, rate, length)
		return o, errors.Join(err, r.drained(ctx, g))
	})
	switch {
	case errors.Is(err, bench.ErrNothingPasses): // that is 0 datagrams a second
		r.say("%s %s %s pair %d: %v", r.wire, r.t.Name, r.way, r.pair, err)
	case err != nil:
		return err
	default:
		r.rates[key] = best.Offered
	}
	r.add(q, best.Delivered())
	r.say("%s %s %s pair %d: %.0f/s of %d octets, %d trials", r.wire, r.t.Name, r.way, r.pair, best.Delivered(), payload, trials)
	return nil
}

// rtt measures round trips while nothing else goes.
func (r *run) rtt(ctx context.Context) error {
	g, err := traffic.OpenPinger(r.t.Path)
	if err != nil {
		return err
	}
	defer g.Close()
	count := min(pings, max(20, int(r.Duration/pingPause)))
	all, err := g.Run(ctx, count, pingPause)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	median := bench.Percentile(seconds(all), 50)
	r.add(bench.IdleRTT, median)
	r.say("%s %s pair %d: idle RTT %.0f us", r.wire, r.t.Name, r.pair, median*1e6)
	return nil
}

// memory adds the greatest resident memory of a tunnel's ends.
func (c *contest) memory(wire string, t *tunnel.Standing) error {
	r := run{contest: c, t: t, wire: wire}
	if t.Near == 0 {
		return nil
	}
	near, err := t.Near.PeakRSS()
	if err != nil {
		return err
	}
	var far uint64
	for _, p := range t.Far {
		n, err := p.PeakRSS()
		if err != nil {
			return err
		}
		far += n
	}
	r.add(bench.NearRSS, float64(near))
	r.add(bench.FarRSS, float64(far))
	return nil
}

// pause waits, or ends with ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func seconds(all []time.Duration) []float64 {
	var s []float64
	for _, d := range all {
		s = append(s, d.Seconds())
	}
	return s
}
