package wire

import (
	"encoding/binary"
	"fmt"
)

// CHAPSPI is the SPI that asks for authenticators as RADIUS servers compute them, in the manner of CHAP with MD5 (RFC 4721
// §8, §9: CHAP_SPI).
const CHAPSPI = 2

// subtypeMobileAAA is the sub-type of the Mobile-AAA Authentication extension (RFC 4721 §5).
const subtypeMobileAAA = 1

// MobileAAAHeaderLen is the length in octets of a Mobile-AAA Authentication extension's type, sub-type, length and SPI, which
// its own authenticator covers (RFC 4721 §6).
const MobileAAAHeaderLen = 8

// minMobileAAA is the least value of its field Length (RFC 4721 §5).
const minMobileAAA = 20

// Challenge makes the Mobile-Foreign Challenge extension (RFC 4721 §4): type 132, length, the challenge as it is. Errors wrap
// ErrExtension when the challenge is empty or longer than 255 octets.
func Challenge(challenge []byte) (Extension, error) {
	if len(challenge) == 0 || len(challenge) > maxExtensionData {
		return Extension{}, fmt.Errorf("%w: a challenge of %d octets, 1 to %d are possible", ErrExtension, len(challenge), maxExtensionData)
	}
	return Extension{Type: ExtMobileForeignChallenge, Data: append([]byte(nil), challenge...)}, nil
}

// ParseChallenge reads a Mobile-Foreign Challenge extension; the result is a view of its data. Errors wrap ErrExtension.
func ParseChallenge(e Extension) ([]byte, error) {
	if e.Type != ExtMobileForeignChallenge {
		return nil, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtMobileForeignChallenge, e.Type)
	}
	if len(e.Data) == 0 {
		return nil, fmt.Errorf("%w: %v is empty", ErrExtension, e.Type)
	}
	return e.Data, nil
}

// MobileAAA is the content of a Mobile-AAA Authentication extension (RFC 4721 §5, §6): type 36, sub-type 1, length of two
// octets, SPI of four octets big-endian, authenticator.
type MobileAAA struct {
	// SPI selects secret and algorithm, in host order.
	SPI uint32
	// Authenticator as sent; a view of the extension's data when parsed.
	Authenticator []byte
}

// ParseMobileAAA reads a Mobile-AAA Authentication extension. Errors wrap ErrExtension; another sub-type of the Generalized
// Mobile IP Authentication extension is one.
func ParseMobileAAA(e Extension) (MobileAAA, error) {
	if e.Type != ExtGeneralizedAuthentication {
		return MobileAAA{}, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtGeneralizedAuthentication, e.Type)
	}
	if len(e.Data) < 1+minMobileAAA {
		return MobileAAA{}, fmt.Errorf("%w: %v expects a length of at least %d, found %d", ErrExtension, e.Type, minMobileAAA, len(e.Data)-1)
	}
	if e.Data[0] != subtypeMobileAAA {
		return MobileAAA{}, fmt.Errorf("%w: %v expects sub-type %d, found %d", ErrExtension, e.Type, subtypeMobileAAA, e.Data[0])
	}
	return MobileAAA{SPI: binary.BigEndian.Uint32(e.Data[1:]), Authenticator: e.Data[5:]}, nil
}

// AppendMobileAAAHeader appends type, sub-type, length and SPI of a Mobile-AAA Authentication extension whose authenticator of
// authenticatorLen octets, 16 to 65531, is to follow.
func AppendMobileAAAHeader(b []byte, spi uint32, authenticatorLen int) []byte {
	b = append(b, uint8(ExtGeneralizedAuthentication), subtypeMobileAAA)
	b = appendUint16(b, uint16(4+authenticatorLen))
	return binary.BigEndian.AppendUint32(b, spi)
}
