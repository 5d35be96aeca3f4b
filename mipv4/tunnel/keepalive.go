package tunnel

import (
	"net/netip"
	"time"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
	"mipvpn/tun/queue"
)

const (
	// DefaultKeepaliveInterval is K of RFC 3519 §4.9, used when the home agent does not set another (an interval of 0).
	DefaultKeepaliveInterval = 110 * time.Second
	// MinKeepaliveInterval is the least interval that a mobile node may use (RFC 3519 §4.10).
	MinKeepaliveInterval = 10 * time.Second
	// KeepaliveTries is how many echo requests go unanswered before the NAT's mapping counts as lost.
	KeepaliveTries = 4
	// KeepaliveRetry is the time between them.
	KeepaliveRetry = 2 * time.Second
)

// KeepaliveEvent is what a Keepalive has found out.
type KeepaliveEvent uint8

const (
	// KeepaliveAnswered: the home agent answered, the tunnel works both ways.
	KeepaliveAnswered KeepaliveEvent = iota + 1
	// KeepaliveLost: no answer to KeepaliveTries requests. The mobile node registers again and shortens the interval
	// (RFC 3519 §4.10).
	KeepaliveLost
)

// Keepalive is the machine that keeps a NAT's mapping for a 3519 tunnel and notices its loss (RFC 3519 §4.9, §4.10), for
// the end that is not the home agent.
type Keepalive struct {
	home, homeAgent netip.Addr
	interval        time.Duration
	id, seq         uint16
	unanswered      int
	deadline        time.Duration
	pending         bool
	events          queue.FIFO[KeepaliveEvent]
}

// NewKeepalive returns the machine for the tunnel of the home address, whose registration request was sent at the boot
// time sent. An interval of 0 is DefaultKeepaliveInterval, one under MinKeepaliveInterval is that. id is the identifier of
// its echo requests.
func NewKeepalive(home, homeAgent netip.Addr, interval, sent time.Duration, id uint16) *Keepalive {
	if interval == 0 {
		interval = DefaultKeepaliveInterval
	}
	interval = max(interval, MinKeepaliveInterval)
	return &Keepalive{home: home, homeAgent: homeAgent, interval: interval, id: id, deadline: sent + interval}
}

// Interval returns the interval in use.
func (k *Keepalive) Interval() time.Duration { return k.interval }

// HandleSent notes that the boot time of the last packet sent into the tunnel, signalling or data, was sent: only
// silence needs a keepalive. It changes nothing while an echo request is unanswered.
func (k *Keepalive) HandleSent(sent time.Duration) {
	if k.unanswered == 0 && sent+k.interval > k.deadline {
		k.deadline = sent + k.interval
	}
}

// Check has the tunnel tried at the boot time at, if no keepalive is due before: a new tunnel may end elsewhere than it
// should (the pseudo-NAT of draft §7.2), which nothing else tells until the interval is over.
func (k *Keepalive) Check(at time.Duration) {
	if k.unanswered == 0 {
		k.deadline = min(k.deadline, at)
	}
}

// HandleInner takes a decapsulated packet and reports whether it was the answer to a keepalive of this machine; then it
// must not be passed on.
func (k *Keepalive) HandleInner(now link.Instant, ip packet.IPv4) bool {
	typ, id, seq, ok := ParseEcho(ip)
	if !ok || typ != ICMPEchoReply || id != k.id || ip.Src() != k.homeAgent || ip.Dst() != k.home {
		return false
	}
	if k.unanswered > 0 && k.seq-seq < uint16(k.unanswered) { // an answer to any of the outstanding requests
		k.unanswered, k.pending = 0, false
		k.deadline = now.Boot + k.interval
		k.events.Push(KeepaliveAnswered)
	}
	return true
}

// HandleTimeout sends what is due at now, or gives the mapping up for lost.
func (k *Keepalive) HandleTimeout(now link.Instant) {
	if now.Boot < k.deadline {
		return
	}
	if k.unanswered == KeepaliveTries {
		k.unanswered, k.pending = 0, false
		k.deadline = now.Boot + k.interval
		k.events.Push(KeepaliveLost)
		return
	}
	k.unanswered++
	k.seq++
	k.pending = true
	k.deadline = now.Boot + KeepaliveRetry
}

// PollTransmit returns the next payload to send over the tunnel's flow. The caller owns it.
func (k *Keepalive) PollTransmit() ([]byte, bool) {
	if !k.pending {
		return nil, false
	}
	k.pending = false
	return AppendEchoRequest(nil, k.home, k.homeAgent, k.id, k.seq), true
}

// PollEvent returns the next event.
func (k *Keepalive) PollEvent() (KeepaliveEvent, bool) { return k.events.Pop() }

// Deadline returns the boot time at which HandleTimeout wants to be called. There always is one.
func (k *Keepalive) Deadline() (time.Duration, bool) { return k.deadline, true }

// Err returns nil: the machine does not die.
func (k *Keepalive) Err() error { return nil }
