package esp

import (
	"encoding/binary"
	"sync/atomic"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Outbound is the sending half of a child SA. It is a link.Step.
type Outbound struct {
	spi           uint32
	cipher        suite.Cipher
	esn           bool
	tail          int // most octets that are added behind a packet, Tailroom at most
	local, remote []compiled
	tfc           int    // shorter packets are padded to this length
	limits        limits // hard.Packets is the highest sequence number that may be used
	drops         *packet.Drops

	sequence atomic.Uint64 // last one reserved
	usage    counters
}

// NewOutbound returns the sending half made from p. Packets that it drops are counted in drops. Errors: ErrSPI, and those
// of suite.Encryption.NewCipher.
func NewOutbound(p Parameters, drops *packet.Drops) (*Outbound, error) {
	c, err := p.cipher()
	if err != nil {
		return nil, err
	}
	o := &Outbound{spi: p.SPI, cipher: c, esn: p.ESN, tail: maxPad(p.Encryption) + trailerLen + c.ICVLen(),
		local: compile(p.Local), remote: compile(p.Remote), drops: drops}
	o.limits.set(p)
	o.tfc = min(p.TFC, packet.SmallSize)
	return o, nil
}

// SPI returns the SPI that the packets carry, in host order.
func (o *Outbound) SPI() uint32 { return o.spi }

// Usage returns what the SA has carried so far.
func (o *Outbound) Usage() Usage { return o.usage.read() }

// Fits returns the octets of the largest packet that Apply makes an ESP packet of n octets at most of, 0 when there is none.
// Every smaller one fits too: it takes no more padding than it is shorter. It can be larger than n less Overhead, which is for
// the length with the most padding.
func (o *Outbound) Fits(n int) int {
	align := max(align, o.cipher.Align())
	text := n - headerLen - o.cipher.IVLen() - o.cipher.ICVLen()
	return max(text-text%align-trailerLen, 0)
}

// Spent reports whether the soft lifetime is over, so that the SA is to be rekeyed: RekeyBytes, RekeyPackets, or three
// quarters of the sequence numbers.
func (o *Outbound) Spent() bool { return o.limits.spent(o.used()) }

// Exhausted reports whether the hard lifetime is over, so that nothing more can leave.
func (o *Outbound) Exhausted() bool { return o.limits.exhausted(o.used()) }

// LifeOver reports once for the soft and once for the hard lifetime that it is over: what uses the SA asks after each batch,
// and says Machine.HandleSpent of ipsec/ike.
func (o *Outbound) LifeOver() bool { return o.limits.due(o.used()) }

// Sent returns how many ESP packets have been sealed, dummy packets included.
func (o *Outbound) Sent() uint64 { return o.sequence.Load() }

// used is the usage in sequence numbers, dummy packets included.
func (o *Outbound) used() Usage {
	return Usage{Packets: o.sequence.Load(), Bytes: o.usage.bytes.Load()}
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
// the TOS octet for the outer header: that of the inner one (RFC 4301 §5.1.2.1, RFC 6040 §4.1). Ordinary packets are sealed
// in place. In place of a superpacket come its segments, sealed, as ordinary packets that are views of a slab with Headroom
// octets in front and all else as the superpacket had it. Packets that are malformed, do not match the selectors, or come
// when the sequence numbers or octets are used up (they never wrap, RFC 4303 §3.3.3) are dropped; of a superpacket the first
// segments leave for which there are numbers.
func (o *Outbound) Apply(b *packet.Batch) {
	b.Keep(o.drops, func(p *packet.Buf) packet.DropReason {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || ip.TotalLen() != p.Len() && (!p.Super() || ip.TotalLen() != p.SegmentLen()) {
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
	if b.Len() == 0 {
		return
	}
	s := scratches.Get().(*scratch)
	s.sealed, s.dropped, s.octets = 0, 0, 0
	s.seq, s.left = 0, 0
	if o.usage.bytes.Load() < o.limits.hard.Bytes {
		s.seq, s.left = o.reserve(uint64(b.Segments()))
	}
	o.sealBatch(s, b)
	o.usage.add(s.sealed, s.octets)
	o.drops.Count(packet.DropSAExhausted, s.dropped)
	s.release()
}

// reserve takes n sequence numbers, or as many as there are left, and returns the first and how many.
func (o *Outbound) reserve(n uint64) (first, count uint64) {
	for {
		last := o.sequence.Load()
		count = min(n, o.limits.hard.Packets-last)
		if count == 0 || o.sequence.CompareAndSwap(last, last+count) {
			return last + 1, count
		}
	}
}

// sealBatch seals the packets of the batch with the sequence numbers that are reserved, and drops what comes after them.
func (o *Outbound) sealBatch(s *scratch, b *packet.Batch) {
	for i, p := range b.Bufs {
		if p.Super() || s.left == 0 {
			o.sealRest(s, b, i)
			return
		}
		b.Bufs[i] = o.sealOne(s, p)
	}
}

// sealRest seals the packets of the batch from the one at i on, of which there may come out more or fewer.
func (o *Outbound) sealRest(s *scratch, b *packet.Batch, i int) {
	old := packet.GetBatch()
	old.Bufs, b.Bufs = b.Bufs, append(old.Bufs, b.Bufs[:i]...)
	for _, p := range old.Bufs[i:] {
		switch {
		case s.left == 0:
			s.dropped += p.Segments()
			p.Release()
		case p.Super() && o.tfc > 0:
			o.sealPadded(s, p, b)
		case p.Super():
			o.sealSuper(s, p, b)
		default:
			b.Append(o.sealOne(s, p))
		}
	}
	old.Forget()
}

// sealOne turns the IPv4 packet in p into an ESP packet, in place unless it is padded and there is no room for that. It returns
// the packet.
func (o *Outbound) sealOne(s *scratch, p *packet.Buf) *packet.Buf {
	s.octets += p.Len()
	p.TOS = packet.IPv4(p.Bytes()).TOS()
	if p.Len() < o.tfc {
		p = pad(p, o.tfc, o.tail)
	}
	n := o.trailerLen(p.Len())
	putTrailer(p.Extend(n + o.cipher.ICVLen())[:n])
	p.Push(headerLen + o.cipher.IVLen())
	whole := p.Bytes()
	o.seal(s, whole, whole[headerLen+o.cipher.IVLen():len(whole)-o.cipher.ICVLen()])
	return p
}

// seal writes the ESP packet of text, which ends with its trailer, into whole, with the next sequence number.
func (o *Outbound) seal(s *scratch, whole, text []byte) {
	binary.BigEndian.PutUint32(whole, o.spi)
	binary.BigEndian.PutUint32(whole[4:], uint32(s.seq))
	o.cipher.SealTo(&s.cipher, whole[headerLen:], s.aadOf(whole, o.esn, o.spi, s.seq), text, s.seq)
	s.seq++
	s.left--
	s.sealed++
}

// trailerLen returns the octets of padding, pad length and next header that belong behind a packet of n octets.
func (o *Outbound) trailerLen(n int) int {
	align := max(align, o.cipher.Align())
	return trailerLen + (align-(n+trailerLen)%align)%align
}

// putTrailer fills t with padding, pad length and next header.
func putTrailer(t []byte) {
	pad := len(t) - trailerLen
	for i := range pad {
		t[i] = byte(i + 1) // RFC 4303 §2.4
	}
	t[pad], t[pad+1] = byte(pad), nextHeaderIPv4
}
