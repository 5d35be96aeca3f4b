package stack

import (
	"hash/maphash"
	"sync"

	"mipvpn/tun/packet"
)

// duplicateSlots is how many packets a filter of duplicates remembers: what comes within some tens of milliseconds on a fast
// path. A power of 2.
const duplicateSlots = 8192

// route names where a packet came in: each care-of address that a home agent sends copies to has its own.
type route uint8

const (
	routeVPN  route = 0 // through an ESP SA
	numRoutes       = 8 // the others are given in turn to what receives in the clear; few live at once
)

// duplicates drops the second copies that a home agent with simultaneous bindings makes (RFC 5944 §4.2.3: one for each care-of
// address). A copy is known by what no router on the way changes. What an application sends twice comes twice by each
// route and so is delivered twice: only as many copies are dropped as another route has already brought.
type duplicates struct {
	seed  maphash.Seed
	mu    sync.Mutex
	slots [duplicateSlots]copies
}

// copies counts the copies of one packet that have come by each route.
type copies struct {
	sum       uint64
	delivered uint8
	came      [numRoutes]uint8
}

func newDuplicates() *duplicates { return &duplicates{seed: maphash.MakeSeed()} }

// second reports whether the packet is a copy of one that has been delivered.
func (d *duplicates) second(ip packet.IPv4, via route) bool {
	sum := d.sum(ip)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &d.slots[sum%duplicateSlots]
	if s.sum != sum {
		*s = copies{sum: sum}
	}
	if s.came[via] < 255 {
		s.came[via]++
	}
	if s.came[via] <= s.delivered {
		return true
	}
	s.delivered = s.came[via]
	return false
}

// sum returns a hash of the packet without its TTL, TOS and header checksum, which change on the way.
func (d *duplicates) sum(ip packet.IPv4) uint64 {
	var h maphash.Hash
	h.SetSeed(d.seed)
	n := ip.TotalLen()
	h.Write(ip[2:8])     // total length, identification, flags and fragment offset
	h.Write(ip[9:10])    // protocol
	h.Write(ip[12:n:n])  // addresses, options, payload
	return h.Sum64() | 1 // 0 is an empty slot
}
