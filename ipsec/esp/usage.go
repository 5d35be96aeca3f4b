package esp

import (
	"math"
	"sync/atomic"
)

// Usage is what one half of a child SA has carried.
type Usage struct {
	// Packets and Bytes count inner packets and their octets.
	Packets, Bytes uint64
}

type counters struct{ packets, bytes atomic.Uint64 }

func (c *counters) add(packets, bytes int) {
	c.packets.Add(uint64(packets))
	c.bytes.Add(uint64(bytes))
}

func (c *counters) read() Usage { return Usage{Packets: c.packets.Load(), Bytes: c.bytes.Load()} }

// limits are the lifetimes of one half in packets and octets, soft and hard. There is always one of packets: the sequence
// numbers.
type limits struct {
	soft, hard Usage
	told       atomic.Uint32 // how many of both have been reported by due
}

func (l *limits) set(p Parameters) {
	numbers := uint64(math.MaxUint32)
	if p.ESN {
		numbers = math.MaxUint64
	}
	l.hard = Usage{Packets: min(limitOr(p.MaxPackets), numbers), Bytes: limitOr(p.MaxBytes)}
	l.soft = Usage{Packets: soft(p.RekeyPackets, l.hard.Packets), Bytes: soft(p.RekeyBytes, l.hard.Bytes)}
}

func limitOr(n uint64) uint64 {
	if n == 0 {
		return math.MaxUint64
	}
	return n
}

// soft returns the soft limit: the one given, three quarters of the hard one at most.
func soft(given, hard uint64) uint64 {
	return min(limitOr(given), hard-hard/4)
}

// spent tells whether the soft limit is reached by what has been used.
func (l *limits) spent(u Usage) bool { return u.Packets >= l.soft.Packets || u.Bytes >= l.soft.Bytes }

// exhausted tells whether the hard limit is.
func (l *limits) exhausted(u Usage) bool {
	return u.Packets >= l.hard.Packets || u.Bytes >= l.hard.Bytes
}

// due tells once for each of both limits that it is reached.
func (l *limits) due(u Usage) bool {
	if !l.spent(u) {
		return false
	}
	reached := uint32(1)
	if l.exhausted(u) {
		reached = 2
	}
	told := l.told.Load()
	return told < reached && l.told.CompareAndSwap(told, reached)
}
