package readmap

import (
	"math/bits"
	"sync/atomic"
)

// Map maps 64-bit keys to values. One goroutine at a time may call Put and Delete; Get and Len may be called by any number of
// goroutines at any time and take no lock. The zero value is empty.
//
// A Get that runs beside a change of its key returns what was there before or after it. The memory of the buckets, 8 octets for
// each entry that there was at once, is not given back when entries go.
type Map[V any] struct {
	length atomic.Int64
	// grown is how many buckets there are beyond the first minBuckets.
	grown atomic.Uint32
	// segments hold the buckets: the first minBuckets of them, and each later one as many as all before it.
	segments [33 - minBits]atomic.Pointer[[]bucket[V]]
}

const (
	minBits    = 3
	minBuckets = 1 << minBits
)

// bucket is a chain of entries, which do not change.
type bucket[V any] = atomic.Pointer[entry[V]]

type entry[V any] struct {
	next  *entry[V]
	key   uint64
	value V
}

// Get returns the value of a key, and false without one. It allocates nothing.
func (m *Map[V]) Get(key uint64) (V, bool) {
	h := hash(key)
	for {
		grown := m.grown.Load()
		if b := m.bucket(index(h, minBuckets+grown)); b != nil {
			for e := b.Load(); e != nil; e = e.next {
				if e.key == key {
					return e.value, true
				}
			}
		}
		// A bucket that was split meanwhile has lost entries to the new one, and that was counted before they went.
		if m.grown.Load() == grown {
			var none V
			return none, false
		}
	}
}

// Len returns the number of entries.
func (m *Map[V]) Len() int { return int(m.length.Load()) }

// Put sets the value of a key.
func (m *Map[V]) Put(key uint64, value V) {
	b := m.owned(index(hash(key), minBuckets+m.grown.Load()))
	head := b.Load()
	rest, found := without(head, key)
	b.Store(&entry[V]{next: rest, key: key, value: value})
	if !found && m.length.Add(1) > int64(minBuckets+m.grown.Load()) {
		m.split()
	}
}

// Delete takes a key out, and reports whether it was there.
func (m *Map[V]) Delete(key uint64) bool {
	b := m.bucket(index(hash(key), minBuckets+m.grown.Load()))
	if b == nil {
		return false
	}
	rest, found := without(b.Load(), key)
	if found {
		b.Store(rest)
		m.length.Add(-1)
	}
	return found
}

// without returns the chain without the key, and whether that was in it. Entries in front of it are copied.
func without[V any](head *entry[V], key uint64) (*entry[V], bool) {
	at := head
	for at != nil && at.key != key {
		at = at.next
	}
	if at == nil {
		return head, false
	}
	rest := at.next
	for e := head; e != at; e = e.next {
		rest = &entry[V]{next: rest, key: e.key, value: e.value}
	}
	return rest, true
}

// split adds a bucket and moves to it what belongs there from the one bucket that held it. A reader finds every entry all the
// while: first in the old bucket, then in both, and when it misses one in the old bucket it sees that the number has grown.
func (m *Map[V]) split() {
	n := minBuckets + m.grown.Load()
	if n == 1<<31 {
		return // as good as it gets: chains become longer from here
	}
	old := m.owned(n &^ (1 << (bits.Len32(n) - 1)))
	var stay, move *entry[V]
	for e := old.Load(); e != nil; e = e.next {
		to := &stay
		if index(hash(e.key), n+1) == n {
			to = &move
		}
		*to = &entry[V]{next: *to, key: e.key, value: e.value}
	}
	m.owned(n).Store(move)
	m.grown.Store(n + 1 - minBuckets)
	old.Store(stay)
}

// bucket returns bucket i, nil when its segment does not exist yet.
func (m *Map[V]) bucket(i uint32) *bucket[V] {
	segment, at := place(i)
	s := m.segments[segment].Load()
	if s == nil {
		return nil
	}
	return &(*s)[at]
}

// owned returns bucket i for the writer.
func (m *Map[V]) owned(i uint32) *bucket[V] {
	if b := m.bucket(i); b != nil {
		return b
	}
	segment, at := place(i)
	s := make([]bucket[V], minBuckets<<max(0, segment-1))
	m.segments[segment].Store(&s)
	return &s[at]
}

// place returns where bucket i is.
func place(i uint32) (segment int, at uint32) {
	segment = bits.Len32(i >> minBits)
	if segment == 0 {
		return 0, i
	}
	return segment, i - minBuckets<<(segment-1)
}

// index returns the bucket of a hash where there are n buckets.
func index(h, n uint32) uint32 {
	mask := uint32(1)<<bits.Len32(n-1) - 1
	if i := h & mask; i < n {
		return i
	}
	return h & (mask >> 1)
}

// hash spreads keys over 32 bits (the finalizer of MurmurHash3, which is in the public domain). Whoever chooses keys in order to have them
// collide must be able to put them in.
func hash(key uint64) uint32 {
	key ^= key >> 33
	key *= 0xff51afd7ed558ccd
	key ^= key >> 33
	key *= 0xc4ceb9fe1a85ec53
	return uint32(key ^ key>>33)
}
