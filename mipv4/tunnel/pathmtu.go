package tunnel

import (
	"sync/atomic"
	"time"
)

const (
	// MinPathMTU is the smallest tunnel MTU in octets that soft state is believed to have: less would only serve an
	// attacker who forges ICMP errors, since every host takes 576 octets (RFC 791 §3.1) less the deepest tunnel headers.
	MinPathMTU = 512
	// PathMTUAge is how long a learnt MTU counts before a larger one is tried again (RFC 1191 §6.3).
	PathMTUAge = 10 * time.Minute
)

// PathMTU is the MTU soft state of one tunnel (RFC 2003 §5.1). The zero value has learnt nothing. It is safe for
// concurrent use.
type PathMTU struct {
	mtu   atomic.Int64 // octets; 0: nothing learnt
	until atomic.Int64 // boot time in nanoseconds
}

// Learn records, at the boot time now, that inner packets of more than mtu octets did not get through the tunnel. An mtu
// of 0 (a router before RFC 1191 did not say) counts as MinPathMTU, as does anything under that. It reports whether the
// tunnel's MTU became smaller. The same again counts from now on.
func (m *PathMTU) Learn(now time.Duration, mtu int) bool {
	mtu = max(mtu, MinPathMTU)
	if old := m.mtu.Load(); old != 0 && int(old) <= mtu && now < time.Duration(m.until.Load()) {
		if int(old) == mtu { // still so
			m.until.Store(int64(now + PathMTUAge))
		}
		return false
	}
	m.until.Store(int64(now + PathMTUAge))
	m.mtu.Store(int64(mtu))
	return true
}

// Known reports whether something was learnt lately, so that the tunnel's path is known to carry packets of that length: its packets
// may bear DF then (RFC 2003 §3.1) without those that are too long being lost in silence.
func (m *PathMTU) Known(now time.Duration) bool {
	return m.mtu.Load() != 0 && now < time.Duration(m.until.Load())
}

// Of returns the MTU in octets at the boot time now: what was learnt, or link, the most that the tunnel's first link
// carries, when that is less or nothing was learnt lately. It costs one atomic load while nothing has been learnt.
func (m *PathMTU) Of(now time.Duration, link int) int {
	mtu := int(m.mtu.Load())
	if mtu == 0 || mtu >= link || now >= time.Duration(m.until.Load()) {
		return link
	}
	return mtu
}
