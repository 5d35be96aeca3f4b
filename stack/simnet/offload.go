package simnet

import (
	"bytes"
	"encoding/binary"

	"mipvpn/tun/packet"
)

// A TUN device of Linux hands over what an application writes as one superpacket (IFF_VNET_HDR, TCP and UDP segmentation
// offload). Here the same comes about the other way: packets that wait for the device's reader and could have been one
// superpacket are read as one. Cut again they are the packets that waited, octet for octet.

// train returns how many of the packets, from the first on, make one superpacket, and the octets of payload of each but the
// last. n is 1 where there is none.
func train(queue [][]byte) (n, size int) {
	first := queue[0]
	headers, ok := headersOf(first)
	if !ok {
		return 1, 0
	}
	size = len(first) - headers
	total := len(first)
	n = 1
	for n < len(queue) && !ends(queue[n-1], headers, size) && follows(queue[n-1], queue[n], headers) && total+len(queue[n])-headers <= packet.LargeSize &&
		len(queue[n])-headers <= size {
		total += len(queue[n]) - headers
		n++
	}
	return n, size
}

// headersOf returns the octets of the IPv4 and transport header of a packet that may begin a superpacket or be in one: TCP with
// ACK, and perhaps PSH or FIN, or UDP, with payload, not a fragment, and with right checksums, since those are made anew.
func headersOf(p []byte) (n int, ok bool) {
	ip := packet.IPv4(p)
	if !ip.Valid() || ip.HeaderLen() != packet.IPv4Len || ip.TotalLen() != len(p) || ip.MoreFragments() || ip.FragmentOffset() != 0 || !ip.ChecksumOK() {
		return 0, false
	}
	t := ip.Payload()
	switch ip.Protocol() {
	case packet.ProtocolTCP:
		if len(t) < tcpLen || t[13]&^(tcpPSH|tcpFIN) != tcpACK {
			return 0, false
		}
		n = packet.IPv4Len + int(t[12]>>4)*4
	case packet.ProtocolUDP:
		if u := packet.UDP(t); !u.Valid() || u.Length() != len(t) || u.Checksum() == 0 {
			return 0, false
		}
		n = packet.IPv4Len + packet.UDPLen
	default:
		return 0, false
	}
	if n < packet.IPv4Len || n >= len(p) || packet.TransportChecksum(t, ip.Src(), ip.Dst(), ip.Protocol()) != 0 {
		return 0, false
	}
	return n, true
}

// ends reports whether p must be the last of a superpacket whose segments carry size octets: it is shorter, or bears PSH or FIN.
func ends(p []byte, headers, size int) bool {
	return len(p)-headers < size || p[9] == packet.ProtocolTCP && p[33]&(tcpPSH|tcpFIN) != 0
}

// follows reports whether next is the packet after p of one superpacket: its identification and, with TCP, its sequence number
// count on, and all else is the same but for lengths, checksums, PSH and FIN.
func follows(p, next []byte, headers int) bool {
	if n, ok := headersOf(next); !ok || n != headers || next[9] != p[9] {
		return false
	}
	be := binary.BigEndian
	if p[1] != next[1] || be.Uint16(p[4:])+1 != be.Uint16(next[4:]) || !bytes.Equal(p[6:10], next[6:10]) || !bytes.Equal(p[12:24], next[12:24]) {
		return false
	}
	if p[9] == packet.ProtocolUDP {
		return true
	}
	return be.Uint32(p[24:])+uint32(len(p)-headers) == be.Uint32(next[24:]) && bytes.Equal(p[28:33], next[28:33]) &&
		bytes.Equal(p[34:36], next[34:36]) && bytes.Equal(p[38:headers], next[38:headers])
}

// take appends the packets to b, trains of them as superpackets.
func take(queue [][]byte, b *packet.Batch) {
	for len(queue) > 0 {
		n, size := train(queue)
		if n == 1 {
			b.Append(packet.From(queue[0]))
			queue = queue[1:]
			continue
		}
		whole := bytes.Clone(queue[0])
		headers, _ := headersOf(whole)
		for _, p := range queue[1:n] {
			whole = append(whole, p[headers:]...)
		}
		be := binary.BigEndian
		be.PutUint16(whole[2:], uint16(len(whole)))
		if whole[9] == packet.ProtocolTCP {
			whole[33] |= queue[n-1][33]
		} else {
			be.PutUint16(whole[24:], uint16(len(whole)-packet.IPv4Len))
		}
		be.PutUint16(whole[10:], 0)
		be.PutUint16(whole[10:], packet.Checksum(whole[:packet.IPv4Len], 0))
		p := packet.From(whole)
		if err := p.MakeSuper(size); err != nil {
			panic("simnet: " + err.Error()) // headersOf has looked at all that MakeSuper asks for
		}
		b.Append(p)
		queue = queue[n:]
	}
}
