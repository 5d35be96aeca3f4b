package stack

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"

	"mipvpn/tun/packet"
)

// maxAssemblies is how many packets in fragments a reassembler holds at once; the oldest goes first. It bounds what a sender
// of fragments that never become whole can take up, 2 MiB, and how old fragments can be that are put together.
const maxAssemblies = 32

// reassembler puts the fragments together that an agent on the way has cut a layer's packet into, as the end of a tunnel must
// (RFC 791 §3.2, RFC 2003 §5.1). What is in the packet shows whether the fragments belonged together: ESP's integrity check,
// or the checksums of the home address's own packet. It is safe for concurrent use.
type reassembler struct {
	mu   sync.Mutex
	open []*assembly // the oldest first
}

// assemblyKey names a packet in fragments. Those that have come out of ESP are never put together with others.
type assemblyKey struct {
	src      netip.Addr
	id       uint16
	protocol uint8
	sa       uint32
}

// assembly is a packet of which fragments have come.
type assembly struct {
	key     assemblyKey
	payload *packet.Buf // with gaps
	header  []byte      // of the first fragment, nil before it has come
	total   int         // length of the payload in octets, -1 before the last fragment has come
	parts   []part      // what is there, by offset
}

// part is octets of the payload, from start on up to but without end.
type part struct{ start, end int }

// add takes a fragment whose IPv4 header has been checked, and owns it. It returns the whole packet when this was the last
// one missing, and else why there is none: Delivered when others are still missing.
func (r *reassembler) add(p *packet.Buf) (*packet.Buf, packet.DropReason) {
	defer p.Release()
	ip := packet.IPv4(p.Bytes())
	key := assemblyKey{ip.Src(), ip.ID(), ip.Protocol(), p.SA}
	octets, start := ip.Payload(), ip.FragmentOffset()
	end := start + len(octets)
	if len(octets) == 0 || ip.MoreFragments() && len(octets)%8 != 0 || end > packet.LargeSize-ip.HeaderLen() {
		return nil, packet.DropMalformed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.open, func(a *assembly) bool { return a.key == key })
	if i < 0 {
		if len(r.open) == maxAssemblies {
			r.forget(0)
		}
		i = len(r.open)
		a := &assembly{key: key, payload: packet.GetLarge(), total: -1}
		r.open = append(r.open, a)
	}
	a := r.open[i]
	if !a.take(ip, octets, start, end) {
		r.forget(i) // fragments that contradict each other
		return nil, packet.DropMalformed
	}
	if !a.whole() {
		return nil, packet.Delivered
	}
	whole := a.packet(p)
	r.forget(i)
	if whole == nil {
		return nil, packet.DropMalformed
	}
	return whole, packet.NotDropped
}

// forget gives assembly i up.
func (r *reassembler) forget(i int) {
	r.open[i].payload.Release()
	r.open = slices.Delete(r.open, i, i+1)
}

// take adds a fragment, or returns false when it does not fit those that are there. The same once more is no contradiction.
func (a *assembly) take(ip packet.IPv4, octets []byte, start, end int) bool {
	if !ip.MoreFragments() {
		if a.total >= 0 && a.total != end {
			return false
		}
		a.total = end
	}
	i, found := slices.BinarySearchFunc(a.parts, start, func(p part, start int) int { return p.start - start })
	if found && a.parts[i].end == end {
		return true
	}
	if found || i > 0 && a.parts[i-1].end > start || i < len(a.parts) && a.parts[i].start < end {
		return false // they overlap (RFC 1858)
	}
	a.parts = slices.Insert(a.parts, i, part{start, end})
	if a.total >= 0 && a.parts[len(a.parts)-1].end > a.total {
		return false
	}
	if start == 0 {
		a.header = slices.Clone(ip[:ip.HeaderLen()])
	}
	if grow := end - a.payload.Len(); grow > 0 {
		a.payload.Extend(grow)
	}
	copy(a.payload.Bytes()[start:], octets)
	return true
}

// whole reports whether nothing is missing.
func (a *assembly) whole() bool {
	next := 0
	for _, p := range a.parts {
		if p.start != next {
			return false
		}
		next = p.end
	}
	return next == a.total
}

// packet returns the packet, with what is known of where it came from as for the fragment last; nil when it is too long.
func (a *assembly) packet(last *packet.Buf) *packet.Buf {
	n := len(a.header) + a.total
	if n > packet.LargeSize {
		return nil
	}
	b := packet.Get(n)
	copy(b.Extend(n), a.header)
	ip := packet.IPv4(b.Bytes())
	copy(ip[len(a.header):], a.payload.Bytes())
	binary.BigEndian.PutUint16(ip[2:], uint16(n))
	ip[6], ip[7] = 0, 0
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:len(a.header)], 0))
	b.Peer, b.Hardware, b.Interface, b.TOS, b.SA = last.Peer, last.Hardware, last.Interface, last.TOS, last.SA
	return b
}
