package wire

import (
	"encoding/binary"
	"fmt"
)

// AuthenticationHeaderLen is the length in octets of an authentication extension's type, length and SPI: the part of the
// extension that its own authenticator covers (RFC 5944 §3.5.1).
const AuthenticationHeaderLen = 6

// Authentication is the content of a Mobile-Home, Mobile-Foreign or Foreign-Home Authentication extension (RFC 5944
// §3.5.2 to 3.5.4): type, length, SPI in four octets big-endian, authenticator.
type Authentication struct {
	// Type is one of the three authentication types.
	Type ExtensionType
	// SPI selects the security association, in host order.
	SPI uint32
	// Authenticator as sent; a view of the extension's data when parsed.
	Authenticator []byte
}

// ParseAuthentication reads an authentication extension. Errors wrap ErrExtension.
func ParseAuthentication(e Extension) (Authentication, error) {
	switch e.Type {
	case ExtMobileHomeAuthentication, ExtMobileForeignAuthentication, ExtForeignHomeAuthentication:
	default:
		return Authentication{}, fmt.Errorf("%w: expected an authentication extension, found %v", ErrExtension, e.Type)
	}
	if len(e.Data) < 4 {
		return Authentication{}, fmt.Errorf("%w: %v expects a length of at least 4, found %d", ErrExtension, e.Type, len(e.Data))
	}
	return Authentication{Type: e.Type, SPI: binary.BigEndian.Uint32(e.Data), Authenticator: e.Data[4:]}, nil
}

// AppendAuthenticationHeader appends type, length and SPI of an authentication extension whose authenticator of
// authenticatorLen octets, at most 251, is to follow.
func AppendAuthenticationHeader(b []byte, t ExtensionType, spi uint32, authenticatorLen int) []byte {
	b = append(b, uint8(t), uint8(4+authenticatorLen))
	return binary.BigEndian.AppendUint32(b, spi)
}
