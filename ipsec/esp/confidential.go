package esp

import "mipvpn/tun/packet"

// Traffic flow confidentiality (RFC 4303 §2.7): padding behind the inner packet, whose own length says where it ends, and dummy
// packets.

// pad returns p with zeros behind it up to n octets, and room for tail more: in place, or in another Buf in the place of p.
func pad(p *packet.Buf, n, tail int) *packet.Buf {
	if len(p.Free()) < n-p.Len()+tail {
		q := packet.Get(n)
		copy(q.Extend(p.Len()), p.Bytes())
		q.CopyMeta(p)
		p.Release()
		p = q
	}
	clear(p.Extend(n - p.Len()))
	return p
}

// sealPadded does what sealSuper does, with a Buf of its own for each segment, in which there is room for the padding.
func (o *Outbound) sealPadded(s *scratch, p *packet.Buf, out *packet.Batch) {
	segments, before := p.Segments(), s.sealed
	c := &s.cutter
	c.Reset(p)
	head := c.HeadLen()
	for s.left > 0 {
		payload, ok := c.Next()
		if !ok {
			break
		}
		q := packet.Get(max(head+len(payload), o.tfc))
		whole := q.Extend(head + len(payload))
		c.PutHead(whole[:head])
		copy(whole[head:], payload)
		q.CopyMeta(p)
		out.Append(o.sealOne(s, q))
	}
	s.dropped += segments - (s.sealed - before)
	p.Release()
}

// Dummy returns an ESP packet that the receiver drops unread (RFC 4303 §2.6, next header 59), of n octets inside, as long as one with
// an inner packet of that length; nil when the hard lifetime is over. The caller owns it. It counts among the packets, not among the
// octets.
func (o *Outbound) Dummy(n int) *packet.Buf {
	n = min(max(n, 0), packet.SmallSize)
	s := scratches.Get().(*scratch)
	defer s.release()
	s.sealed = 0
	if s.seq, s.left = o.reserve(1); s.left == 0 {
		return nil
	}
	p := packet.Get(n)
	clear(p.Extend(n))
	t := o.trailerLen(n)
	trailer := p.Extend(t + o.cipher.ICVLen())[:t]
	putTrailer(trailer)
	trailer[t-1] = nextHeaderDummy
	p.Push(headerLen + o.cipher.IVLen())
	whole := p.Bytes()
	o.seal(s, whole, whole[headerLen+o.cipher.IVLen():len(whole)-o.cipher.ICVLen()])
	o.usage.add(1, 0)
	return p
}
