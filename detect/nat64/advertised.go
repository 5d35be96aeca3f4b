package nat64

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Advertised is a prefix in a router advertisement (RFC 8781 §4).
type Advertised struct {
	Prefix netip.Prefix
	// Lifetime is how long it may be used; 0 takes it back.
	Lifetime time.Duration
}

// ErrAdvertisement means that octets are no router advertisement.
var ErrAdvertisement = errors.New("nat64: not a router advertisement")

const (
	advertisementType = 134 // RFC 4861 §4.2
	advertisementLen  = 16
	pref64Type        = 38 // RFC 8781 §4
	pref64Len         = 16
)

// lengthCodes are the lengths of prefixes in bits by Prefix Length Code (RFC 8781 §4).
var lengthCodes = []int{96, 64, 56, 48, 40, 32}

// Prefixes64 returns the NAT64 prefixes in a router advertisement, an ICMPv6 message from its type on. Options that RFC 8781 §4 wants
// ignored are passed over. Whether it comes from a router of the link is the caller's to check (RFC 4861 §6.1.2). Errors:
// ErrAdvertisement, which says that nothing of the message may be used.
func Prefixes64(message []byte) ([]Advertised, error) {
	if len(message) < advertisementLen || message[0] != advertisementType || message[1] != 0 {
		return nil, fmt.Errorf("%w: %d octets", ErrAdvertisement, len(message))
	}
	var out []Advertised
	for rest := message[advertisementLen:]; len(rest) > 0; {
		if len(rest) < 2 || rest[1] == 0 || int(rest[1])*8 > len(rest) {
			return nil, fmt.Errorf("%w: an option of impossible length", ErrAdvertisement)
		}
		option := rest[:int(rest[1])*8]
		rest = rest[len(option):]
		if option[0] != pref64Type || len(option) != pref64Len {
			continue
		}
		scaled := binary.BigEndian.Uint16(option[2:])
		code := int(scaled & 7)
		if code >= len(lengthCodes) {
			continue
		}
		var a [16]byte
		copy(a[:12], option[4:])
		p := netip.PrefixFrom(netip.AddrFrom16(a), lengthCodes[code]).Masked()
		if !Valid(p) {
			continue
		}
		out = append(out, Advertised{Prefix: p, Lifetime: time.Duration(scaled>>3) * 8 * time.Second})
	}
	return out, nil
}
