package tunnel

import (
	"sync/atomic"
	"time"
)

const (
	// UnreachableAge is how long an error from within a tunnel counts as saying that its other end cannot be reached.
	UnreachableAge = 30 * time.Second
	// LongTTL is the time to live of the outer headers in a tunnel that has turned out to be longer than the usual one reaches.
	LongTTL = 255
	// settling is the time after a change of the time to live in which errors may be about packets from before.
	settling = 5 * time.Second
)

// State is the soft state that the entry of a tunnel has about it (RFC 2003 §5). The zero value has learnt nothing.
type State struct {
	// MTU is that of the tunnel.
	MTU PathMTU
	// Reach is its length and whether its other end is reached.
	Reach Reach
}

// Reach is the soft state of a tunnel's length, in routers, and of the reachability of its other end (RFC 2003 §5). The zero value
// has learnt nothing. It is safe for concurrent use.
type Reach struct {
	long atomic.Int64  // boot time in nanoseconds until which the tunnel counts as long; 0 for never
	gone atomic.Int64  // likewise until which the other end counts as unreachable
	code atomic.Uint32 // of that
}

// Learn takes an ICMP error from within the tunnel at the boot time now. When the time to live of an outer header has run out, the
// tunnel is longer than was thought; when that happens again, its packets go round in it and its end is not reached.
func (r *Reach) Learn(now time.Duration, e TunnelError) {
	switch e.Cause {
	case CauseTTL:
		// Of minimal encapsulation the time to live is the inner packet's, so that this says nothing of the tunnel.
		if e.Encapsulation == Minimal {
			return
		}
		until := time.Duration(r.long.Load())
		if until == 0 || now >= until {
			r.long.Store(int64(now + PathMTUAge))
			return
		}
		if now-(until-PathMTUAge) >= settling {
			r.lose(now, CodeHostUnreachable)
		}
	case CauseUnreachable:
		r.lose(now, e.Code)
	}
}

// lose notes that the other end is not reached.
func (r *Reach) lose(now time.Duration, code uint8) {
	r.code.Store(uint32(code))
	r.gone.Store(int64(now + UnreachableAge))
}

// Heard notes that something has come out of the tunnel from its other end, which is there then.
func (r *Reach) Heard() {
	if r.gone.Load() != 0 {
		r.gone.Store(0)
	}
}

// Unreachable returns the ICMP code of the last error while the other end counts as unreachable at the boot time now. Whoever sends
// into the tunnel then is to be told so, and the packet to be sent all the same (RFC 2003 §5).
func (r *Reach) Unreachable(now time.Duration) (code uint8, gone bool) {
	until := r.gone.Load()
	return uint8(r.code.Load()), until != 0 && now < time.Duration(until)
}

// TTL returns the time to live that the tunnel's outer headers are to have at the boot time now, 0 for the usual one.
func (r *Reach) TTL(now time.Duration) uint8 {
	if until := r.long.Load(); until != 0 && now < time.Duration(until) {
		return LongTTL
	}
	return 0
}
