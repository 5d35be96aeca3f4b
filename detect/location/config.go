package location

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	// DefaultMonitor is T_MONITOR of RFC 5265 §3.2.4.
	DefaultMonitor = 60 * time.Second
	// MinMonitor is the least T_MONITOR accepted: a reply may take up to ReplyLimit to count, and RFC 5265 §3.2.4 calls an
	// interval of a few seconds not practical.
	MinMonitor = 5 * time.Second
	// DefaultGrace is N of RFC 5265 §3.2.4: re-registration starts at T_MONITOR - N.
	DefaultGrace = 30 * time.Second
	// DefaultPeriod is the detection period of DET-7.
	DefaultPeriod = 2 * time.Second
	// DefaultProbe is how often the i-HA is probed again outside (DET-9, draft §4.3).
	DefaultProbe = 10 * time.Minute
	// DefaultProbeTime is how long a probe waits for its answer: with DefaultRetransmission, for three requests and a second
	// for the answer to the last. Until it has ended the i-HA may be sending to an interface that is outside.
	DefaultProbeTime = 4 * time.Second
	// DefaultPause is the longest pause between two series of requests while neither home agent answers (DET-18).
	DefaultPause = 30 * time.Second
	// ReplyLimit is the age of a request beyond which its reply is no proof (DET-4).
	ReplyLimit = 5 * time.Second
	// leastSilence is how long both agents must have been silent at least before they count as unreachable, however short
	// the detection period: a reply takes a round trip.
	leastSilence = 2 * time.Second
	// retryDelay is how long after a reply that came too late the i-HA is asked again.
	retryDelay = time.Second
	// firstPause is the pause behind the first series that neither home agent answered; it doubles up to Config.Pause.
	firstPause = 2 * time.Second
)

// ErrMonitorTooShort is returned for a T_MONITOR under MinMonitor (DET-4).
var ErrMonitorTooShort = errors.New("location: T_MONITOR is too short")

// ErrConfig is returned for any other value of a Config that cannot work.
var ErrConfig = errors.New("location: configuration cannot work")

// Config is what a Machine needs to know. The zero durations of Monitor, Grace, ProbeTime and Pause stand for the
// defaults; those of Period, Probe and Idle mean none.
type Config struct {
	// Interface is the index of the one interface that the machine tracks (DET-1).
	Interface int
	// InternalHomeAgent and ExternalHomeAgent are the agents' addresses. When they are equal, the interface counts as
	// outside and the i-HA is not asked through it (DET-10, RFC 5265 §3.5). A zero ExternalHomeAgent means that there is
	// none, so that the interface can only be inside or unreachable.
	InternalHomeAgent, ExternalHomeAgent netip.Addr
	// Monitor is T_MONITOR, the greatest age of a proof.
	Monitor time.Duration
	// Grace is N: re-registration starts at Monitor - Grace after the proof's request was sent. Zero stands for
	// DefaultGrace, or half of Monitor where that is less.
	Grace time.Duration
	// Period is the detection period: for how long the i-HA is tried before Outside is decided, and Unreachable where it is
	// longer than leastSilence. It may be 0.
	Period time.Duration
	// Probe is how often the i-HA is tried again while outside; 0 for never.
	Probe time.Duration
	// ProbeTime is how long such a probe waits for an answer.
	ProbeTime time.Duration
	// Pause is the longest pause between two series of requests while neither home agent answers (DET-18).
	Pause time.Duration
	// Idle is how long no user data may have passed until re-registration pauses and plaintext stops (DET-13); 0 for never.
	Idle time.Duration
	// OutsideNetworks are networks known to be outside: a direct reply of the i-HA there raises an alarm and is no proof
	// (DET-14).
	OutsideNetworks []netip.Prefix
	// SuppressOutside keeps requests to the i-HA from being sent in the clear on OutsideNetworks (DET-17).
	SuppressOutside bool
	// InternalOnly asks the i-HA alone until AskExternal: the interface is probed beside a path that is in use.
	InternalOnly bool
	// WaiveTNC accepts replies without the Trusted Networks Configured extension, for an i-HA that predates it (DET-3).
	WaiveTNC bool
	// RefuseNAT makes a reply no proof whose request reached the i-HA from another address than the care-of address, through
	// a NAT or somebody who relays registrations from outside. It must go with requests for UDP tunnelling without force, which
	// alone tell the two apart whatever maker the i-HA is of (mobilenode.VerifiedReply.NAT).
	RefuseNAT bool
}

// withDefaults checks c and fills in the defaults.
func (c Config) withDefaults() (Config, error) {
	if c.Monitor == 0 {
		c.Monitor = DefaultMonitor
	}
	if c.Monitor < MinMonitor {
		return c, fmt.Errorf("%w: %v, at least %v is needed, since a reply may take up to %v and several requests must fit in",
			ErrMonitorTooShort, c.Monitor, MinMonitor, ReplyLimit)
	}
	if c.Grace == 0 {
		c.Grace = min(DefaultGrace, c.Monitor/2)
	}
	if c.ProbeTime == 0 {
		c.ProbeTime = DefaultProbeTime
	}
	if c.Pause == 0 {
		c.Pause = DefaultPause
	}
	switch {
	case c.Interface <= 0:
		return c, fmt.Errorf("%w: interface index %d, a positive one is needed", ErrConfig, c.Interface)
	case !c.InternalHomeAgent.Is4():
		return c, fmt.Errorf("%w: i-HA address %v, an IPv4 address is needed", ErrConfig, c.InternalHomeAgent)
	case c.Grace < 0 || c.Grace >= c.Monitor:
		return c, fmt.Errorf("%w: grace %v, between 0 and T_MONITOR (%v) is needed", ErrConfig, c.Grace, c.Monitor)
	case c.Period < 0:
		return c, fmt.Errorf("%w: detection period %v, 0 or more is needed", ErrConfig, c.Period)
	case c.Probe < 0:
		return c, fmt.Errorf("%w: probe interval %v, 0 or more is needed", ErrConfig, c.Probe)
	case c.ProbeTime < 0:
		return c, fmt.Errorf("%w: probe time %v, 0 or more is needed", ErrConfig, c.ProbeTime)
	case c.Pause < 0:
		return c, fmt.Errorf("%w: pause %v, 0 or more is needed", ErrConfig, c.Pause)
	case c.Idle < 0:
		return c, fmt.Errorf("%w: idle time %v, 0 or more is needed", ErrConfig, c.Idle)
	}
	return c, nil
}

// patience is how long neither agent may answer before that is said (DET-18).
func (c Config) patience() time.Duration { return max(c.Period, leastSilence) }

// Bypassed reports whether detection is bypassed because both home agents have the same address (DET-10).
func (c Config) Bypassed() bool { return c.InternalHomeAgent == c.ExternalHomeAgent }

// listedOutside reports whether a lies in a network that is listed as outside.
func (c Config) listedOutside(a netip.Addr) bool {
	for _, p := range c.OutsideNetworks {
		if a.IsValid() && p.Contains(a) {
			return true
		}
	}
	return false
}
