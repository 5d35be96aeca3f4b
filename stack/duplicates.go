package stack

import (
	"hash/maphash"
	"sync"

	"mipvpn/tun/packet"
)

// A filter of duplicates remembers duplicateSets * duplicateWays packets, what comes within some tens of milliseconds on a
// fast path: of each set, the last ones.
const (
	duplicateSets = 2048
	duplicateWays = 4
)

// route names where a packet came in: each care-of address that a home agent sends copies to has its own.
type route uint8

// routeVPN is the route of what came through an ESP SA.
const routeVPN route = 0

// numRoutes is how many routes are told apart: the others are given in turn to what receives in the clear, of which few live
// at once.
const numRoutes = 8

// duplicates drops the second copies that a home agent with simultaneous bindings makes (RFC 5944 §4.2.3: one for each care-of
// address). A copy is known by what no router on the way changes. What an application sends twice comes twice by each
// route and so is delivered twice: only as many copies are dropped as another route has already brought.
type duplicates struct {
	seed maphash.Seed
	mu   sync.Mutex
	sets [duplicateSets]struct {
		ways [duplicateWays]copies
		next uint8 // the one that is forgotten next
	}
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
	set := &d.sets[sum/2%duplicateSets] // the lowest bit is always set
	var s *copies
	for i := range set.ways {
		if set.ways[i].sum == sum {
			s = &set.ways[i]
		}
	}
	if s == nil {
		s = &set.ways[set.next]
		*s = copies{sum: sum}
		set.next = (set.next + 1) % duplicateWays
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
	var fields [8]byte
	copy(fields[:], ip[2:8]) // total length, identification, flags and fragment offset
	fields[6] = ip.Protocol()
	sum := maphash.Bytes(d.seed, fields[:])
	sum = sum*0x9e3779b97f4a7c15 + maphash.Bytes(d.seed, ip[12:ip.TotalLen()]) // addresses, options, payload
	return sum | 1                                                             // 0 is an empty slot
}
