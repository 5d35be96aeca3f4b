package suite

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"sync"
)

// Cipher encrypts and authenticates. The octets it works on, called body, have the layout that the SK payload of
// IKE (RFC 7296 §3.14) and the ESP packet (RFC 4303 §2) share:
//
//	IV (IVLen) | plaintext, padding included | ICV (ICVLen)
//
// The additional authenticated data aad is, for IKE, the message from its first octet to the last before the IV (RFC 5282
// §5.1), and for ESP the SPI and the sequence number of 4 octets or, when it is an extended one, of 8 (RFC 4106 §5). A cipher
// with an integrity transform of its own takes the same and puts the octets into that transform's order (RFC 4303 §2.2.1).
type Cipher interface {
	// IVLen returns the length of the IV in octets.
	IVLen() int
	// ICVLen returns the length of the ICV in octets.
	ICVLen() int
	// Align returns what the length of the plaintext, padding included, must be a multiple of, in octets. For ESP the
	// 4 octets of RFC 4303 §2.4 come on top.
	Align() int
	// Seal writes the IV made from counter, encrypts the plaintext and writes the ICV. A value of counter must never be
	// used twice under one key. It panics when body is shorter than IVLen + ICVLen or the plaintext no multiple of Align. aad
	// may lie before body in the same octets but must not overlap it.
	Seal(aad, body []byte, counter uint64)
	// SealTo is Seal from one place into another: it writes the body with the IV made from counter, the encrypted text
	// and the ICV into dst, which has IVLen + len(text) + ICVLen octets; it panics when it has not. text, padding included,
	// lies apart from dst or exactly at its IVLen, and is changed only there; aad must not overlap what is written behind
	// the IV.
	SealTo(s *Scratch, dst, aad, text []byte, counter uint64)
	// Open checks the ICV, decrypts and returns the plaintext, which is a part of body. When the ICV is wrong or body too
	// short it returns an error that wraps ErrAuthentication, and body's content is undefined.
	Open(aad, body []byte) ([]byte, error)
	// OpenWith is Open with the caller's scratch memory.
	OpenWith(s *Scratch, aad, body []byte) ([]byte, error)
}

// Scratch is memory that a Cipher needs for a call beside the arguments. Who seals or opens a run of packets keeps one for
// all of them; it may go from cipher to cipher but belongs to one goroutine at a time. The zero value is ready.
type Scratch struct {
	nonce [saltLen + ivLen]byte
}

const (
	ivLen  = 8  // RFC 4106 §3.1, RFC 7634 §2
	icvLen = 16 // RFC 4106 §6, RFC 7634 §2
)

// combined is a combined-mode cipher whose nonce is salt | IV.
type combined struct {
	aead cipher.AEAD
	salt [saltLen]byte
}

// scratches holds scratch memory on the heap: a nonce on the stack would move there with each call, since the standard
// library's ciphers stand behind an interface.
var scratches = sync.Pool{New: func() any { return new(Scratch) }}

func (c *combined) IVLen() int { return ivLen }

func (c *combined) ICVLen() int { return icvLen }

func (c *combined) Align() int { return 1 }

func (c *combined) Seal(aad, body []byte, counter uint64) {
	if len(body) < ivLen+icvLen {
		panic(fmt.Sprintf("suite: seal of a body of %d octets, at least %d are needed", len(body), ivLen+icvLen))
	}
	s := scratches.Get().(*Scratch)
	c.SealTo(s, body, aad, body[ivLen:len(body)-icvLen], counter)
	scratches.Put(s)
}

func (c *combined) SealTo(s *Scratch, dst, aad, text []byte, counter uint64) {
	if len(dst) != ivLen+len(text)+icvLen {
		panic(fmt.Sprintf("suite: seal of %d octets into %d, exactly %d are needed", len(text), len(dst), ivLen+len(text)+icvLen))
	}
	copy(s.nonce[:], c.salt[:])
	binary.BigEndian.PutUint64(s.nonce[saltLen:], counter)
	copy(dst, s.nonce[saltLen:])
	c.aead.Seal(dst[ivLen:ivLen:len(dst)], s.nonce[:], text, aad)
}

func (c *combined) Open(aad, body []byte) ([]byte, error) {
	s := scratches.Get().(*Scratch)
	text, err := c.OpenWith(s, aad, body)
	scratches.Put(s)
	return text, err
}

func (c *combined) OpenWith(s *Scratch, aad, body []byte) ([]byte, error) {
	if len(body) < ivLen+icvLen {
		return nil, fmt.Errorf("%w: %d octets, at least %d expected", ErrAuthentication, len(body), ivLen+icvLen)
	}
	copy(s.nonce[:], c.salt[:])
	copy(s.nonce[saltLen:], body)
	text := body[ivLen:]
	text, err := c.aead.Open(text[:0], s.nonce[:], text, aad)
	if err != nil {
		return nil, ErrAuthentication
	}
	return text, nil
}
