package suite

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// Integrity is an integrity transform by its IKEv2 number (type 3, RFC 7296 §3.3.2).
type Integrity uint16

// The integrity transforms there are (RFC 4868 §2.6). IntegrityNone stands for none, as combined-mode ciphers have it.
const (
	IntegrityNone       Integrity = 0
	IntegrityHMACSHA256 Integrity = 12
	IntegrityHMACSHA384 Integrity = 13
	IntegrityHMACSHA512 Integrity = 14
)

// String returns the name of the IANA registry, or the number of a transform that is not known.
func (i Integrity) String() string {
	switch i {
	case IntegrityNone:
		return "NONE"
	case IntegrityHMACSHA256:
		return "AUTH_HMAC_SHA2_256_128"
	case IntegrityHMACSHA384:
		return "AUTH_HMAC_SHA2_384_192"
	case IntegrityHMACSHA512:
		return "AUTH_HMAC_SHA2_512_256"
	}
	return fmt.Sprintf("integrity transform %d", uint16(i))
}

// Supported reports whether the transform is one of those above other than IntegrityNone.
func (i Integrity) Supported() bool { return i.KeyLen() != 0 }

// KeyLen returns the length of the key in octets, which is that of the hash (RFC 4868 §2.1.1). It is 0 for a transform that is
// not supported and for IntegrityNone.
func (i Integrity) KeyLen() int {
	switch i {
	case IntegrityHMACSHA256:
		return sha256.Size
	case IntegrityHMACSHA384:
		return sha512.Size384
	case IntegrityHMACSHA512:
		return sha512.Size
	}
	return 0
}

// ICVLen returns the length of the ICV in octets: half of the hash (RFC 4868 §2.1.2).
func (i Integrity) ICVLen() int { return i.KeyLen() / 2 }

func (i Integrity) hash() func() hash.Hash {
	switch i {
	case IntegrityHMACSHA384:
		return sha512.New384
	case IntegrityHMACSHA512:
		return sha512.New
	}
	return sha256.New
}
