package discovery

import (
	"encoding/binary"
	"fmt"

	"mipvpn/tun/packet"
)

// SolicitationTTL is the time to live of an agent solicitation, and of every advertisement (RFC 5944 §2.1, §2.2).
const SolicitationTTL = 1

// AppendSolicitation appends an agent solicitation, an ICMP router solicitation (RFC 1256 §3): type 10, code 0,
// checksum, four octets reserved.
func AppendSolicitation(b []byte) []byte {
	start := len(b)
	b = append(b, TypeRouterSolicitation, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint16(b[start+2:], packet.Checksum(b[start:], 0))
	return b
}

// CheckSolicitation returns nil when p, an ICMP message from its type octet on, is a valid router solicitation (RFC 1256
// §4.2): at least 8 octets, checksum right, code 0. Errors wrap ErrMalformed.
func CheckSolicitation(p []byte) error {
	switch {
	case len(p) < headerLen:
		return fmt.Errorf("%w: %d octets, at least %d are expected", ErrMalformed, len(p), headerLen)
	case p[0] != TypeRouterSolicitation:
		return fmt.Errorf("%w: ICMP type %d, expected %d", ErrMalformed, p[0], TypeRouterSolicitation)
	case packet.Checksum(p, 0) != 0:
		return fmt.Errorf("%w: checksum %#04x is wrong", ErrMalformed, binary.BigEndian.Uint16(p[2:]))
	case p[1] != 0:
		return fmt.Errorf("%w: code %d, expected 0", ErrMalformed, p[1])
	}
	return nil
}
