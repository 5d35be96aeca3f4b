package tunnel

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"mipvpn/tun/packet"
)

// linkGroups are the groups that stay on their link, whose datagrams no router forwards and no host need join by IGMP to be sent
// them (RFC 5771 §4).
var linkGroups = netip.PrefixFrom(netip.AddrFrom4([4]byte{224, 0, 0, 0}), 24)

// Broadcast reports whether a datagram to dst is for all on a link that has these networks: the limited broadcast address, the
// subnet-directed one of a network (RFC 1122 §3.2.1.3), or a group that stays on the link.
func Broadcast(dst netip.Addr, networks []netip.Prefix) bool {
	if !dst.Is4() {
		return false
	}
	if dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || linkGroups.Contains(dst) {
		return true
	}
	for _, p := range networks {
		if all, ok := DirectedBroadcast(p); ok && dst == all {
			return true
		}
	}
	return false
}

// DirectedBroadcast returns the subnet-directed broadcast address of a network, which is the last one in it (RFC 1122 §3.2.1.3), and
// false for a network that has none: one of less than four addresses (RFC 3021), or of IPv6.
func DirectedBroadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.IsValid() || !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	a := p.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|(1<<(32-p.Bits())-1))
	return netip.AddrFrom4(a), true
}

// Nest puts the broadcast, or datagram for a group, in p into a unicast datagram: from the home agent to the home address
// (RFC 5944 §4.3), or from the home address to the home agent (§4.4).
func Nest(p *packet.Buf, src, dst netip.Addr) {
	packet.PushIPv4(p, packet.IPv4Fields{TOS: packet.IPv4(p.Bytes()).TOS(), TTL: nestedTTL, Protocol: packet.ProtocolIPIP, Src: src, Dst: dst})
}

// nestedTTL is the time to live of the unicast datagram.
const nestedTTL = 64

// Unnest takes what a mobile node sends to a group or to all out of the unicast datagram to its home agent that it stands in
// (RFC 5944 §4.4), and reports whether p was one: an IP-in-IP packet, whole, with another within that has the same source.
// Otherwise p is left as it was. Whether the destination within is a group or all is for the caller to judge.
func Unnest(p *packet.Buf) bool {
	ip := packet.IPv4(p.Bytes())
	if !ip.Valid() || ip.Protocol() != packet.ProtocolIPIP || ip.MoreFragments() || ip.FragmentOffset() != 0 || p.Super() {
		return false
	}
	inner := packet.IPv4(ip.Payload())
	if !inner.Valid() || !inner.ChecksumOK() || inner.TTL() == 0 || inner.Src() != ip.Src() {
		return false
	}
	n := inner.TotalLen()
	p.Pull(ip.HeaderLen())
	p.Trim(n)
	return true
}

// ToAgent is the step that puts what a mobile node behind a foreign agent sends to groups, and to all of its home network, into
// unicast datagrams to its home agent (RFC 5944 §4.4), which foreign agents forward as they do any other, whatever its time to live. It is for
// packets from the home address. What is too long is fragmented first, and dropped if it must not be.
type ToAgent struct {
	// Listener has the addresses.
	Listener *Listener
	// MTU is the longest packet in octets that may leave the step.
	MTU int
	// Drops counts what is dropped.
	Drops *packet.Drops
}

// Apply implements link.Step.
func (s ToAgent) Apply(b *packet.Batch) {
	if !slices.ContainsFunc(b.Bufs, s.concerns) {
		return
	}
	b.Cut()
	out := packet.GetBatch()
	for _, p := range b.Bufs {
		if !s.concerns(p) {
			out.Append(p)
			continue
		}
		first := out.Len()
		if r := Fragment(p, s.MTU-packet.IPv4Len, out); r != packet.NotDropped {
			s.Drops.Count(r, 1)
			p.Release()
		}
		for _, piece := range out.Bufs[first:] {
			Nest(piece, s.Listener.Home, s.Listener.Agent)
		}
	}
	b.Bufs = append(b.Bufs[:0], out.Bufs...)
	out.Forget()
}

// concerns reports whether a packet is for a group or for all.
func (s ToAgent) concerns(p *packet.Buf) bool {
	dst := packet.IPv4(p.Bytes()).Dst()
	return dst.IsMulticast() || Broadcast(dst, s.Listener.Networks)
}

// Listener is what a mobile node that has asked for broadcasts of its home network (B bit) takes from its tunnel beside what is for
// its home address: those, and datagrams for groups. It does not change.
type Listener struct {
	// Agent is the home agent's address, Home the home address.
	Agent, Home netip.Addr
	// Networks are the home networks, for their subnet-directed broadcast addresses.
	Networks []netip.Prefix
	// Groups are prefixes of groups beyond the link whose datagrams are taken too (RFC 5944 §4.4). Which of them applications have
	// joined is for the host to know.
	Groups []netip.Prefix
}

// hears reports whether a datagram to dst is taken although it is not for the home address.
func (l *Listener) hears(dst netip.Addr) bool {
	return Broadcast(dst, l.Networks) || l.InGroups(dst)
}

// InGroups reports whether dst is a group of the listener's Groups.
func (l *Listener) InGroups(dst netip.Addr) bool {
	return dst.IsMulticast() && slices.ContainsFunc(l.Groups, func(p netip.Prefix) bool { return p.Contains(dst) })
}

// Take judges a packet that has come out of the tunnel: it is for the home address, or a broadcast, or for one of the groups. One that the home agent has
// put into a unicast datagram, because a foreign agent ends the tunnel, is taken out of that (RFC 5944 §4.3, §4.4); in a datagram
// from anybody else, or in fragments, it stays what it is, a packet for the home address. Nothing else is nested by the home agent. A
// packet that must be dropped is left to
// the caller. A nil Listener takes no packet.
func (l *Listener) Take(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	switch {
	case l == nil || !ip.Valid():
		return packet.DropNotHomeAddress
	case ip.Dst() != l.Home:
		if !l.hears(ip.Dst()) {
			return packet.DropNotHomeAddress
		}
		return packet.NotDropped
	case ip.Protocol() != packet.ProtocolIPIP || ip.Src() != l.Agent || ip.MoreFragments() || ip.FragmentOffset() != 0 || p.Super():
		return packet.NotDropped
	}
	inner := packet.IPv4(ip.Payload())
	if !inner.Valid() || !inner.ChecksumOK() {
		return packet.DropMalformed
	}
	if !l.hears(inner.Dst()) {
		return packet.DropNotHomeAddress // one of a network that is not known here, for example
	}
	n := inner.TotalLen()
	p.Pull(ip.HeaderLen())
	p.Trim(n)
	return packet.NotDropped
}
