package stack

import (
	"encoding/binary"
	"math/bits"

	"mipvpn/tun/packet"
)

const (
	tcpHeaderLen = 20
	tcpFlagSYN   = 0x02 // of octet 13 (RFC 9293 §3.1)

	// The kinds of TCP options that have no length octet, and of the maximum segment size (RFC 9293 §3.2).
	tcpOptionEnd  = 0
	tcpOptionNone = 1
	tcpOptionMSS  = 2

	// minIPv4MTU is the smallest MTU that an IPv4 link may have (RFC 791 §3.2).
	minIPv4MTU = 68
)

// ClampMSS lowers the maximum segment size that the TCP segment in ip announces to what fits into packets of mtu octets,
// and mends the TCP checksum (RFC 1624). It reports whether it has changed anything. Only a SYN, with or without ACK,
// announces one. The size is that of RFC 6691: 40 octets for both headers without options, however many there are. It is
// never raised, and a segment without the option gets none: it stands for 536 (RFC 9293 §3.7.1). Everything that is not
// understood is left as it is. ip must be Valid; it is changed in place.
func ClampMSS(ip packet.IPv4, mtu int) bool {
	if !opensTCP(ip) {
		return false
	}
	t := ip.Payload()
	header := int(t[12]>>4) * 4
	if header > len(t) {
		return false
	}
	most := uint16(min(max(mtu, minIPv4MTU)-packet.IPv4Len-tcpHeaderLen, 0xffff))
	changed := false
	for i := tcpHeaderLen; i < header; {
		kind := t[i]
		if kind == tcpOptionEnd {
			break
		}
		if kind == tcpOptionNone {
			i++
			continue
		}
		if i+1 >= header {
			break
		}
		n := int(t[i+1])
		if n < 2 || i+n > header {
			break
		}
		if kind == tcpOptionMSS && n == 4 {
			if before := binary.BigEndian.Uint16(t[i+2:]); before > most {
				binary.BigEndian.PutUint16(t[i+2:], most)
				after := most
				if i%2 != 0 { // the value lies across two words of the sum, its octets the other way about
					before, after = bits.ReverseBytes16(before), bits.ReverseBytes16(after)
				}
				sum := packet.ChecksumUpdate(binary.BigEndian.Uint16(t[16:]), before, after)
				binary.BigEndian.PutUint16(t[16:], sum)
				changed = true
			}
		}
		i += n
	}
	return changed
}

// opensTCP reports whether ip, which must be Valid, is a TCP segment that opens a connection.
func opensTCP(ip packet.IPv4) bool {
	if ip[9] != packet.ProtocolTCP || ip.FragmentOffset() != 0 {
		return false
	}
	t := ip.Payload()
	return len(t) >= tcpHeaderLen && t[13]&tcpFlagSYN != 0
}
