package tunnel

import (
	"encoding/binary"
	"net/netip"

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
		if p.Bits() > 30 || !p.Contains(dst) {
			continue
		}
		a := dst.As4()
		if host := uint32(1)<<(32-p.Bits()) - 1; binary.BigEndian.Uint32(a[:])&host == host {
			return true
		}
	}
	return false
}

// Nest puts the broadcast in p into a unicast datagram from the home agent to the home address (RFC 5944 §4.3).
func Nest(p *packet.Buf, agent, home netip.Addr) {
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolIPIP, Src: agent, Dst: home})
}

// Listener is what a mobile node that has asked for broadcasts of its home network (B bit) takes from its tunnel beside what is for
// its home address. It does not change.
type Listener struct {
	// Agent is the home agent's address, Home the home address.
	Agent, Home netip.Addr
	// Networks are the home networks, for their subnet-directed broadcast addresses.
	Networks []netip.Prefix
}

// Take judges a packet that has come out of the tunnel: it is for the home address, or a broadcast. One that the home agent has
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
		if !Broadcast(ip.Dst(), l.Networks) {
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
	if !Broadcast(inner.Dst(), l.Networks) {
		return packet.DropNotHomeAddress // one of a network that is not known here, for example
	}
	n := inner.TotalLen()
	p.Pull(ip.HeaderLen())
	p.Trim(n)
	return packet.NotDropped
}
