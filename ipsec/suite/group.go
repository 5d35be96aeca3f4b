package suite

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"io"
)

// Group is a key exchange method by its IKEv2 transform number (type 4, RFC 7296 §3.3.2; types 6 to 12, RFC 9370 §2.1).
type Group uint16

// The key exchange methods there are.
const (
	GroupMODP2048   Group = 14 // RFC 3526 §3
	GroupMODP3072   Group = 15 // RFC 3526 §4
	GroupMODP4096   Group = 16 // RFC 3526 §5
	GroupP256       Group = 19 // RFC 5903 §3.1
	GroupP384       Group = 20 // RFC 5903 §3.2
	GroupP521       Group = 21 // RFC 5903 §3.3
	GroupCurve25519 Group = 31 // RFC 8031
	GroupMLKEM768   Group = 36 // FIPS 203, draft-ietf-ipsecme-ikev2-mlkem
	GroupMLKEM1024  Group = 37 // FIPS 203, draft-ietf-ipsecme-ikev2-mlkem
)

// ErrPublicValue tells that the peer's public value is outside the group or of small order (RFC 6989 §2), or of the wrong
// length, or not an encapsulation key (FIPS 203 §7.2).
var ErrPublicValue = errors.New("suite: bad public value of the peer")

// Groups returns the supported methods in the order of preference, the classical ones first: those are for the first key
// exchange of an SA, and the rest, for which KEM is true, for additional ones.
func Groups() []Group {
	return []Group{GroupCurve25519, GroupP256, GroupP384, GroupP521, GroupMODP3072, GroupMODP4096, GroupMODP2048, GroupMLKEM768, GroupMLKEM1024}
}

// String returns a name with the transform number, or only the number of a method that is not known.
func (g Group) String() string {
	switch g {
	case GroupMODP2048:
		return "group 14 (2048-bit MODP)"
	case GroupMODP3072:
		return "group 15 (3072-bit MODP)"
	case GroupMODP4096:
		return "group 16 (4096-bit MODP)"
	case GroupP256:
		return "group 19 (256-bit random ECP)"
	case GroupP384:
		return "group 20 (384-bit random ECP)"
	case GroupP521:
		return "group 21 (521-bit random ECP)"
	case GroupCurve25519:
		return "group 31 (Curve25519)"
	case GroupMLKEM768:
		return "group 36 (ML-KEM-768)"
	case GroupMLKEM1024:
		return "group 37 (ML-KEM-1024)"
	}
	if a, ok := addedGroups[g]; ok {
		return fmt.Sprintf("group %d (%s)", uint16(g), a.Name)
	}
	return fmt.Sprintf("group %d", uint16(g))
}

// Supported reports whether the method is one of Groups, or was added.
func (g Group) Supported() bool { return g.PublicLen() != 0 }

// KEM reports whether the method is a key encapsulation mechanism, whose responder's public value depends on the
// initiator's.
func (g Group) KEM() bool { return g == GroupMLKEM768 || g == GroupMLKEM1024 }

// PublicLen returns the length of an initiator's public value in octets, which is the length of a KE payload's data
// (RFC 7296 §3.4). It is 0 for a method that is not supported.
func (g Group) PublicLen() int {
	switch g {
	case GroupMODP2048:
		return 256
	case GroupMODP3072:
		return 384
	case GroupMODP4096:
		return 512
	case GroupP256, GroupP384, GroupP521:
		return 2 * curveOf(g).octets
	case GroupCurve25519:
		return 32
	case GroupMLKEM768, GroupMLKEM1024:
		return kemOf(g).publicLen
	}
	return addedGroups[g].PublicLen
}

// AnswerLen returns the length of a responder's public value in octets: PublicLen but for a KEM, whose responder sends a
// ciphertext. It is 0 for a method that is not supported.
func (g Group) AnswerLen() int {
	if g.KEM() {
		return kemOf(g).ciphertextLen
	}
	if a, ok := addedGroups[g]; ok {
		return a.AnswerLen
	}
	return g.PublicLen()
}

// curve is an elliptic curve with what its encodings are about.
type curve struct {
	ecdh.Curve
	// octets is the length of a secret key, which is that of a coordinate too.
	octets int
	// point is set when a public value is x | y.
	point bool
	// mask takes the bits out of the first octet of random octets that no secret key has.
	mask byte
}

// curveOf returns the curve of a method; its Curve is nil when the method is of another kind.
func curveOf(g Group) curve {
	switch g {
	case GroupP256:
		return curve{ecdh.P256(), 32, true, 0xff}
	case GroupP384:
		return curve{ecdh.P384(), 48, true, 0xff}
	case GroupP521:
		return curve{ecdh.P521(), 66, true, 0x01}
	case GroupCurve25519:
		return curve{ecdh.X25519(), 32, false, 0xff}
	}
	return curve{}
}

