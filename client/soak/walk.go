package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/mipv4/auth"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
)

// Config says what a walk is to be.
type Config struct {
	// Seed is where all of the walk's chances come from.
	Seed uint64
	// Transitions is how many there are to be.
	Transitions int
	// Story, when set, takes a line for each transition and each event of the client.
	Story io.Writer
	// Log is the client's own log; nil for none.
	Log *zap.Logger
	// Kinds, when set, limits the walk to the kinds of these names (see Kinds).
	Kinds []string
}

// place is a network that the laptop's cable can be in.
type place struct {
	wire     func(*e2e.World) *simnet.Wire
	external bool
}

// The networks.
var (
	office   = &place{func(w *e2e.World) *simnet.Wire { return w.Office }, false}
	officeFA = &place{func(w *e2e.World) *simnet.Wire { return w.OfficeFA }, false}
	cafe     = &place{func(w *e2e.World) *simnet.Wire { return w.Cafe }, true}
	hotspot  = &place{func(w *e2e.World) *simnet.Wire { return w.Hotspot }, true}

	places = []*place{office, officeFA, cafe, hotspot}
)

// cable is one interface of the laptop.
type cable struct {
	nic  *simnet.NIC
	name string // of the interface
	full string // with the host's
	at   *place // nil: unplugged
	// carried is set when it has been moved without a sign, so that its address is of another network.
	carried bool
}

// walk is a walk under way.
type walk struct {
	cfg     Config
	rng     *rand.Rand
	config  *config.Config
	w       *e2e.World
	oracle  *oracle
	traffic *traffic
	cables  []*cable
	process *e2e.Process // nil while there is none
	login   loginManager
	enemy   *e2e.Adversary
	pin     string
	// What is wrong with the world.
	impaired  bool
	officeCut bool
	faCut     bool
	silent    bool     // the i-HA says nothing of trusted networks
	meddlers  []func() // ends those who add it themselves

	report  *Report
	telling sync.Mutex
}

// errStuck is wrapped by the error of a client that does not become connected although it could.
var errStuck = errors.New("the client does not get connected")

// Run takes one walk and reports what came of it. It must be called in a testing/synctest bubble. The error is for what kept
// the walk from being taken; leaks and broken sessions stand in the report.
func Run(cfg Config) (*Report, error) {
	k := &walk{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x50a4)), pin: "auto",
		report: newReport(cfg.Seed),
	}
	if k.cfg.Log == nil {
		k.cfg.Log = zap.NewNop()
	}
	if err := k.start(); err != nil {
		return nil, errors.Join(err, k.close())
	}
	err := k.wander()
	err = errors.Join(err, k.close())
	k.oracle.mu.Lock()
	defer k.oracle.mu.Unlock()
	k.report.Frames, k.report.LongestExposure, k.report.Leaks = k.oracle.frames, k.oracle.longest, k.oracle.leaks
	return k.report, err
}

// random returns a source of random octets that follows from the seed and the name.
func (k *walk) random(name string) io.Reader {
	var s [32]byte
	copy(s[8:], name)
	for i := range 8 {
		s[i] = byte(k.cfg.Seed >> (8 * i))
	}
	return rand.NewChaCha8(s)
}

// start starts the world, the client and the traffic, in a network of the walk's choice.
func (k *walk) start() error {
	k.config = e2e.ClientConfig()
	if k.weak() {
		k.config.Internal.Algorithm = config.Algorithm(auth.KeyedMD5.String())
	}
	var err error
	k.w, err = e2e.NewWorld(e2e.Options{
		Seed:    k.cfg.Seed,
		Client:  func(c *config.Config) { c.UpAtStart = false },
		Gateway: k.gateway, InternalHA: k.internalHA,
	})
	if err != nil {
		return err
	}
	for _, c := range []*simnet.NIC{k.w.Eth0, k.w.Wlan0} {
		name := c.Name()
		k.cables = append(k.cables, &cable{nic: c, name: name, full: "laptop/" + name})
	}
	if k.oracle, err = newOracle(k.config, k.cables[0].full, k.cables[1].full); err != nil {
		return err
	}
	time.Sleep(time.Millisecond) // the agents have begun
	for _, w := range k.w.External() {
		w.Tap(k.oracle.look(true))
	}
	for _, w := range []*simnet.Wire{k.w.Office, k.w.OfficeFA} {
		w.Tap(k.oracle.look(false))
	}
	if err := k.w.RestartInternalFA(k.foreign); err != nil {
		return err
	}
	if err := k.w.RestartExternalFA(k.foreign); err != nil {
		return err
	}
	if err := k.w.Client.Close(); err != nil {
		return err
	}
	k.enemy = e2e.NewAdversary(k.w, k.cfg.Seed)
	k.login.present = k.cfg.Seed/4%2 == 1
	if err := k.boot(0); err != nil {
		return err
	}
	k.plug(k.cables[k.rng.IntN(2)], places[k.rng.IntN(4)])
	if _, err := k.w.Until(time.Minute, connected); err != nil {
		return err
	}
	k.traffic, err = startTraffic(k.w)
	return err
}

