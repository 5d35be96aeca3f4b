package wire

// TunnelDataLen is the length in octets of the header of UDP-tunnelled data.
const TunnelDataLen = 4

// PutTunnelData writes the MIP Tunnel Data header (RFC 3519 §3.3) into the first TunnelDataLen octets of p: type 4, next
// header, two octets reserved. next is the IP protocol number of what follows, 4 for an IPv4 packet.
func PutTunnelData(p []byte, next uint8) {
	_ = p[TunnelDataLen-1]
	p[0], p[1], p[2], p[3] = uint8(TypeTunnelData), next, 0, 0
}

// ParseTunnelData reads the header at the front of p and returns the next header field and what follows, a view of p.
// The reserved field is ignored. ok is false when p is no such message or shorter than its header.
func ParseTunnelData(p []byte) (next uint8, payload []byte, ok bool) {
	if len(p) < TunnelDataLen || MessageType(p[0]) != TypeTunnelData {
		return 0, nil, false
	}
	return p[1], p[TunnelDataLen:], true
}
