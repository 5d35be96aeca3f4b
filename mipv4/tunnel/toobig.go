package tunnel

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// AppendTooBig appends the ICMP message "fragmentation needed" by which the exit of a tunnel tells its entry that the path
// between them carries inner packets of mtu octets at most: soft state that the entry has to keep (RFC 2003 §5.1), for the
// case that no router tells it. It quotes the headers that an inner packet one octet longer would get (RFC 1191 §4), with
// DF. The ports of entry and exit are 0 but for UDP; o are the optional fields of GRE headers.
func AppendTooBig(b []byte, e Encapsulation, o GREOptions, entry, exit netip.AddrPort, mtu int) []byte {
	const quoted = packet.IPv4Len + 8
	start := len(b)
	b = append(b, make([]byte, icmpHeaderLen+quoted)...)
	m := b[start:]
	outer := mtu + Encapsulator{Encapsulation: e, GRE: o}.TotalOverhead()
	m[0], m[1] = ICMPUnreachable, CodeFragmentNeeded
	binary.BigEndian.PutUint16(m[6:], uint16(outer))
	ip := packet.IPv4(m[icmpHeaderLen:])
	protocol := e.Protocol()
	switch e {
	case UDP:
		binary.BigEndian.PutUint16(ip[packet.IPv4Len:], entry.Port())
		binary.BigEndian.PutUint16(ip[packet.IPv4Len+2:], exit.Port())
		binary.BigEndian.PutUint16(ip[packet.IPv4Len+4:], uint16(outer+1-packet.IPv4Len))
	case GRE:
		binary.BigEndian.PutUint16(ip[packet.IPv4Len:], o.flags())
		binary.BigEndian.PutUint16(ip[packet.IPv4Len+2:], greIPv4)
		if o.Keyed && !o.Checksum {
			binary.BigEndian.PutUint32(ip[packet.IPv4Len+greLen:], o.Key)
		}
	default: // of a tunnel of minimal encapsulation, too: the longest of its packets travel IP-in-IP
		protocol = packet.ProtocolIPIP
		ip[packet.IPv4Len] = 0x45
		binary.BigEndian.PutUint16(ip[packet.IPv4Len+2:], uint16(mtu+1))
		ip[packet.IPv4Len+6] = 0x40
	}
	ip.Encode(packet.IPv4Fields{DontFragment: true, TTL: icmpErrorTTL, Protocol: protocol, Src: entry.Addr(), Dst: exit.Addr()}, outer+1)
	binary.BigEndian.PutUint16(m[2:], packet.Checksum(m, 0))
	return b
}
