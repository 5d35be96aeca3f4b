package packet

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// SlabSize is the octets of a Slab: a UDP_GRO train or a superpacket at its longest, with rooms and headers for some 50
// segments.
const SlabSize = 96 << 10

// Slab is memory that several Bufs share, its views: a train of datagrams as it was received, or the sealed segments of a
// superpacket. It goes back to its pool when it and all its views have been released, in any order and from any goroutine.
type Slab struct {
	mem  []byte
	refs atomic.Int32
	debugState
}

var slabPool = sync.Pool{New: func() any { return &Slab{mem: make([]byte, SlabSize)} }}

// GetSlab returns a slab whose content is undefined. The caller releases it once it makes no more views.
func GetSlab() *Slab {
	s := slabPool.Get().(*Slab)
	s.debugGet(s.mem)
	s.refs.Store(1)
	return s
}

// Bytes returns the whole of it.
func (s *Slab) Bytes() []byte { return s.mem }

// View returns a Buf whose packet is the octets from `from` up to `to`, and which may grow down to floor and up to ceil.
// What lies between floor and ceil belongs to it until it is released. It panics unless
// 0 <= floor <= from <= to <= ceil <= SlabSize.
func (s *Slab) View(floor, from, to, ceil int) *Buf {
	if floor < 0 || floor > from || from > to || to > ceil || ceil > len(s.mem) {
		panic(fmt.Sprintf("packet: view of octets %d to %d within %d to %d of a slab", from, to, floor, ceil))
	}
	s.refs.Add(1)
	b := pools[classView].Get().(*Buf)
	b.debugGet(nil)
	state := b.debugState
	*b = Buf{slot: s.mem[floor:ceil:ceil], class: classView, slab: s, debugState: state, off: from - floor, end: to - floor}
	return b
}

// Release gives up one hold on the slab: the caller's, who must not touch its memory afterwards. Views hold it on their own.
func (s *Slab) Release() {
	switch n := s.refs.Add(-1); {
	case n == 0:
		s.debugRelease(s.mem)
		slabPool.Put(s)
	case n < 0:
		panic("packet: a slab was released too often")
	}
}

// own moves a view into a slot of its own that holds n octets at least.
func (b *Buf) own(n int) {
	o := Get(max(n, b.Len()))
	copy(o.Extend(b.Len()), b.Bytes())
	slab, region := b.slab, b.slot
	b.slot, b.class, b.slab = o.slot, o.class, nil
	b.off, b.end = o.off, o.end
	o.slot, o.class = region, classView
	o.debugRelease(region)
	o.slot = nil
	pools[classView].Put(o)
	slab.Release()
}
