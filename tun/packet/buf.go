package packet

import (
	"fmt"
	"net/netip"
	"sync"
)

const (
	// Headroom is the room in octets that a fresh Buf has in front of its packet. The deepest mode, cvc with UDP
	// encapsulation in every layer, takes 108: i-MIP 4+8+20, ESP header and IV 16, UDP 8, IPv4 20, x-MIP 4+8+20 (of which a
	// kernel socket writes 28 itself). fvc takes 100: the same up to ESP's IPv4, then Ethernet 14 and virtio-net 10. stack
	// tests the sums for each mode.
	Headroom = 128
	// Tailroom is the room in octets behind the packet: ESP padding up to 15, pad length and next header 2, ICV up to 32.
	Tailroom = 64
	// SmallSize is the largest packet, in octets, that a Buf of GetSmall carries besides its rooms.
	SmallSize = 2048
	// LargeSize is the largest packet, in octets, that a Buf of GetLarge carries besides its rooms: an IPv4 packet at its
	// greatest total length.
	LargeSize = 65535
)

// HardwareAddr is an IEEE 802 MAC-48 address in transmission order. The zero value means none. It is comparable.
type HardwareAddr [6]byte

// String writes the address as six colon-separated hexadecimal octets.
func (h HardwareAddr) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", h[0], h[1], h[2], h[3], h[4], h[5])
}

// IsZero reports whether h is no address.
func (h HardwareAddr) IsZero() bool { return h == HardwareAddr{} }

// Buf is one packet in a pooled slot. Bytes() is the packet as it stands; Push and Pull move its front, Extend and Trim
// its end.
type Buf struct {
	slot  []byte
	off   int
	end   int
	class class
	slab  *Slab // that the slot is a part of; nil for a slot of its own
	super super
	sum   uint32 // of Bytes, with knownSum set; 0 while it is not known
	debugState

	// Peer is the other end of the outermost header that has been stripped (on receipt) or that an unconnected flow sends
	// to (on sending). The port is zero for protocols without ports.
	Peer netip.AddrPort
	// Hardware is the link-layer source (on receipt from Frames) or destination (on sending to Frames).
	Hardware HardwareAddr
	// Interface is the index of the interface that the packet arrived on; 0 where that is not known.
	Interface int
	// TOS is the type-of-service octet (DSCP and ECN) of the outermost header that has been stripped or is to be written.
	TOS uint8
	// TTL is the time to live of the outermost header that is to be written, 0 for the usual one. From a flow of minimal
	// encapsulation, whose packets have no other, it is that of the header that has been stripped (RFC 2004 §3).
	TTL uint8
	// ID is the identification of the header that has been stripped, from a flow of minimal encapsulation alone.
	ID uint16
	// SA is the SPI, in host order, of the inbound ESP security association that has authenticated the packet; 0 while
	// the packet has come out of none.
	SA uint32
	// DontFragment has the outermost header that is to be written bear DF: a tunnel copies it from the packet that it
	// carries (RFC 2003 §3.1), ESP clears it (RFC 4301 §8.1). From a flow of minimal encapsulation it says that the header that
	// has been stripped bore DF.
	DontFragment bool
	// Probe marks a path MTU probe: every header that is written bears DF, whatever DontFragment says.
	Probe bool
}

// Whole reports whether the header that is to be written must bear DF.
func (b *Buf) Whole() bool { return b.DontFragment || b.Probe }

// class is what a Buf has its slot from, and so the pool that it goes back to.
type class uint8

const (
	classSmall class = iota
	classLarge
	classView // a part of a Slab
	numClasses
)

var pools = [numClasses]sync.Pool{
	classSmall: {New: func() any { return &Buf{slot: make([]byte, Headroom+SmallSize+Tailroom), class: classSmall} }},
	classLarge: {New: func() any { return &Buf{slot: make([]byte, Headroom+LargeSize+Tailroom), class: classLarge} }},
	classView:  {New: func() any { return &Buf{class: classView} }},
}

// GetSmall returns an empty Buf whose packet may grow to SmallSize octets.
func GetSmall() *Buf { return pools[classSmall].Get().(*Buf).fresh() }

// GetLarge returns an empty Buf whose packet may grow to LargeSize octets.
func GetLarge() *Buf { return pools[classLarge].Get().(*Buf).fresh() }

// Get returns an empty Buf whose packet may grow to at least n octets. It panics for n over LargeSize.
func Get(n int) *Buf {
	switch {
	case n <= SmallSize:
		return GetSmall()
	case n <= LargeSize:
		return GetLarge()
	}
	panic(fmt.Sprintf("packet: a buffer of %d octets was asked for, at most %d are possible", n, LargeSize))
}