// KeyExchange is one ephemeral key pair of an end. It is used for one exchange and then wiped (RFC 7296 §2.12 allows
// more, but nothing here needs it).
type KeyExchange struct {
	group  Group
	curve  *ecdh.PrivateKey // of elliptic curves
	secret []byte           // of MODP groups: the exponent, big endian
	kem    decapsulator     // of a KEM
	added  KeyPair          // of an added method
	public []byte
}

// NewKeyExchange makes a key pair of group g from random octets of rand, for the end that sends its public value first.
// Errors: ErrUnsupported, and those of rand.
func NewKeyExchange(g Group, rand io.Reader) (*KeyExchange, error) {
	if g.KEM() {
		return newKEM(g, rand)
	}
	if a, ok := addedGroups[g]; ok {
		return newAdded(g, a, rand)
	}
	if c := curveOf(g); c.Curve != nil {
		return newCurve(g, c, rand)
	}
	m := modpOf(g)
	if m == nil {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, g)
	}
	secret := make([]byte, m.exponentLen)
	if _, err := io.ReadFull(rand, secret); err != nil {
		return nil, fmt.Errorf("suite: key of %v: %w", g, err)
	}
	return m.key(secret), nil
}

// Answer does the other end's half of a key exchange: to the public value peer of the end that began it returns the own one
// and the shared secret. Keys are made from random octets of rand, but for a KEM: the standard library takes its random octets
// from the system alone. The secret belongs to the caller, who wipes it. Errors: ErrUnsupported, ErrPublicValue, and those of
// rand.
func Answer(g Group, rand io.Reader, peer []byte) (public, shared []byte, err error) {
	if g.KEM() {
		return encapsulate(g, peer)
	}
	if a, ok := addedGroups[g]; ok {
		return answerAdded(g, a, rand, peer)
	}
	own, err := NewKeyExchange(g, rand)
	if err != nil {
		return nil, nil, err
	}
	defer own.Wipe()
	if shared, err = own.SharedSecret(peer); err != nil {
		return nil, nil, err
	}
	return own.Public(), shared, nil
}

// newCurve draws secrets until one lies in the curve's range. Out of range are less than one in 2^32 (P-256), so eight
// attempts fail only when rand is broken.
func newCurve(g Group, c curve, rand io.Reader) (*KeyExchange, error) {
	secret := make([]byte, c.octets)
	defer clear(secret)
	var last error
	for range 8 {
		if _, err := io.ReadFull(rand, secret); err != nil {
			return nil, fmt.Errorf("suite: key of %v: %w", g, err)
		}
		secret[0] &= c.mask
		k, err := c.NewPrivateKey(secret)
		if err == nil {
			public := k.PublicKey().Bytes()
			if c.point {
				public = public[1:] // RFC 5903 §7: x | y, without the octet 4 of an uncompressed point
			}
			return &KeyExchange{group: g, curve: k, public: public}, nil
		}
		last = err
	}
	return nil, fmt.Errorf("suite: key of %v: %w", g, last)
}

// Group returns the method.
func (k *KeyExchange) Group() Group { return k.group }

// Public returns the own public value as it stands in a KE payload. The caller must not change it.
func (k *KeyExchange) Public() []byte { return k.public }

// SharedSecret returns g^ir as it enters SKEYSEED (RFC 7296 §2.14), in octets of the group's length, or the shared key of a
// KEM, 32 octets. peer is the public value of the answering end. The error wraps ErrPublicValue when it is not one of the
// group or leads to a secret that everybody knows (RFC 6989 §2, RFC 8031 §3.1).
func (k *KeyExchange) SharedSecret(peer []byte) ([]byte, error) {
	if n := k.group.AnswerLen(); len(peer) != n {
		return nil, fmt.Errorf("%w: %v has %d octets, found %d", ErrPublicValue, k.group, n, len(peer))
	}
	switch {
	case k.added != nil:
		secret, err := k.added.SharedSecret(peer)
		if err != nil {
			return nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, k.group, err)
		}
		return secret, nil
	case k.kem != nil:
		secret, err := k.kem.Decapsulate(peer)
		if err != nil {
			return nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, k.group, err)
		}
		return secret, nil
	case k.curve == nil:
		return modpOf(k.group).shared(k.secret, peer)
	}
	encoded := peer
	if curveOf(k.group).point {
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

// Wipe forgets the secret. The key pair must not be used afterwards. A nil key pair is wiped already.
func (k *KeyExchange) Wipe() {
	if k != nil {
		if k.added != nil {
			k.added.Wipe()
		}
		clear(k.secret)
		k.secret, k.curve, k.kem, k.added = nil, nil, nil, nil
	}
}

// String names the group only, never the key.
func (k *KeyExchange) String() string { return "key pair of " + k.group.String() }
