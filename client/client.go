package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/metrics"
	"mipvpn/client/roam"
	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/client/vpn/ipsec"
	"mipvpn/detect/hint"
	"mipvpn/mipv4/auth"
	"mipvpn/stack"
	"mipvpn/stack/gate"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// taskQueue is how many messages and requests may wait for the actor. What comes when it is full is lost, as on a wire.
const taskQueue = 1024

// ErrClosed is returned for what is asked of a client that has been closed.
var ErrClosed = errors.New("client: closed")

// Client is a running mobile node. It implements control.Backend.
type Client struct {
	host   link.Host
	limits link.Limits    // of the host
	cfg    *config.Config // with what has been found out, such as addresses of names; it is the actor's own
	log    *zap.Logger
	rand   io.Reader
	tasks  chan func()
	stop   chan struct{}
	done   chan struct{}
	once   sync.Once
	feed   feed

	// What follows is the actor's own.
	given    config.Config // as it is written
	now      link.Instant
	timer    link.Timer
	machines []*driven
	associations
	gate     *gate.Gate
	drops    *packet.Drops
	roam     *roam.Machine
	watch    func()
	session  *session // nil while down
	ifaces   map[int]*iface
	policy   string
	story    story
	retry    vpnRetry
	protocol vpn.Protocol
	desk     *secret.Desk
	// preparing is set while the protocol gets what it needs before a tunnel is dialed.
	preparing bool
	ticket    vpn.Ticket // resumes the tunnel that was suspended inside, nil without one
	copies    func()     // takes back the end of dropping second copies that has been put off, nil without one
	resume    resumeWatch
	sleep     sleepState
	power     powerState
	asking    []*question
	pinging   *ping // nil unless one is under way
	activity  activity
	portals   portals
	hints     hints
	mtu       pathMTU
	names     names
	dns       hostDNS
	ends      endpoints
	following following
	standing  *attempt // whose interface the tunnel stands on by itself, nil before that was so
	encapsulations
	keeping keeping
	counted metrics.Counts
	meters  meters
	carried stack.Traffic // by the sessions before
	agents  gatewayAgents
	homes   homes
	wishes  hint.Store // nil: nothing is kept
}

// associations are the mobility security associations, each shared by all registrations under it (MIP-3).
type associations struct {
	internal, external *auth.SecurityAssociation
	foreign            *auth.SecurityAssociation // with the foreign agents that share one, nil for none
	// with the AAA infrastructure that the agents ask (RFC 4721), nil for none
	internalAAA, externalAAA *auth.AAA
}

// session is what exists from up to down.
type session struct {
	device   link.Device
	engine   *stack.Engine
	external *externalLayer
	vpn      *vpnLayer
	rival    *vpnLayer // nil unless a new tunnel is set up beside vpn's
	// leaving has been renewed and receives for a while yet (renew.go), until leave is called; nil otherwise.
	leaving *vpnLayer
	leave   func()
	access  vpn.Access // the way to the gateway of both, nil before the first
	six     bool       // IPv6 has been offered to it
	stall   func()     // ends its watch
	running sync.WaitGroup
}

// Start starts a mobile node on the host. It comes up at once if the configuration or WithWish says so. Errors: the host cannot give
// a device, interfaces or a watch on them, or a key of the configuration cannot be used.
func Start(host link.Host, cfg *config.Config, log *zap.Logger, options ...Option) (*Client, error) {
	own := *cfg
	cfg = &own // in which addresses follow names
	c := &Client{
		host: host, cfg: cfg, log: log, rand: rand.Reader, drops: new(packet.Drops),
		tasks: make(chan func(), taskQueue), stop: make(chan struct{}), done: make(chan struct{}),
		timer: host.NewTimer(), gate: gate.New(host, host), ifaces: make(map[int]*iface), policy: cfg.Mode,
		following: make(following), given: own,
	}
	c.limits = link.LimitsOf(host)
	c.roam = roam.New(c.roamConfig())
	c.desk = secret.NewDesk(config.ReadSecretFile, secret.Run)
	c.protocol = ipsec.New(cfg, c.desk)
	for _, o := range options {
		o(c)
	}
	c.now = host.Now()
	c.recallHomes()
	c.drive(&driven{
		timeout:  func(now link.Instant) { c.roam.HandleTimeout(now) },
		deadline: func() (time.Duration, bool) { return c.roam.Deadline() },
		drain:    func() bool { return false }, // drained before all others
	})
	var err error
	if c.associations, err = newAssociations(cfg); err != nil {
		return nil, err
	}
	if mode, err := stack.ParseMode(cfg.Mode); err == nil {
		c.roam.HandlePin(c.now, mode)
	} else if cfg.Mode != policyAuto {
		return nil, fmt.Errorf("client: mode policy: %w", err)
	}
	c.hints.begin(cfg, log)
	c.encapsulations.begin()
	c.names.begin(host)
	c.ends.begin(cfg.Gateway)
	c.resume.begin(c.now)
	c.gate.WatchSleep(lived())
	c.story.begin(c.now)
	if c.watch, err = host.Watch(func() { c.post(c.readInterfaces) }); err != nil {
		return nil, fmt.Errorf("client: watch the interfaces: %w", err)
	}
	c.keepSettings()
	if err := c.comeUp(); err != nil {
		c.unwatch()
		return nil, err
	}
	c.settle()
	c.watchSleep()
	c.watchPower()
	go c.run()
	return c, nil
}

