package link

import (
	"encoding/binary"

	"mipvpn/tun/packet"
)

// Signalling tells signalling from data among the payloads of one UDP port.
type Signalling uint8

const (
	// SignallingNone is for flows that carry data alone, or of which nothing is known.
	SignallingNone Signalling = iota
	// SignallingAll is for flows that carry signalling alone.
	SignallingAll
	// SignallingMobileIP is for port 434: whatever is no tunnelled data (RFC 3519 §3.3), and IKE inside tunnelled data.
	SignallingMobileIP
	// SignallingNATTraversal is for port 4500: what stands behind the non-ESP marker of four zero octets (RFC 3948 §2.2).
	SignallingNATTraversal
)

// Where things stand in a message with tunnelled data: type, next header, two reserved octets (RFC 3519 §3.3), the packet.
const (
	typeTunnelData = 4
	tunnelDataLen  = 4
)

// The ports of IKE (RFC 7296 §2).
const (
	portIKE  = 500
	portNATT = 4500
)

// Is reports whether the payload is signalling. Any octets may be asked about. Fragments of a tunnelled
// packet are not: they stay together.
func (s Signalling) Is(payload []byte) bool {
	switch s {
	case SignallingAll:
		return true
	case SignallingMobileIP:
		return len(payload) > 0 && (payload[0] != typeTunnelData || tunnelsIKE(payload))
	case SignallingNATTraversal:
		return marked(payload)
	}
	return false
}

// marked reports whether the payload begins with the non-ESP marker.
func marked(payload []byte) bool {
	return len(payload) >= 4 && binary.BigEndian.Uint32(payload) == 0
}

// tunnelsIKE reports whether a message with tunnelled data holds IKE.
func tunnelsIKE(message []byte) bool {
	if len(message) < tunnelDataLen+packet.IPv4Len || message[1] != packet.ProtocolIPIP {
		return false
	}
	ip := message[tunnelDataLen:]
	if ip[9] != packet.ProtocolUDP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return false
	}
	header := int(ip[0]&0xf) * 4
	if len(ip) < header+packet.UDPLen {
		return false
	}
	udp := ip[header:]
	for _, port := range []uint16{binary.BigEndian.Uint16(udp), binary.BigEndian.Uint16(udp[2:])} {
		switch port {
		case portIKE:
			return true
		case portNATT:
			return marked(udp[packet.UDPLen:])
		}
	}
	return false
}
