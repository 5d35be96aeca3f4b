package esp

import "mipvpn/tun/packet"

// Headroom is the room in octets in front of each packet that Outbound makes of a superpacket, for what is pushed below
// ESP. The most is 60, of the mode cvc with UDP encapsulation in every layer: UDP 8 (RFC 3948), IPv4 20, and of x-MIP 4 + UDP
// 8 + IPv4 20. The mode fvc has 52: UDP 8, IPv4 20, Ethernet 14, virtio-net 10. It is rounded up so that the ciphertext of
// each packet begins at a multiple of 16.
const Headroom = 64

// sealSuper seals the segments of the superpacket p and appends them to out. Each segment's head is written in front of its
// payload, over the end of the payload before, which has been sealed; its trailer behind the payload, over the beginning of
// the next, which is put back; and from there it is sealed into a slab, so that nothing is copied. It releases p.
func (o *Outbound) sealSuper(s *scratch, p *packet.Buf, out *packet.Batch) {
	p.TOS = packet.IPv4(p.Bytes()).TOS()
	segments, before := p.Segments(), s.sealed
	c := &s.cutter
	c.Reset(p)
	mem, head := c.Memory(), c.HeadLen()
	added := headerLen + o.cipher.IVLen() + o.cipher.ICVLen()
	for s.left > 0 {
		payload, ok := c.Next()
		if !ok {
			break
		}
		from, end := c.PayloadAt()-head, c.PayloadAt()+len(payload)
		c.PutHead(mem[from : from+head])
		trailer := mem[end : end+o.trailerLen(end-from)]
		copy(s.saved[:], trailer)
		putTrailer(trailer)
		q := s.view(added + end - from + len(trailer))
		o.seal(s, q.Bytes(), mem[from:end+len(trailer)])
		copy(trailer, s.saved[:])
		s.octets += end - from
		q.CopyMeta(p)
		out.Append(q)
	}
	s.dropped += segments - (s.sealed - before)
	p.Release()
}

// view returns a Buf of n octets, with Headroom in front of them, out of the slab or a fresh one.
func (s *scratch) view(n int) *packet.Buf {
	if s.slab == nil || s.at+Headroom+n > packet.SlabSize {
		if s.slab != nil {
			s.slab.Release()
		}
		s.slab, s.at = packet.GetSlab(), 0
	}
	from := s.at + Headroom
	q := s.slab.View(s.at, from, from+n, from+n)
	s.at = (from + n + 15) &^ 15
	return q
}
