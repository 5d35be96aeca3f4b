package simnet

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// reassemblyTime is how long the fragments of a packet are kept (RFC 1122 §3.3.2 asks for 60 to 120 s; Linux takes 30 s).
const reassemblyTime = 30 * time.Second

// maxReassemblies bounds the packets that a host puts together at one time.
const maxReassemblies = 1024

// fragmentKey names a packet in fragments (RFC 791 §3.2).
type fragmentKey struct {
	src, dst netip.Addr
	protocol uint8
	id       uint16
}

// reassembly is a packet of which fragments have come.
type reassembly struct {
	parts []packet.IPv4 // by offset
	e     *event
}

// fragment cuts a packet into pieces of at most mtu octets (RFC 791 §3.2). Options are not copied, since none are
// written.
func fragment(ip packet.IPv4, mtu int) []packet.IPv4 {
	header, payload := ip[:ip.HeaderLen()], ip.Payload()
	size := (mtu - len(header)) &^ 7
	if size <= 0 {
		return nil
	}
	var out []packet.IPv4
	for off := 0; off < len(payload); off += size {
		end := min(off+size, len(payload))
		p := make(packet.IPv4, 0, len(header)+end-off)
		p = append(append(p, header...), payload[off:end]...)
		field := uint16((ip.FragmentOffset() + off) / 8)
		if end < len(payload) || ip.MoreFragments() {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[6:], field)
		rewriteChecksum(p)
		out = append(out, p)
	}
	return out
}

// rewriteChecksum computes the header checksum.
func rewriteChecksum(p packet.IPv4) {
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:p.HeaderLen()], 0))
}

// reassemble returns ip when it is whole, the whole packet when it is the last fragment missing, else nil.
func (h *Host) reassemble(ip packet.IPv4) packet.IPv4 {
	if ip.FragmentOffset() == 0 && !ip.MoreFragments() {
		return ip
	}
	if ip.FragmentOffset()+len(ip.Payload()) > packet.LargeSize-ip.HeaderLen() {
		h.drops.Count(packet.DropMalformed, 1)
		return nil
	}
	key := fragmentKey{ip.Src(), ip.Dst(), ip.Protocol(), ip.ID()}
	r := h.fragments[key]
	if r == nil {
		if len(h.fragments) >= maxReassemblies {
			h.drops.Count(packet.DropQueueFull, 1)
			return nil
		}
		r = &reassembly{}
		r.e = h.after(reassemblyTime, func() { delete(h.fragments, key) })
		h.fragments[key] = r
	}
	i, found := slices.BinarySearchFunc(r.parts, ip.FragmentOffset(), func(p packet.IPv4, off int) int {
		return p.FragmentOffset() - off
	})
	if found {
		return nil // a duplicate
	}
	r.parts = slices.Insert(r.parts, i, ip)
	next := 0
	for _, p := range r.parts {
		if p.FragmentOffset() != next {
			return nil
		}
		next += len(p.Payload())
	}
	if r.parts[len(r.parts)-1].MoreFragments() {
		return nil
	}
	h.net.cancel(r.e)
	delete(h.fragments, key)
	first := r.parts[0]
	whole := make(packet.IPv4, 0, first.HeaderLen()+next)
	whole = append(whole, first[:first.HeaderLen()]...)
	for _, p := range r.parts {
		whole = append(whole, p.Payload()...)
	}
	binary.BigEndian.PutUint16(whole[2:], uint16(len(whole)))
	binary.BigEndian.PutUint16(whole[6:], 0)
	rewriteChecksum(whole)
	return whole
}
