package location

import "time"

// Proof says that an interface was inside when the request of a registration reply was sent (DET-3). Only a Machine makes
// one, from a reply that passed every check; the zero value proves nothing.
type Proof struct {
	iface   int
	epoch   uint64
	sentAt  time.Duration
	expires time.Duration
}

// IsZero reports whether p is the zero value, which proves nothing.
func (p Proof) IsZero() bool { return p == Proof{} }

// Interface returns the index of the one interface that the proof is about (DET-1).
func (p Proof) Interface() int { return p.iface }

// Epoch returns the connection status epoch of the interface that the proof is about (DET-2).
func (p Proof) Epoch() uint64 { return p.epoch }

// SentAt returns the boot time at which the request that the proof answers was sent. The age of a proof counts from there
// (DET-4), since nothing is known of any later moment.
func (p Proof) SentAt() time.Duration { return p.sentAt }

// Expires returns the boot time from which the proof is void: SentAt plus T_MONITOR.
func (p Proof) Expires() time.Duration { return p.expires }

// Live reports whether the proof is valid at the boot time now: not before its request was sent and not T_MONITOR or more
// after it.
func (p Proof) Live(now time.Duration) bool { return !p.IsZero() && p.sentAt <= now && now < p.expires }
