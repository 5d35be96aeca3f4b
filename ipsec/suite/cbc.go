package suite

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"hash"
	"sync"
)

// blockMode is a CBC mode of the standard library, all of which can be given another IV.
type blockMode interface {
	cipher.BlockMode
	SetIV(iv []byte)
}

// esnAAD is the length of the additional authenticated data of an ESP packet with extended sequence numbers: no other has it, for
// that of IKE has 32 octets at least.
const esnAAD = 12

// cbc is AES-CBC with an HMAC over the ciphertext (RFC 3602, RFC 4868).
//
// The IV must not be foreseen by who chooses the plaintext (RFC 3602 §3). It is the counter encrypted under a key that is
// derived from the keying material for nothing else (as NIST SP 800-38A appendix C has it, but with a key of its own), so that
// it repeats no more than the counter does.
type cbc struct {
	icv    int
	states sync.Pool // of *cbcState
}

// cbcState is what one call needs: the standard library's modes and HMACs keep state, and a Cipher has many callers.
type cbcState struct {
	ivs      cipher.Block
	enc, dec blockMode
	mac      hash.Hash
	iv       [aes.BlockSize]byte
	sum      [sha512.Size]byte
}

func newCBC(e Encryption, key []byte) (*cbc, error) {
	n := int(e.KeyBits) / 8
	block, err := aes.NewCipher(key[:n])
	if err != nil {
		return nil, err
	}
	derive := hmac.New(sha256.New, key[n:])
	derive.Write([]byte("key of the initialization vectors"))
	ivKey := derive.Sum(nil)
	defer clear(ivKey)
	ivs, err := aes.NewCipher(ivKey[:n])
	if err != nil {
		return nil, err
	}
	integrity, h := append([]byte(nil), key[n:]...), e.Integrity.hash()
	c := &cbc{icv: e.ICVLen()}
	c.states.New = func() any {
		iv := make([]byte, aes.BlockSize)
		s := &cbcState{ivs: ivs, mac: hmac.New(h, integrity)}
		s.enc, _ = cipher.NewCBCEncrypter(block, iv).(blockMode)
		s.dec, _ = cipher.NewCBCDecrypter(block, iv).(blockMode)
		s.mac.Reset() // keeps the hashed key from now on
		return s
	}
	s, _ := c.states.Get().(*cbcState)
	if s.enc == nil || s.dec == nil {
		return nil, fmt.Errorf("%w: AES-CBC whose IV cannot be set", ErrUnsupported)
	}
	c.states.Put(s)
	return c, nil
}

func (c *cbc) IVLen() int { return aes.BlockSize }

func (c *cbc) ICVLen() int { return c.icv }

func (c *cbc) Align() int { return aes.BlockSize }

func (c *cbc) Seal(aad, body []byte, counter uint64) {
	if len(body) < aes.BlockSize+c.icv {
		panic(fmt.Sprintf("suite: seal of a body of %d octets, at least %d are needed", len(body), aes.BlockSize+c.icv))
	}
	c.SealTo(nil, body, aad, body[aes.BlockSize:len(body)-c.icv], counter)
}

// SealTo needs no scratch memory of the caller's.
func (c *cbc) SealTo(_ *Scratch, dst, aad, text []byte, counter uint64) {
	end := aes.BlockSize + len(text)
	if len(text)%aes.BlockSize != 0 || len(dst) != end+c.icv {
		panic(fmt.Sprintf("suite: seal of %d octets into %d: want a multiple of %d, and exactly %d", len(text), len(dst), aes.BlockSize, end+c.icv))
	}
	s := c.states.Get().(*cbcState)
	clear(s.iv[:])
	binary.BigEndian.PutUint64(s.iv[aes.BlockSize-8:], counter)
	s.ivs.Encrypt(s.iv[:], s.iv[:])
	s.enc.SetIV(s.iv[:])
	s.enc.CryptBlocks(dst[aes.BlockSize:end], text)
	copy(dst, s.iv[:])
	copy(dst[end:], s.icv(aad, dst[:end], c.icv))
	c.states.Put(s)
}

func (c *cbc) Open(aad, body []byte) ([]byte, error) { return c.OpenWith(nil, aad, body) }

// OpenWith decrypts only what is authentic: padding is nobody's business before that, so that nothing can be learned from how
// it is received.
func (c *cbc) OpenWith(_ *Scratch, aad, body []byte) ([]byte, error) {
	end := len(body) - c.icv
	if end < aes.BlockSize || end%aes.BlockSize != 0 {
		return nil, fmt.Errorf("%w: %d octets, want an IV and whole blocks of %d octets and an ICV of %d",
			ErrAuthentication, len(body), aes.BlockSize, c.icv)
	}
	s := c.states.Get().(*cbcState)
	defer c.states.Put(s)
	if !hmac.Equal(s.icv(aad, body[:end], c.icv), body[end:]) {
		return nil, ErrAuthentication
	}
	s.dec.SetIV(body[:aes.BlockSize])
	text := body[aes.BlockSize:end]
	s.dec.CryptBlocks(text, text)
	return text, nil
}

// icv returns the first n octets of the HMAC of an IKE message or ESP packet with this IV and ciphertext. With extended
// sequence numbers the upper half of the number, which is not sent, comes last (RFC 4303 §2.2.1).
func (s *cbcState) icv(aad, sealed []byte, n int) []byte {
	s.mac.Reset()
	if len(aad) == esnAAD {
		s.mac.Write(aad[:4])
		s.mac.Write(aad[8:])
		s.mac.Write(sealed)
		s.mac.Write(aad[4:8])
	} else {
		s.mac.Write(aad)
		s.mac.Write(sealed)
	}
	return s.mac.Sum(s.sum[:0])[:n]
}