// weak reports whether the walk is one of those in which the i-HA's association is too weak for proofs (DET-17): then nothing
// may leave in the clear at all.
func (k *walk) weak() bool { return k.cfg.Seed%8 == 7 }

// internalHA makes the i-HA what the walk wants it to be.
func (k *walk) internalHA(c *agent.HomeAgentConfig) {
	if k.silent {
		c.Internal, c.TrustedNetworks = false, nil
	}
	if k.weak() {
		sa, err := auth.New(auth.Parameters{SPI: k.config.Internal.SPI, Algorithm: auth.KeyedMD5, Key: auth.Key(k.config.Internal.Key)})
		if err != nil {
			panic(err) // the lab's own key
		}
		c.MobileNodes[0].Associations[0] = sa
	}
}

// foreign gives a foreign agent random numbers that can be repeated.
func (k *walk) foreign(c *agent.ForeignAgentConfig) { c.Random = k.random(c.Interface) }

// gateway gives the VPN gateway random numbers that can be repeated.
func (k *walk) gateway(c *agent.GatewayConfig) { c.Random = k.random("gateway") }

// boot starts a process of the daemon, which dies instead of making its fuse-th step; 0 for none.
func (k *walk) boot(fuse int) error {
	k.process = e2e.NewProcess(k.w.Laptop, fuse)
	k.oracle.allObservable(k.w.Elapsed())
	options := []client.Option{client.WithDrops(k.w.Laptop.Drops()), client.WithRandom(k.random(fmt.Sprint("client", k.report.Transitions)))}
	if k.login.present {
		options = append(options, client.WithSuspend(&k.login))
	}
	next, err := client.Start(k.process, k.config, k.cfg.Log, options...)
	if err != nil {
		k.process = nil
		return err
	}
	k.w.Client = next
	k.tell(next)
	return nil
}

// tell has the client's events told in the story.
func (k *walk) tell(c *client.Client) {
	if k.cfg.Story == nil {
		return
	}
	events, _ := c.Subscribe() // ends with the client
	go func() {
		for e := range events {
			k.say("    %-10s %s %s", e.Kind, e.Interface, e.Message)
		}
	}()
}

func (k *walk) say(format string, args ...any) {
	if k.cfg.Story == nil {
		return
	}
	k.telling.Lock()
	defer k.telling.Unlock()
	fmt.Fprintf(k.cfg.Story, "%12v  %s\n", k.w.Elapsed(), fmt.Sprintf(format, args...))
}

func (k *walk) close() error {
	if k.w == nil {
		return nil
	}
	if k.enemy != nil {
		k.enemy.Close()
	}
	err := k.w.Close()
	if k.traffic != nil {
		k.traffic.end() // what has not ended in order ends with the network
	}
	return err
}

func connected(s control.Status) bool { return s.State == control.StateConnected }

// ago is how long without an answer makes a session one that was down already before a transition.
const ago = time.Second

// wander takes the steps.
func (k *walk) wander() error {
	all := kindsNamed(k.cfg.Kinds)
	for k.report.Transitions < k.cfg.Transitions {
		if k.traffic.stalled() > 6*time.Minute { // TCP gives up after fifteen
			if err := k.step(healing); err != nil {
				return err
			}
		}
		if err := k.step(k.choose(all)); err != nil {
			return err
		}
	}
	if err := k.step(healing); err != nil {
		return err
	}
	up, down, err := k.traffic.finish()
	k.report.Octets += up + down
	k.report.Sessions++
	if err != nil {
		k.report.fail("transition %d, the end: %v", k.report.Transitions, err)
	} else {
		k.report.Kept++
	}
	k.traffic.mu.Lock()
	k.report.Sent, k.report.Answered = k.traffic.sent, k.traffic.echoes
	k.traffic.mu.Unlock()
	return nil
}

// choose picks a kind that is possible now.
func (k *walk) choose(all []*kind) *kind {
	total := 0
	for _, t := range all {
		if t.able == nil || t.able(k) {
			total += t.weight
		}
	}
	n := k.rng.IntN(total)
	for _, t := range all {
		if t.able == nil || t.able(k) {
			if n -= t.weight; n < 0 {
				return t
			}
		}
	}
	panic("soak: the weights do not add up")
}

