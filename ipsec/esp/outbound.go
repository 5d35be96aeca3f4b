package esp

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Outbound is the sending half of a child SA. It is a link.Step.
type Outbound struct {
	spi           uint32
	cipher        suite.Cipher
	esn           bool
	tail          int // most octets that are added behind a packet
	local, remote []compiled
	limit         uint64 // highest sequence number that may be used
	maxBytes      uint64
	drops         *packet.Drops

	sequence atomic.Uint64 // last one reserved
	usage    counters
}

// aads holds additional authenticated data of SAs with extended sequence numbers, whose upper half is not in the packet.
var aads = sync.Pool{New: func() any { return new([12]byte) }}

// NewOutbound returns the sending half made from p. Packets that it drops are counted in drops. Errors: ErrSPI, and those
// of suite.Encryption.NewCipher.
func NewOutbound(p Parameters, drops *packet.Drops) (*Outbound, error) {
	c, err := p.cipher()
	if err != nil {
		return nil, err
	}
	o := &Outbound{spi: p.SPI, cipher: c, esn: p.ESN, tail: max(maxPad, c.Align()-1) + trailerLen + c.ICVLen(),
		local: compile(p.Local), remote: compile(p.Remote), limit: math.MaxUint32, maxBytes: limitOr(p.MaxBytes), drops: drops}
	if p.ESN {
		o.limit = math.MaxUint64
	}
	return o, nil
}

func limitOr(n uint64) uint64 {
	if n == 0 {
		return math.MaxUint64
	}
	return n
}

// SPI returns the SPI that the packets carry, in host order.
func (o *Outbound) SPI() uint32 { return o.spi }

// Usage returns what the SA has carried so far.
func (o *Outbound) Usage() Usage { return o.usage.read() }

// Spent reports whether three quarters of the sequence numbers or of the octets are used up, so that the SA is to be
// rekeyed (RFC 4301 §4.4.2.1, a soft lifetime).
func (o *Outbound) Spent() bool {
	return o.sequence.Load() > o.limit-o.limit/4 || o.usage.bytes.Load() > o.maxBytes-o.maxBytes/4
}

// Matches reports whether the IPv4 packet p is one that the SA is for.
func (o *Outbound) Matches(p packet.IPv4) bool {
	if !p.Valid() {
		return false
	}
	src, dst := sides(p)
	return src.matches(o.local) && dst.matches(o.remote)
}

// Apply implements link.Step. Each packet must be a whole IPv4 packet; it becomes an ESP packet, and its Buf.TOS becomes
// the TOS octet for the outer header: that of the inner one (RFC 4301 §5.1.2.1, RFC 6040 §4.1). Packets that are
// malformed, do not match the selectors, or come when the sequence numbers or octets are used up (they never wrap,
// RFC 4303 §3.3.3) are dropped.
func (o *Outbound) Apply(b *packet.Batch) {
	b.Keep(o.drops, func(p *packet.Buf) packet.DropReason {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || ip.TotalLen() != p.Len() {
			return packet.DropMalformed
		}
		if !o.Matches(ip) {
			return packet.DropSelector
		}
		if len(p.Free()) < o.tail {
			return packet.DropTooBig
		}
		return packet.NotDropped
	})
	n := uint64(b.Len())
	if n == 0 {
		return
	}
	if o.usage.bytes.Load() >= o.maxBytes {
		o.exhausted(b)
		return
	}
	first, count := o.reserve(n)
	if count < n {
		if count == 0 {
			o.exhausted(b)
			return
		}
		for _, p := range b.Bufs[count:] {
			o.drops.Count(packet.DropSAExhausted, 1)
			p.Release()
		}
		clear(b.Bufs[count:])
		b.Bufs = b.Bufs[:count]
	}
	o.usage.add(b.Len(), b.Bytes())
	for i, p := range b.Bufs {
		o.seal(p, first+uint64(i))
	}
}

func (o *Outbound) exhausted(b *packet.Batch) {
	b.Keep(o.drops, func(*packet.Buf) packet.DropReason { return packet.DropSAExhausted })
}

// reserve takes n sequence numbers, or as many as there are left, and returns the first and how many.
func (o *Outbound) reserve(n uint64) (first, count uint64) {
	for {
		last := o.sequence.Load()
		count = min(n, o.limit-last)
		if count == 0 || o.sequence.CompareAndSwap(last, last+count) {
			return last + 1, count
		}
	}
}

// seal turns the IPv4 packet in p into an ESP packet with the sequence number seq.
func (o *Outbound) seal(p *packet.Buf, seq uint64) {
	p.TOS = packet.IPv4(p.Bytes()).TOS()
	align := max(maxPad+1, o.cipher.Align())
	pad := (align - (p.Len()+trailerLen)%align) % align
	trailer := p.Extend(pad + trailerLen + o.cipher.ICVLen())
	for i := range pad {
		trailer[i] = byte(i + 1) // RFC 4303 §2.4
	}
	trailer[pad], trailer[pad+1] = byte(pad), nextHeaderIPv4
	p.Push(headerLen + o.cipher.IVLen())
	whole := p.Bytes()
	binary.BigEndian.PutUint32(whole, o.spi)
	binary.BigEndian.PutUint32(whole[4:], uint32(seq))
	if !o.esn {
		o.cipher.Seal(whole[:headerLen], whole[headerLen:], seq)
		return
	}
	aad := aads.Get().(*[12]byte)
	putAAD(aad, o.spi, seq)
	o.cipher.Seal(aad[:], whole[headerLen:], seq)
	aads.Put(aad)
}

// putAAD writes SPI and extended sequence number (RFC 4106 §5, Figure 4).
func putAAD(aad *[12]byte, spi uint32, seq uint64) {
	binary.BigEndian.PutUint32(aad[:], spi)
	binary.BigEndian.PutUint64(aad[4:], seq)
}
