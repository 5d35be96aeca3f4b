package tunnel

import (
	"encoding/binary"

	"mipvpn/tun/packet"
)

// minMTU is the smallest MTU of an IPv4 link (RFC 791 §3.2).
const minMTU = 68

// Fragment cuts the IPv4 packet in p into fragments of at most mtu octets, which it appends to out, and releases p
// (RFC 791 §3.2). A packet that fits is appended as it is. It returns a reason, p staying the caller's, when p may not
// be fragmented (DF) or is malformed, or mtu is under 68. Fragments take over p's metadata. A superpacket counts by its
// segments: one whose segments fit stays whole, of one that must be fragmented each segment is.
func Fragment(p *packet.Buf, mtu int, out *packet.Batch) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() {
		return packet.DropMalformed
	}
	n := ip.TotalLen()
	if p.Super() {
		n = p.SegmentLen()
	}
	if n <= mtu {
		if !p.Super() {
			p.Trim(n)
		}
		out.Append(p)
		return packet.NotDropped
	}
	if ip.DontFragment() || mtu < minMTU {
		return packet.DropTooBig
	}
	if p.Super() {
		segments := packet.One(p)
		segments.Cut()
		for _, q := range segments.Bufs {
			_ = Fragment(q, mtu, out) // whole and without DF: nothing is in the way
		}
		segments.Forget()
		return packet.NotDropped
	}
	payload, base, last := ip.Payload(), ip.FragmentOffset(), !ip.MoreFragments()
	if base+len(payload) > 0xffff {
		return packet.DropMalformed
	}
	var later [packet.IPv4Len + maxOptions]byte
	header, next := ip[:ip.HeaderLen()], laterHeader(ip, later[:])
	for done := 0; done < len(payload); header = next {
		n := len(payload) - done
		if room := mtu - len(header); n > room {
			n = room &^ 7 // fragment offsets count units of 8 octets
		}
		f := packet.Get(len(header) + n)
		f.Peer, f.Hardware, f.Interface, f.TOS, f.TTL, f.SA = p.Peer, p.Hardware, p.Interface, p.TOS, p.TTL, p.SA
		copy(f.Extend(len(header)), header)
		copy(f.Extend(n), payload[done:done+n])
		more := uint16(0)
		if done+n < len(payload) || !last {
			more = 0x2000
		}
		h := packet.IPv4(f.Bytes())
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)))
		binary.BigEndian.PutUint16(h[6:], more|uint16((base+done)/8))
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], packet.Checksum(h[:len(header)], 0))
		out.Append(f)
		done += n
	}
	p.Release()
	return packet.NotDropped
}

// maxOptions is the most octets of options that an IPv4 header has.
const maxOptions = 40

// laterHeader writes the header of the fragments after the first into buf: the options without the copied flag are left
// out (RFC 791 §3.1), and the rest is padded to 32 bits.
func laterHeader(ip packet.IPv4, buf []byte) []byte {
	h := append(buf[:0], ip[:packet.IPv4Len]...)
	for opts := ip[packet.IPv4Len:ip.HeaderLen()]; len(opts) > 0; {
		n := 1
		switch {
		case opts[0] == 0: // end of option list
			n = len(opts)
		case opts[0] == 1: // no operation
		case len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts):
			n = len(opts) // malformed: nothing after it can be understood
		default:
			n = int(opts[1])
			if opts[0]&0x80 != 0 {
				h = append(h, opts[:n]...)
			}
		}
		opts = opts[n:]
	}
	for len(h)%4 != 0 {
		h = append(h, 0)
	}
	h[0] = 0x40 | uint8(len(h)/4)
	return h
}
