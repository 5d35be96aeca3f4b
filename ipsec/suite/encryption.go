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

// The encryption transforms there are. With AES-CBC an integrity transform is negotiated; the others are combined-mode ciphers,
// which have none (RFC 7296 §3.3.3).
const (
	EncryptionAESCBC           EncryptionID = 12 // RFC 3602
	EncryptionAESGCM16         EncryptionID = 20 // RFC 4106, RFC 5282
	EncryptionChaCha20Poly1305 EncryptionID = 28 // RFC 7634
)

// Encryption is an encryption transform with its Key Length attribute and with the integrity transform that it is used with.
// It is comparable.
type Encryption struct {
	ID EncryptionID
	// KeyBits is the value of the Key Length attribute (RFC 7296 §3.3.5): the key without salt, in bits. It is 0 for a
	// transform that has no such attribute.
	KeyBits uint16
	// Integrity is the integrity transform, IntegrityNone for a combined-mode cipher.
	Integrity Integrity
}

// The encryption transforms of RFC 8247 §2.1 and RFC 8221 §5 that are supported.
var (
	AESGCM128        = Encryption{EncryptionAESGCM16, 128, IntegrityNone}
	AESGCM256        = Encryption{EncryptionAESGCM16, 256, IntegrityNone}
	ChaCha20Poly1305 = Encryption{EncryptionChaCha20Poly1305, 0, IntegrityNone}
	AESCBC128SHA256  = Encryption{EncryptionAESCBC, 128, IntegrityHMACSHA256}
	AESCBC128SHA384  = Encryption{EncryptionAESCBC, 128, IntegrityHMACSHA384}
	AESCBC128SHA512  = Encryption{EncryptionAESCBC, 128, IntegrityHMACSHA512}
	AESCBC256SHA256  = Encryption{EncryptionAESCBC, 256, IntegrityHMACSHA256}
	AESCBC256SHA384  = Encryption{EncryptionAESCBC, 256, IntegrityHMACSHA384}
	AESCBC256SHA512  = Encryption{EncryptionAESCBC, 256, IntegrityHMACSHA512}
)

// ErrUnsupported tells that a transform, or one with such a key length, is not supported.
var ErrUnsupported = errors.New("suite: transform not supported")

// ErrAuthentication tells that an integrity check failed.
var ErrAuthentication = errors.New("suite: integrity check failed")

// ErrKeyLength tells that a key or public value has the wrong length.
var ErrKeyLength = errors.New("suite: wrong length of key")

// saltLen is the length of the salt at the end of the keying material (RFC 4106 §8.1, RFC 7634 §2).
const saltLen = 4

// CombinedModes returns the combined-mode ciphers in the order of preference.
func CombinedModes() []Encryption { return []Encryption{AESGCM256, AESGCM128, ChaCha20Poly1305} }

// Encryptions returns all supported transforms in the order of preference: CombinedModes, then AES-CBC with each integrity
// transform.
func Encryptions() []Encryption {
	return append(CombinedModes(), AESCBC256SHA256, AESCBC256SHA384, AESCBC256SHA512,
		AESCBC128SHA256, AESCBC128SHA384, AESCBC128SHA512)
}

// String returns the name of the IANA registry with the key length and the integrity transform, or the number of a transform
// that is not known.
func (e Encryption) String() string {
	var s string
	switch e.ID {
	case EncryptionAESGCM16:
		s = fmt.Sprintf("ENCR_AES_GCM_16_%d", e.KeyBits)
	case EncryptionChaCha20Poly1305:
		s = "ENCR_CHACHA20_POLY1305"
	case EncryptionAESCBC:
		s = fmt.Sprintf("ENCR_AES_CBC_%d", e.KeyBits)
	default:
		if a, ok := addedCiphers[e]; ok {
			return a.Name
		}
		s = fmt.Sprintf("encryption transform %d with %d bits", uint16(e.ID), e.KeyBits)
	}
	if e.Integrity != IntegrityNone {
		s += "/" + e.Integrity.String()
	}
	return s
}

// Supported reports whether the transform is one of Encryptions, or was added.
func (e Encryption) Supported() bool { return e.KeyLen() != 0 }

// KeyLen returns the octets of keying material that the transform takes of prf+ for an ESP SA: the key and the salt of a
// combined-mode cipher, or the encryption key and the integrity key behind it (RFC 7296 §2.17). It is 0 for a transform that
// is not supported.
func (e Encryption) KeyLen() int {
	combined := e.Integrity == IntegrityNone
	switch {
	case e.ID == EncryptionAESGCM16 && combined && (e.KeyBits == 128 || e.KeyBits == 256):
		return int(e.KeyBits)/8 + saltLen
	case e.ID == EncryptionChaCha20Poly1305 && combined && e.KeyBits == 0:
		return chacha20poly1305.KeySize + saltLen
	case e.ID == EncryptionAESCBC && e.Integrity.Supported() && (e.KeyBits == 128 || e.KeyBits == 256):
		return int(e.KeyBits)/8 + e.Integrity.KeyLen()
	}
	return addedCiphers[e].KeyLen
}

// IVLen returns the length of the IV in octets.
func (e Encryption) IVLen() int {
	if e.ID == EncryptionAESCBC {
		return aes.BlockSize
	}
	if a, ok := addedCiphers[e]; ok {
		return a.IVLen
	}
	return ivLen
}

// ICVLen returns the length of the ICV in octets.
func (e Encryption) ICVLen() int {
	if e.ID == EncryptionAESCBC {
		return e.Integrity.ICVLen()
	}
	if a, ok := addedCiphers[e]; ok {
		return a.ICVLen
	}
	return icvLen
}

// Align returns what the length of the plaintext must be a multiple of, see Cipher.
func (e Encryption) Align() int {
	if e.ID == EncryptionAESCBC {
		return aes.BlockSize
	}
	if a, ok := addedCiphers[e]; ok {
		return a.Align
	}
	return 1
}

// NewCipher returns the cipher under key, which is KeyLen octets of keying material: key, then salt or integrity key. It keeps
// no reference to key.
func (e Encryption) NewCipher(key []byte) (Cipher, error) {
	if !e.Supported() {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, e)
	}
	if len(key) != e.KeyLen() {
		return nil, fmt.Errorf("%w: %v takes %d octets, found %d", ErrKeyLength, e, e.KeyLen(), len(key))
	}
	if a, ok := addedCiphers[e]; ok {
		return a.New(key)
	}
	if e.ID == EncryptionAESCBC {
		c, err := newCBC(e, key)
		if err != nil {
			return nil, fmt.Errorf("suite: %v: %w", e, err)
		}
		return c, nil
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
