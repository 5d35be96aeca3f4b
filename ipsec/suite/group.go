package suite

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
)

// Group is a key exchange method by its IKEv2 transform number (type 4, RFC 7296 §3.3.2).
type Group uint16

// The key exchange methods there are.
const (
	GroupMODP2048   Group = 14 // RFC 3526 §3
	GroupP256       Group = 19 // RFC 5903 §3.1
	GroupP384       Group = 20 // RFC 5903 §3.2
	GroupCurve25519 Group = 31 // RFC 8031
)

// ErrPublicValue tells that the peer's public value is outside the group or of small order (RFC 6989 §2), or of the wrong
// length.
var ErrPublicValue = errors.New("suite: bad public value of the peer")

// Groups returns the supported methods in the order of preference.
func Groups() []Group { return []Group{GroupCurve25519, GroupP256, GroupP384, GroupMODP2048} }

// String returns a name with the transform number, or only the number of a method that is not known.
func (g Group) String() string {
	switch g {
	case GroupMODP2048:
		return "group 14 (2048-bit MODP)"
	case GroupP256:
		return "group 19 (256-bit random ECP)"
	case GroupP384:
		return "group 20 (384-bit random ECP)"
	case GroupCurve25519:
		return "group 31 (Curve25519)"
	}
	return fmt.Sprintf("group %d", uint16(g))
}

// Supported reports whether the method is one of Groups.
func (g Group) Supported() bool { return g.PublicLen() != 0 }

// PublicLen returns the length of a public value in octets, which is the length of a KE payload's data (RFC 7296 §3.4).
// It is 0 for a method that is not supported.
func (g Group) PublicLen() int {
	switch g {
	case GroupMODP2048:
		return modpLen
	case GroupP256:
		return 64
	case GroupP384:
		return 96
	case GroupCurve25519:
		return 32
	}
	return 0
}

// KeyExchange is one ephemeral key pair of a group. It is used for one exchange and then wiped (RFC 7296 §2.12 allows
// more, but nothing here needs it).
type KeyExchange struct {
	group  Group
	curve  *ecdh.PrivateKey // of elliptic curves
	secret []byte           // of MODP groups: the exponent, big endian
	public []byte
}

// NewKeyExchange makes a key pair of group g from random octets of rand. Errors: ErrUnsupported, and those of rand.
func NewKeyExchange(g Group, rand io.Reader) (*KeyExchange, error) {
	switch g {
	case GroupMODP2048:
		secret := make([]byte, modpExponentLen)
		if _, err := io.ReadFull(rand, secret); err != nil {
			return nil, fmt.Errorf("suite: key of %v: %w", g, err)
		}
		return newMODP(secret), nil
	case GroupP256:
		return newCurve(g, ecdh.P256(), 32, rand)
	case GroupP384:
		return newCurve(g, ecdh.P384(), 48, rand)
	case GroupCurve25519:
		return newCurve(g, ecdh.X25519(), 32, rand)
	}
	return nil, fmt.Errorf("%w: %v", ErrUnsupported, g)
}

// newCurve draws secrets until one lies in the curve's range. Out of range are less than one in 2^32 (P-256), so eight
// attempts fail only when rand is broken.
func newCurve(g Group, c ecdh.Curve, n int, rand io.Reader) (*KeyExchange, error) {
	secret := make([]byte, n)
	defer clear(secret)
	var last error
	for range 8 {
		if _, err := io.ReadFull(rand, secret); err != nil {
			return nil, fmt.Errorf("suite: key of %v: %w", g, err)
		}
		k, err := c.NewPrivateKey(secret)
		if err == nil {
			return fromCurve(g, k), nil
		}
		last = err
	}
	return nil, fmt.Errorf("suite: key of %v: %w", g, last)
}

func fromCurve(g Group, k *ecdh.PrivateKey) *KeyExchange {
	public := k.PublicKey().Bytes()
	if g != GroupCurve25519 {
		public = public[1:] // RFC 5903 §7: x | y, without the octet 4 of an uncompressed point
	}
	return &KeyExchange{group: g, curve: k, public: public}
}

// Group returns the method.
func (k *KeyExchange) Group() Group { return k.group }

// Public returns the own public value as it stands in a KE payload. The caller must not change it.
func (k *KeyExchange) Public() []byte { return k.public }

// SharedSecret returns g^ir as it enters SKEYSEED (RFC 7296 §2.14), in octets of the group's length. The error wraps
// ErrPublicValue when peer is not a public value of the group or leads to a secret that everybody knows (RFC 6989 §2,
// RFC 8031 §3.1).
func (k *KeyExchange) SharedSecret(peer []byte) ([]byte, error) {
	if len(peer) != k.group.PublicLen() {
		return nil, fmt.Errorf("%w: %v has %d octets, found %d", ErrPublicValue, k.group, k.group.PublicLen(), len(peer))
	}
	if k.curve == nil {
		return modpShared(k.secret, peer)
	}
	encoded := peer
	if k.group != GroupCurve25519 {
		encoded = append([]byte{4}, peer...)
	}
	public, err := k.curve.Curve().NewPublicKey(encoded)
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, k.group, err)
	}
	secret, err := k.curve.ECDH(public)
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, k.group, err)
	}
	return secret, nil
}

// Wipe forgets the secret. The key pair must not be used afterwards.
func (k *KeyExchange) Wipe() {
	clear(k.secret)
	k.secret, k.curve = nil, nil
}

// String names the group only, never the key.
func (k *KeyExchange) String() string { return "key pair of " + k.group.String() }
