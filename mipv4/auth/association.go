package auth

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"io"

	"mipvpn/mipv4/wire"
)

var (
	// ErrParameters means that a security association cannot be made of the parameters given.
	ErrParameters = errors.New("mipv4/auth: unusable security association")
	// ErrSPI means that an authentication extension names another SPI than the association's.
	ErrSPI = errors.New("mipv4/auth: unknown SPI")
	// ErrAuthenticator means that an authenticator is not the one that the key yields.
	ErrAuthenticator = errors.New("mipv4/auth: authenticator does not match")
)

const (
	// FirstSPI is the lowest SPI that an association may have: 0 to 255 are reserved (RFC 5944 §1.6).
	FirstSPI = 256
	// StrongKeyLen is the length in octets from which a key counts as strong: 128 bits (RFC 5265 §6.1).
	StrongKeyLen = 16
	// MaxKeyLen is the most octets that a key may have.
	MaxKeyLen = 1024
)

// Parameters are what a security association is made of.
type Parameters struct {
	// SPI names the association in messages, from FirstSPI up.
	SPI uint32
	// Algorithm, HMACMD5 when zero.
	Algorithm Algorithm
	// Key is the shared secret, 1 to MaxKeyLen octets. It is copied.
	Key Key
	// ReplayProtection between mobile node and home agent, Timestamps when zero. Associations with foreign agents have no use for it.
	ReplayProtection ReplayProtection
}

// SecurityAssociation is a mobility security association (RFC 5944 §1.6). Every machine that registers under it must
// share one value, because it is also the source of Identification values.
type SecurityAssociation struct {
	spi            uint32
	algorithm      Algorithm
	key            Key
	replay         ReplayProtection
	identification source
}

// New makes a security association. Errors wrap ErrParameters and never show the key.
func New(p Parameters) (*SecurityAssociation, error) {
	switch {
	case p.SPI < FirstSPI:
		return nil, fmt.Errorf("%w: SPI %d is reserved, expected %d or more", ErrParameters, p.SPI, FirstSPI)
	case p.Algorithm >= numAlgorithms:
		return nil, fmt.Errorf("%w: %v is not known", ErrParameters, p.Algorithm)
	case p.ReplayProtection >= numReplayProtections:
		return nil, fmt.Errorf("%w: %v is not known", ErrParameters, p.ReplayProtection)
	case len(p.Key) == 0 || len(p.Key) > MaxKeyLen:
		return nil, fmt.Errorf("%w: a key of %d octets, expected 1 to %d", ErrParameters, len(p.Key), MaxKeyLen)
	}
	return &SecurityAssociation{spi: p.SPI, algorithm: p.Algorithm, key: append(Key(nil), p.Key...), replay: p.ReplayProtection}, nil
}

// SPI returns the association's SPI in host order.
func (s *SecurityAssociation) SPI() uint32 { return s.spi }

// Algorithm returns the association's algorithm.
func (s *SecurityAssociation) Algorithm() Algorithm { return s.algorithm }

// Strong reports whether a reply under this association may count as proof of inside: the key has at least 128 bits and
// the algorithm is not keyed MD5 (REQUIREMENTS DET-17, RFC 5265 §6.1).
func (s *SecurityAssociation) Strong() bool {
	return len(s.key) >= StrongKeyLen && s.algorithm != KeyedMD5
}

// Overhead returns the length in octets of the extension that AppendExtension appends.
func (s *SecurityAssociation) Overhead() int {
	return wire.AuthenticationHeaderLen + s.algorithm.Size()
}

// AppendExtension appends an authentication extension of type t to message, which must hold the whole message so far
// from its type octet on, and nothing in front of it (RFC 5944 §3.5.1).
func (s *SecurityAssociation) AppendExtension(message []byte, t wire.ExtensionType) []byte {
	message = wire.AppendAuthenticationHeader(message, t, s.spi, s.algorithm.Size())
	return s.algorithm.sum(message, s.key, message)
}

// Verify checks the authentication extension of type t that begins offset octets into message, the whole UDP payload
// as received. The comparison takes the same time wherever the authenticators differ. Errors wrap
// wire.ErrExtension when no such extension stands there, ErrSPI, or ErrAuthenticator.
func (s *SecurityAssociation) Verify(message []byte, offset int, t wire.ExtensionType) error {
	if offset < 0 || offset > len(message)-2 {
		return fmt.Errorf("%w: expected %v at octet %d of %d", wire.ErrExtension, t, offset, len(message))
	}
	end := offset + 2 + int(message[offset+1])
	if end > len(message) {
		return fmt.Errorf("%w: %v at octet %d reaches to %d of %d", wire.ErrExtension, t, offset, end, len(message))
	}
	if found := wire.ExtensionType(message[offset]); found != t {
		return fmt.Errorf("%w: expected %v at octet %d, found %v", wire.ErrExtension, t, offset, found)
	}
	a, err := wire.ParseAuthentication(wire.Extension{Type: t, Data: message[offset+2 : end]})
	if err != nil {
		return err
	}
	if a.SPI != s.spi {
		return fmt.Errorf("%w: %v expects SPI %d, found %d", ErrSPI, t, s.spi, a.SPI)
	}
	want := s.algorithm.sum(nil, s.key, message[:offset+wire.AuthenticationHeaderLen])
	if !hmac.Equal(want, a.Authenticator) {
		return fmt.Errorf("%w: %v with SPI %d (%v)", ErrAuthenticator, t, s.spi, s.algorithm)
	}
	return nil
}

// Wipe clears the key. The association must not be used afterwards: what it would make or accept is worthless.
func (s *SecurityAssociation) Wipe() { clear(s.key) }

// String names the association without its key.
func (s *SecurityAssociation) String() string {
	return fmt.Sprintf("SPI %d (%v, %d-bit key)", s.spi, s.algorithm, 8*len(s.key))
}

// Format writes String for every verb, so that no verb shows the key.
func (s *SecurityAssociation) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }
