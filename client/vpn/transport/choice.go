package transport

import (
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Config are the times of a Choice. Zero fields mean the defaults.
type Config struct {
	// Patience is how long UDP may be unanswered before TCP is tried too (default 1.5 s: IKE_SA_INIT has been sent three times
	// then).
	Patience time.Duration
	// RedialFirst and RedialMost are the time between attempts to connect: at first and, doubled each time, at most
	// (default 1 s and 30 s). The first attempt is made at once.
	RedialFirst, RedialMost time.Duration
	// ProbeFirst and ProbeMost are the time in TCP between trials of UDP, at first and, doubled each time, at most (default 1 min
	// and 30 min).
	ProbeFirst, ProbeMost time.Duration
	// TCPOnly begins with TCP and never tries UDP.
	TCPOnly bool
}

func (c *Config) complete() {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.Patience, 1500 * time.Millisecond},
		{&c.RedialFirst, time.Second}, {&c.RedialMost, 30 * time.Second},
		{&c.ProbeFirst, time.Minute}, {&c.ProbeMost, 30 * time.Minute},
	} {
		if *d.value == 0 {
			*d.value = d.standard
		}
	}
}

// Want is what a Choice wants of its driver.
type Want uint8

// What a Choice wants.
const (
	// Dial: connect to the gateway. HandleDialled or HandleBroken follows. Before the choice has been made an IKE_SA_INIT of its
	// own follows in the connection; later the SAs go on in it.
	Dial Want = iota + 1
	// LeaveUDP: UDP is not used, so its IKE_SA_INIT, if there is one, ends.
	LeaveUDP
	// LeaveTCP: TCP is not used: the connection, or the attempt to connect, and an IKE_SA_INIT in it end.
	LeaveTCP
	// TryUDP: test whether UDP passes, and go over to it if so; HandleMoved tells that.
	TryUDP
)

// String returns the name.
func (w Want) String() string {
	switch w {
	case Dial:
		return "dial"
	case LeaveUDP:
		return "leave UDP"
	case LeaveTCP:
		return "leave TCP"
	case TryUDP:
		return "try UDP"
	default:
		return "nothing"
	}
}

type state uint8

const (
	idle   state = iota // not started
	asking              // UDP is asked
	racing              // TCP is tried too
	inUDP
	inTCP
)

// Choice decides for one association. It is driven like a protocol machine: after each call drain PollWant.
type Choice struct {
	cfg       Config
	state     state
	connected bool // there is a connection
	dialling  bool // Dial was wanted and not answered

	patienceAt, dialAt, probeAt time.Duration
	redial, probe               time.Duration
	wants                       queue.FIFO[Want]
}

// New makes a Choice.
func New(cfg Config) *Choice {
	cfg.complete()
	return &Choice{cfg: cfg, redial: cfg.RedialFirst, probe: cfg.ProbeFirst}
}

// Start tells that UDP is being asked from now on, or with TCPOnly that the association is wanted.
func (c *Choice) Start(now link.Instant) {
	if c.state != idle {
		return
	}
	c.state = asking
	if c.cfg.TCPOnly {
		c.state = racing
		c.dial()
		return
	}
	c.patienceAt = now.Boot + c.cfg.Patience
}

func (c *Choice) want(w Want) { c.wants.Push(w) }

func (c *Choice) dial() {
	c.dialAt, c.dialling = 0, true
	c.want(Dial)
}

// HandleAnswer tells that the gateway has answered the association's first request over a transport. The first answer decides.
func (c *Choice) HandleAnswer(now link.Instant, tcp bool) {
	if c.state != asking && c.state != racing {
		return
	}
	c.settle(now, tcp)
}

// HandleMoved tells that the association has gone over to a transport.
func (c *Choice) HandleMoved(now link.Instant, tcp bool) {
	if (c.state == inTCP) != tcp && c.state != idle {
		c.settle(now, tcp)
	}
}

func (c *Choice) settle(now link.Instant, tcp bool) {
	raced := c.state == racing || c.state == inTCP
	c.patienceAt, c.dialAt, c.probeAt = 0, 0, 0
	if !tcp {
		c.state = inUDP
		if raced {
			c.connected, c.dialling = false, false
			c.want(LeaveTCP)
		}
		return
	}
	if c.state == asking || c.state == racing {
		c.want(LeaveUDP)
	}
	c.state, c.connected, c.dialling = inTCP, true, false
	c.redial, c.probe = c.cfg.RedialFirst, c.cfg.ProbeFirst
	c.scheduleProbe(now)
}

func (c *Choice) scheduleProbe(now link.Instant) {
	if !c.cfg.TCPOnly {
		c.probeAt = now.Boot + c.probe
		c.probe = min(2*c.probe, c.cfg.ProbeMost)
	}
}

// HandleDialled tells that the connection stands. It reports whether it is wanted still; if not the driver closes it.
func (c *Choice) HandleDialled() bool {
	if !c.dialling || c.state != racing && c.state != inTCP {
		return false
	}
	c.dialling, c.connected = false, true
	if c.state == inTCP {
		c.redial = c.cfg.RedialFirst
	}
	return true
}

// HandleBroken tells that connecting has failed, that the connection has ended, or that the gateway has refused what was asked in
// it. It is tried again after a while.
func (c *Choice) HandleBroken(now link.Instant) {
	if !c.dialling && !c.connected || c.state != racing && c.state != inTCP {
		return
	}
	lost := c.connected && c.state == inTCP
	c.dialling, c.connected = false, false
	if lost { // it has worked, so that another one may at once
		c.dial()
		return
	}
	c.dialAt = now.Boot + c.redial
	c.redial = min(2*c.redial, c.cfg.RedialMost)
}

// HandleTimeout does what is due at now.
func (c *Choice) HandleTimeout(now link.Instant) {
	due := func(at time.Duration) bool { return at != 0 && now.Boot >= at }
	if due(c.patienceAt) {
		c.patienceAt = 0
		c.state = racing
		c.dial()
	}
	if due(c.dialAt) {
		c.dial()
	}
	if due(c.probeAt) {
		c.want(TryUDP)
		c.scheduleProbe(now)
	}
}

// Deadline returns the boot time of what is due next, false when there is nothing.
func (c *Choice) Deadline() (time.Duration, bool) {
	var first time.Duration
	for _, at := range []time.Duration{c.patienceAt, c.dialAt, c.probeAt} {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return first, first != 0
}

// PollWant returns what is wanted next, false when there is nothing.
func (c *Choice) PollWant() (Want, bool) { return c.wants.Pop() }

// TCP tells whether the association is in TCP.
func (c *Choice) TCP() bool { return c.state == inTCP }
