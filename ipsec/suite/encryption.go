package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// EncryptionID is the number of an IKEv2 encryption transform (type 1, RFC 7296 §3.3.2).
type EncryptionID uint16

// The encryption transforms there are. All are combined-mode ciphers, with which no integrity transform is negotiated
// (RFC 7296 §3.3.3).
const (
	EncryptionAESGCM16         EncryptionID = 20 // RFC 4106, RFC 5282
	EncryptionChaCha20Poly1305 EncryptionID = 28 // RFC 7634
)

// Encryption is an encryption transform with its Key Length attribute. It is comparable.
type Encryption struct {
	ID EncryptionID
	// KeyBits is the value of the Key Length attribute (RFC 7296 §3.3.5): the key without salt, in bits. It is 0 for a
	// transform that has no such attribute.
	KeyBits uint16
}

// The encryption transforms of RFC 8247 §2.1 and RFC 8221 §5 that are supported.
var (
	AESGCM128        = Encryption{EncryptionAESGCM16, 128}
	AESGCM256        = Encryption{EncryptionAESGCM16, 256}
	ChaCha20Poly1305 = Encryption{EncryptionChaCha20Poly1305, 0}
)

// ErrUnsupported tells that a transform, or one with such a key length, is not supported.
var ErrUnsupported = errors.New("suite: transform not supported")

// ErrAuthentication tells that an integrity check failed.
var ErrAuthentication = errors.New("suite: integrity check failed")

// ErrKeyLength tells that a key or public value has the wrong length.
var ErrKeyLength = errors.New("suite: wrong length of key")

// saltLen is the length of the salt at the end of the keying material (RFC 4106 §8.1, RFC 7634 §2).
const saltLen = 4

// Encryptions returns the supported transforms in the order of preference.
func Encryptions() []Encryption { return []Encryption{AESGCM256, AESGCM128, ChaCha20Poly1305} }

// String returns the name of the IANA registry with the key length, or the number of a transform that is not known.
func (e Encryption) String() string {
	switch e.ID {
	case EncryptionAESGCM16:
		return fmt.Sprintf("ENCR_AES_GCM_16_%d", e.KeyBits)
	case EncryptionChaCha20Poly1305:
		return "ENCR_CHACHA20_POLY1305"
	}
	return fmt.Sprintf("encryption transform %d with %d bits", uint16(e.ID), e.KeyBits)
}

// Supported reports whether the transform is one of Encryptions.
func (e Encryption) Supported() bool { return e.KeyLen() != 0 }

// KeyLen returns the octets of keying material that the transform takes of prf+: the key, then the salt. It is 0 for a
// transform that is not supported.
func (e Encryption) KeyLen() int {
	switch e {
	case AESGCM128, AESGCM256:
		return int(e.KeyBits)/8 + saltLen
	case ChaCha20Poly1305:
		return chacha20poly1305.KeySize + saltLen
	}
	return 0
}

// NewCipher returns the cipher under key, which is KeyLen octets of keying material: key, then salt. It keeps no
// reference to key.
func (e Encryption) NewCipher(key []byte) (Cipher, error) {
	if !e.Supported() {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, e)
	}
	if len(key) != e.KeyLen() {
		return nil, fmt.Errorf("%w: %v takes %d octets, found %d", ErrKeyLength, e, e.KeyLen(), len(key))
	}
	n := len(key) - saltLen
	a, err := e.newAEAD(key[:n])
	if err != nil {
		return nil, fmt.Errorf("suite: %v: %w", e, err)
	}
	return &combined{aead: a, salt: [saltLen]byte(key[n:])}, nil
}

func (e Encryption) newAEAD(key []byte) (cipher.AEAD, error) {
	if e == ChaCha20Poly1305 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