// unwatch ends the watches on the host.
func (c *Client) unwatch() {
	c.watch()
	if c.keeping.stop != nil {
		c.keeping.stop()
	}
}

// association makes the mobility security association of a home agent.
func association(ha config.HomeAgent) (*auth.SecurityAssociation, error) {
	algorithm, err := auth.ParseAlgorithm(string(ha.Algorithm))
	if err != nil {
		return nil, err
	}
	replay, err := auth.ParseReplayProtection(cmp.Or(ha.ReplayProtection, auth.Timestamps.String()))
	if err != nil {
		return nil, err
	}
	return auth.New(auth.Parameters{SPI: ha.SPI, Algorithm: algorithm, Key: auth.Key(ha.Key), ReplayProtection: replay})
}

// aaaOf returns what authenticates to the AAA infrastructure of a home agent, nil where nothing is configured.
func aaaOf(ha config.HomeAgent) (*auth.AAA, error) {
	if len(ha.AAAKey) == 0 {
		return nil, nil
	}
	return auth.NewAAA(auth.Parameters{SPI: ha.AAASPI, Key: auth.Key(ha.AAAKey)})
}

// Close ends the client. Unlike Down it gives nothing back: the enterprise's traffic stays blocked, as it does when the
// process is killed, until a client is up again or a person takes the block away (DESIGN §2.5).
func (c *Client) Close() error {
	c.once.Do(func() { close(c.stop) })
	<-c.done
	c.hints.running.Wait()
	return nil
}

// post hands a closure to the actor; it is dropped when the actor is overwhelmed or gone.
func (c *Client) post(f func()) {
	select {
	case c.tasks <- f:
	default:
		c.drops.Count(packet.DropQueueFull, 1)
	}
}