// From returns a Buf that holds a copy of p. It panics when p is longer than LargeSize.
func From(p []byte) *Buf {
	b := Get(len(p))
	copy(b.Extend(len(p)), p)
	return b
}

func (b *Buf) fresh() *Buf {
	b.debugGet(b.slot)
	slot, from, state := b.slot, b.class, b.debugState
	*b = Buf{slot: slot, class: from, debugState: state, off: Headroom, end: Headroom}
	return b
}

// Release gives the slot back. The caller must not touch the Buf or any slice of it afterwards.
func (b *Buf) Release() {
	b.debugRelease(b.slot)
	from := b.class
	if from == classView {
		slab := b.slab
		b.slot, b.slab = nil, nil
		pools[from].Put(b)
		slab.Release()
		return
	}
	pools[from].Put(b)
}

// Bytes returns the packet. The slice is valid until the next Push, Extend or Release and its capacity ends with it.
func (b *Buf) Bytes() []byte { return b.slot[b.off:b.end:b.end] }

// Len returns the length of the packet in octets.
func (b *Buf) Len() int { return b.end - b.off }

// Free returns the whole room behind the packet's end for a reader to fill; follow with Extend for what was filled.
func (b *Buf) Free() []byte { return b.slot[b.end:len(b.slot):len(b.slot)] }

// Room returns the octets left in front of the packet.
func (b *Buf) Room() int { return b.off }

// knownSum is set in Buf.sum beside the 16 bits of the sum.
const knownSum = 1 << 16

// SetSum notes the ones' complement sum of the packet's octets, not complemented, in host order (PartialSum): whoever has
// verified a checksum over them knows it, and whoever is to verify one within them need not sum them again. It holds until the
// packet grows or shrinks, but for Pull; who changes octets mends a checksum that is among them, which leaves the sum as it is,
// or calls ForgetSum.
func (b *Buf) SetSum(sum uint16) { b.sum = knownSum | uint32(sum) }

// Sum returns what SetSum noted, and false when the sum is not known.
func (b *Buf) Sum() (uint16, bool) { return uint16(b.sum), b.sum != 0 }

// ForgetSum makes the sum unknown.
func (b *Buf) ForgetSum() { b.sum = 0 }

// Push grows the packet by n octets in front and returns them, not cleared. A view of a Slab without the room gets a slot of
// its own. It panics when the headroom is exhausted, which is an error of the program: the compiled pipeline knows its
// overhead.
func (b *Buf) Push(n int) []byte {
	if n > b.off && b.slab != nil {
		b.own(b.Len())
	}
	if n < 0 || n > b.off {
		panic(fmt.Sprintf("packet: push of %d octets with %d octets of headroom", n, b.off))
	}
	b.off -= n
	b.sum = 0
	return b.slot[b.off : b.off+n : b.off+n]
}

// Pull takes n octets off the front and returns them, or false when the packet is shorter.
func (b *Buf) Pull(n int) ([]byte, bool) {
	if n < 0 || n > b.Len() {
		return nil, false
	}
	p := b.slot[b.off : b.off+n : b.off+n]
	b.off += n
	if b.sum != 0 {
		b.pullSum(p)
	}
	return p, true
}

// pullSum takes the octets p out of the sum.
func (b *Buf) pullSum(p []byte) {
	if len(p)%2 != 0 { // the others have changed places
		b.sum = 0
		return
	}
	b.SetSum(fold(uint64(uint16(b.sum)) + uint64(^fold(sum(p, 0)))))
}

// Extend grows the packet by n octets at its end and returns them, not cleared. A view of a Slab without the room gets a
// slot of its own. It panics when the slot is too small.
func (b *Buf) Extend(n int) []byte {
	if n > len(b.slot)-b.end && b.slab != nil {
		b.own(b.Len() + n - Tailroom)
	}
	if n < 0 || n > len(b.slot)-b.end {
		panic(fmt.Sprintf("packet: extension by %d octets with %d octets left", n, len(b.slot)-b.end))
	}
	p := b.slot[b.end : b.end+n : b.end+n]
	b.end += n
	b.sum = 0
	return p
}

// Trim shortens the packet to n octets, or returns false when it is shorter than that already.
func (b *Buf) Trim(n int) bool {
	if n < 0 || n > b.Len() {
		return false
	}
	if b.off+n != b.end {
		b.end, b.sum = b.off+n, 0
	}
	return true
}
