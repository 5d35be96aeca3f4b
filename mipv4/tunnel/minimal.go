package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// The minimal forwarding header (RFC 2004 §3), which stands between an IPv4 header that belongs to both packets and the payload:
//
//	0: protocol           1: S (1 bit), reserved (7 bits)   2: header checksum
//	4: original destination address                         8: original source address, with S alone
const (
	minimalLen       = 8
	minimalSourceLen = 12
	minimalS         = 0x80
)

// FitsMinimal reports whether a packet may travel in minimal encapsulation: it is no fragment, for which the forwarding header
// has no room (RFC 2004 §3), has no IPv4 options, which flows do not carry, and is no superpacket. Every other one travels
// IP-in-IP in the same tunnel.
func FitsMinimal(ip packet.IPv4) bool {
	return ip.Valid() && ip.HeaderLen() == packet.IPv4Len && !ip.MoreFragments() && ip.FragmentOffset() == 0
}

// minimal puts a packet into minimal encapsulation: its own header becomes the flow's to write, with the type of service, time to
// live and DF that it has, and the forwarding header takes its place. The original source is always written. The identification
// is the flow's: a packet that is not fragmented needs none but one that its source has not used lately (RFC 6864 §4).
func minimal(p *packet.Buf) packet.DropReason {
	ip := packet.IPv4(p.Bytes())
	if p.Super() || !FitsMinimal(ip) {
		return packet.DropUnsupported
	}
	p.Trim(ip.TotalLen())
	p.TTL, p.DontFragment = ip.TTL(), ip.DontFragment()
	protocol, src, dst := ip.Protocol(), [4]byte(ip[12:16]), [4]byte(ip[16:20])
	p.Pull(packet.IPv4Len)
	h := p.Push(minimalSourceLen)
	h[0], h[1], h[2], h[3] = protocol, minimalS, 0, 0
	copy(h[4:], dst[:])
	copy(h[8:], src[:])
	binary.BigEndian.PutUint16(h[2:], packet.Checksum(h, 0))
	return packet.NotDropped
}

// forwarding reads the minimal forwarding header that b begins with: how long it is, and the fields of the original header that it
// keeps. outer is the outer source address, which is the original one without S.
func forwarding(b []byte, outer netip.Addr) (n int, f packet.IPv4Fields, ok bool) {
	if len(b) < minimalLen {
		return 0, f, false
	}
	n = minimalLen
	f = packet.IPv4Fields{Protocol: b[0], Src: outer, Dst: netip.AddrFrom4([4]byte(b[4:8]))}
	if b[1]&minimalS != 0 {
		if n = minimalSourceLen; len(b) < n {
			return 0, f, false
		}
		f.Src = netip.AddrFrom4([4]byte(b[8:12]))
	}
	return n, f, f.Src.Is4() && packet.Checksum(b[:n], 0) == 0
}

// openMinimal restores the packet of which p holds the minimal forwarding header and the payload, Buf the outer header.
func openMinimal(p *packet.Buf) packet.DropReason {
	n, f, ok := forwarding(p.Bytes(), p.Peer.Addr())
	if !ok {
		return packet.DropMalformed
	}
	if p.Len()-n+packet.IPv4Len > packet.LargeSize {
		return packet.DropTooBig
	}
	f.TOS, f.TTL, f.ID, f.DontFragment = p.TOS, p.TTL, p.ID, p.DontFragment
	p.TTL, p.ID, p.DontFragment = 0, 0, false
	if f.TTL == 0 {
		return packet.DropTTL
	}
	p.Pull(n)
	packet.PushIPv4(p, f)
	return packet.NotDropped
}