// step makes one transition and stays for a while.
func (k *walk) step(t *kind) error {
	k.report.Transitions++
	number := fmt.Sprintf("transition %d (%s)", k.report.Transitions, t.name)
	k.traffic.hasten(true)
	time.Sleep(time.Duration(5_000_011 + k.rng.IntN(25_000_000)))
	up := k.traffic.silence() < ago
	outage := k.traffic.mark()
	k.oracle.name(number)
	k.say("== %s", number)
	row := k.report.row(t.name)
	row.Count++
	if err := t.do(k); err != nil {
		return fmt.Errorf("%s: %w", number, err)
	}
	synctest.Wait() // whatever it has led to in this instant
	settled, err := k.dwell(t)
	if errors.Is(err, errStuck) {
		k.report.fail("%s: %v", number, err)
		k.say("!! %v", err)
		if t == healing {
			return err
		}
		if err := k.step(healing); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("%s: %w", number, err)
	}
	if d, ok := outage(); ok && up && settled {
		row.Measured++
		row.Longest = max(row.Longest, d)
		row.Total += d
	}
	return nil
}

// dwell stays where the transition has led: for moments or seconds, until things have settled, or for minutes. It reports
// whether the client was waited for and is connected.
func (k *walk) dwell(t *kind) (settled bool, err error) {
	random := func(from, to time.Duration) time.Duration { return from + time.Duration(k.rng.Int64N(int64(to-from))) }
	n := k.rng.IntN(100)
	switch {
	case t == healing:
	case n < 22:
		time.Sleep(random(0, 80*time.Millisecond))
		return false, nil
	case n < 45:
		time.Sleep(random(0, 3*time.Second))
		return false, nil
	}
	if k.reachable() {
		if settled, err = k.settle(); err != nil {
			return false, err
		}
		if t == healing {
			if err := k.flows(); err != nil {
				return false, err
			}
		}
	} else {
		time.Sleep(random(time.Second, 6*time.Second))
	}
	k.traffic.hasten(false)
	switch {
	case t.long && n < 70: // beyond T_MONITOR
		time.Sleep(random(61*time.Second, 3*time.Minute))
	case n < 90:
		time.Sleep(random(100*time.Millisecond, 3*time.Second))
	case n < 98:
		time.Sleep(random(30*time.Second, 100*time.Second))
	default:
		time.Sleep(random(2*time.Minute, 7*time.Minute))
	}
	return settled, k.exposure()
}

// exposure compares what the client says of itself with T_MONITOR.
func (k *walk) exposure() error {
	if k.process == nil {
		return nil
	}
	s, err := k.w.Client.Status(context.Background())
	if err != nil {
		return err
	}
	if age := time.Duration(s.Exposure) * time.Millisecond; age >= k.config.Detection.Monitor {
		k.report.fail("transition %d: the client says that plaintext passed under a proof of %v", k.report.Transitions, age)
	}
	return nil
}

// reachable reports whether the client can get connected as things are.
func (k *walk) reachable() bool {
	if k.process == nil || k.impaired || k.pin != "auto" || len(k.enemy.Running()) > 0 {
		return false
	}
	for _, c := range k.cables {
		if c.at != nil && !c.carried && (c.at != officeFA || !k.faCut) {
			return true
		}
	}
	return false
}

// patience is how long the client may take until it is connected: it notices a dead gateway after two minutes, and a home agent
// that has forgotten it after half a minute.
const patience = 5 * time.Minute

// settle waits until the client is connected and something has come back.
func (k *walk) settle() (bool, error) {
	began := time.Now()
	if s, err := k.w.Until(patience, connected); err != nil {
		if s.Schema == 0 {
			return false, err
		}
		return false, fmt.Errorf("%w within %v: %w", errStuck, patience, err)
	}
	for from := time.Now(); k.traffic.silence() > time.Since(from); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			s, err := k.w.Client.Status(context.Background())
			return false, fmt.Errorf("%w within %v: state %s, mode %s, and nothing comes back: %v %w", errStuck, patience, s.State, s.Mode, s.Problems, err)
		}
		if time.Since(from) > 3*time.Second {
			k.traffic.hasten(false)
		}
	}
	return true, nil
}

// flows waits until the TCP session goes on both ways: after a long outage the next segment is up to a minute away.
func (k *walk) flows() error {
	for from := time.Now(); k.traffic.stalled() > time.Since(from); time.Sleep(100 * time.Millisecond) {
		if time.Since(from) > patience {
			return fmt.Errorf("%w within %v: it says so, and the TCP session stands still", errStuck, patience)
		}
	}
	return nil
}

// plug puts the cable into a network, as a person does.
func (k *walk) plug(c *cable, p *place) {
	w := p.wire(k.w)
	c.at, c.carried = p, false
	if k.traffic != nil {
		k.traffic.hasten(true)
	}
	// From this instant on: between here and the next line nothing can be sent, since time stands still for the applications.
	k.oracle.observable(c.full, k.w.Elapsed(), w, p.external || p == office && k.officeCut || p == officeFA && k.faCut)
	c.nic.Attach(w)
}

// unplug pulls the cable.
func (k *walk) unplug(c *cable) {
	c.at, c.carried = nil, false
	k.oracle.observable(c.full, k.w.Elapsed(), nil, false)
	c.nic.Detach()
}