// ask runs f on the actor and waits for it.
func (c *Client) ask(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	select {
	case c.tasks <- func() { answer <- f() }:
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		return err
	case <-c.done:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is the actor.
func (c *Client) run() {
	defer close(c.done)
	for {
		select {
		case f := <-c.tasks:
			c.tick()
			f()
		case <-c.timer.C():
			c.tick()
		case <-c.stop:
			c.tick()
			c.end("the daemon ends")
			c.dnsClose()
			c.names.end()
			c.timer.Stop()
			c.unwatch()
			c.unwatchSleep()
			c.unwatchPower()
			c.feed.close()
			c.protocol.Forget()
			c.desk.Close()
			c.associations.wipe()
			return
		}
		c.settle()
	}
}

// tick reads the clock, once an event, and notices a resume from suspend.
func (c *Client) tick() {
	c.now = c.host.Now()
	if c.resume.resumed(c.now) {
		c.wakeUp(true)
	}
}

// driven is a machine as the actor sees it.
type driven struct {
	timeout  func(link.Instant)
	deadline func() (time.Duration, bool)
	// drain sends and handles what the machine has to say and reports whether there was anything.
	drain func() bool
	gone  bool
}

// drive adds a machine; the function returned takes it away.
func (c *Client) drive(d *driven) (remove func()) {
	c.machines = append(c.machines, d)
	return func() {
		d.gone = true
		for i, m := range c.machines {
			if m == d {
				c.machines = append(c.machines[:i:i], c.machines[i+1:]...)
				return
			}
		}
	}
}

// after has f called once, on the actor, when d has passed; the function returned takes that back.
func (c *Client) after(d time.Duration, f func()) (cancel func()) {
	at := c.now.Boot + d
	var remove func()
	remove = c.drive(&driven{
		deadline: func() (time.Duration, bool) { return at, true },
		timeout: func(link.Instant) {
			remove()
			f()
		},
		drain: func() bool { return false },
	})
	return remove
}

const (
	// settleRounds bounds how long machines may go on giving each other work at one instant; more is an error of the
	// program, which goes on after settlePause so that nothing else starves.
	settleRounds = 1000
	settlePause  = 100 * time.Millisecond
)

// settle gives every machine its due timeouts and drains all of them until none has anything to say, and sets the timer for
// the earliest deadline.
func (c *Client) settle() {
	for round := 0; ; round++ {
		if round == settleRounds {
			c.log.Error("the machines do not come to rest: please report this")
			c.timer.Reset(c.now.Boot + settlePause)
			return
		}
		busy := c.drainRoam()
		for _, m := range c.machines { // removal during the loop leaves this slice as it was
			if m.gone {
				continue
			}
			if at, armed := m.deadline(); armed && at <= c.now.Boot {
				m.timeout(c.now)
				busy = true
			}
			if !m.gone && m.drain() {
				busy = true
			}
		}
		if !busy {
			break
		}
	}
	c.judge()
	var next time.Duration
	armed := false
	for _, m := range c.machines {
		if at, ok := m.deadline(); ok && (!armed || at < next) {
			next, armed = at, true
		}
	}
	if armed {
		c.timer.Reset(next)
	} else {
		c.timer.Stop()
	}
}

// up takes charge of the enterprise's traffic.
func (c *Client) up() error { return c.takeCharge("taking charge of the enterprise's traffic") }

// takeCharge is up with what people are told.
func (c *Client) takeCharge(message string) error {
	if c.session != nil {
		return nil
	}
	device, err := c.host.OpenDevice(c.cfg.Device.Name, c.cfg.Device.MTU)
	if err != nil {
		return fmt.Errorf("client: open the TUN device: %w", err)
	}
	s := &session{device: device, engine: stack.NewEngine(device, c.host, c.cfg.Internal.HomeAddress, c.drops)}
	settings := LinkSettings(c.cfg)
	settings.Device = device.Name()
	if err := c.host.Apply(settings); err != nil { // what there is of a kill switch stays: only down lifts it
		return errors.Join(fmt.Errorf("client: set up the host's network: %w", err), device.Close())
	}
	s.external = newExternalLayer(c)
	c.session = s
	s.stall = c.watchStall(s)
	c.solved("") // what was wrong with the host itself
	s.running.Go(func() {
		if err := s.engine.Run(); err != nil {
			c.post(func() { c.deviceFailed(s, err) })
		}
	})
	c.event(control.Event{Kind: "up", Message: message})
	c.dnsUp()
	c.readInterfaces()
	c.drainRoam() // so that what hints at an interface is known when the first attempt is chosen (DET-11)
	if !c.sleep.asleep {
		c.roam.Start(c.now)
	}
	return nil
}

// down gives the enterprise's traffic back, also what an earlier run has left blocked.
func (c *Client) down(reason string) error {
	c.end(reason)
	names := c.dnsDown()
	if err := c.host.Apply(link.Settings{}); err != nil {
		return errors.Join(fmt.Errorf("client: take the host's network back: %w", err), names)
	}
	c.solved("")
	return names
}

// end ends the session and forgets what people have answered. The enterprise's traffic stays blocked.
func (c *Client) end(reason string) {
	if c.session != nil {
		c.endSession(reason)
		c.protocol.Forget()
	}
}

// endSession ends the session, for another one to follow.
func (c *Client) endSession(reason string) {
	s := c.session
	c.gate.CloseAll(reason)
	c.portalEnd(reason)
	s.engine.Swap(nil)
	s.stall()
	c.endMeasuring()
	if s.vpn != nil {
		c.leave(s.vpn.inner)
	}
	c.stopRetry()
	c.wipeTicket()
	c.preparing = false
	c.closeVPN(true) // its goodbye goes through x-MIP, so it comes first
	c.closeAccess()
	c.endQuestions()
	if c.pinging != nil {
		c.endPing(c.pinging)
	}
	c.leaveHomeAgents()
	c.roam.Stop(reason)
	if c.copies != nil {
		c.copies()
		c.copies = nil
	}
	for _, i := range c.ifaces {
		c.forget(i)
	}
	c.ifaces, c.standing = make(map[int]*iface), nil
	c.roam = c.roam.Successor() // the gate knows the epochs so far
	s.external.link.SetCarrier(nil)
	if err := s.device.Close(); err != nil {
		c.log.Error("closing the TUN device", zap.Error(err))
	}
	s.running.Wait()
	c.carried = c.carried.Plus(s.engine.Traffic())
	c.session = nil
	c.story.clear()
	c.event(control.Event{Kind: "down", Message: reason})
}

// deviceFailed ends the session when the TUN device has gone: nothing can be carried, and nothing leaks either.
func (c *Client) deviceFailed(s *session, err error) {
	if c.session != s {
		return
	}
	c.log.Error("the TUN device failed", zap.Error(err))
	c.end("the TUN device failed: " + err.Error())
	c.problem(control.Problem{Message: "the TUN device failed: " + err.Error(), Advice: "run `mipvpn up` to make it anew, or `mipvpn down` to give the enterprise's traffic back"})
}

// resumeWatch notices that the boot clock has gone on while the program's own clock stood still.
type resumeWatch struct {
	boot time.Duration
	mono time.Time
}

// resumeGap is how far the clocks must have parted to count as a suspend.
const resumeGap = 2 * time.Second

func (r *resumeWatch) begin(now link.Instant) { r.boot, r.mono = now.Boot, time.Now() }

// resumed reports whether a suspend lies between this call and the one before. Go's monotonic clock stands still in
// suspend, CLOCK_BOOTTIME does not (DESIGN §2.4).
func (r *resumeWatch) resumed(now link.Instant) bool {
	mono := time.Now()
	gap := (now.Boot - r.boot) - mono.Sub(r.mono)
	r.boot, r.mono = now.Boot, mono
	return gap > resumeGap
}

// shielded returns the home addresses that are known, which the kernel must leave alone.
func shielded(cfg *config.Config) []netip.Addr {
	var known []netip.Addr
	for _, a := range []netip.Addr{cfg.Internal.HomeAddress, cfg.External.HomeAddress} {
		if a.IsValid() {
			known = append(known, a)
		}
	}
	return known
}
