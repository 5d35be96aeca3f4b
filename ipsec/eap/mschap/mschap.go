package mschap

import (
	"crypto/des"
	"crypto/fips140"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	//lint:ignore SA1019 MS-CHAP is made of MD4; doc.go says where it may be used
	"golang.org/x/crypto/md4"
)

// Sizes in octets.
const (
	ChallengeSize = 16 // of a challenge, either end's
	HashSize      = 16 // of an NT password hash
	ResponseSize  = 24 // of an NT response
	KeySize       = 16 // of a send or receive key
)

// maxPassword bounds a password in UTF-16 units (RFC 2759 §8.1).
const maxPassword = 256

// ErrPassword tells that a password cannot be hashed: it is not UTF-8, or too long.
var ErrPassword = errors.New("mschap: password")

// ErrFIPS tells that DES and MD4 may not be used in this process.
var ErrFIPS = errors.New("mschap: MS-CHAP needs DES and MD4, which FIPS 140 mode does not allow; use EAP-TLS")

// Allowed returns ErrFIPS where the Go Cryptographic Module enforces FIPS 140, otherwise nil.
func Allowed() error {
	if fips140.Enforced() {
		return ErrFIPS
	}
	return nil
}

// Hash is an NT password hash (NtPasswordHash, RFC 2759 §8.3): as good as the password for MS-CHAP, so as secret.
type Hash [HashSize]byte

// String hides the hash.
func (Hash) String() string { return "NT hash (hidden)" }

// GoString hides the hash.
func (Hash) GoString() string { return "mschap.Hash{hidden}" }

// ParseHash reads an NT hash in its usual written form: 32 hexadecimal digits. The error does not show them.
func ParseHash(s string) (Hash, error) {
	var h Hash
	b, err := hex.DecodeString(strings.TrimSpace(s))
	if err != nil || len(b) != HashSize {
		return h, fmt.Errorf("%w: an NT hash has 32 hexadecimal digits", ErrPassword)
	}
	copy(h[:], b)
	clear(b)
	return h, nil
}

// HashPassword returns the NT hash of a password in UTF-8. Errors: ErrPassword.
func HashPassword(password []byte) (Hash, error) {
	var out Hash
	if !utf8.Valid(password) {
		return out, fmt.Errorf("%w: want UTF-8", ErrPassword)
	}
	units := make([]byte, 0, 2*len(password))
	defer func() { clear(units[:cap(units)]) }()
	for rest := password; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		rest = rest[n:]
		if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
			units = append(units, byte(r1), byte(r1>>8), byte(r2), byte(r2>>8))
		} else {
			units = append(units, byte(r), byte(r>>8))
		}
	}
	if len(units) > 2*maxPassword {
		return out, fmt.Errorf("%w: want at most %d characters", ErrPassword, maxPassword)
	}
	return hashOf(units), nil
}

func hashOf(b []byte) Hash {
	h := md4.New()
	h.Write(b)
	return Hash(h.Sum(nil))
}

// BareUser returns the user's name without the domain that is written before it with a backslash, which is not part of
// what is hashed (RFC 2759 §8.2).
func BareUser(name string) string {
	if _, user, ok := strings.Cut(name, `\`); ok {
		return user
	}
	return name
}

// Exchange is what both ends know of one exchange apart from the password.
type Exchange struct {
	// Server and Peer are the challenges of the two ends.
	Server, Peer [ChallengeSize]byte
	// User is the name as the peer gave it; a domain in front is left out of the arithmetic.
	User string
}

// challenge is ChallengeHash (RFC 2759 §8.2).
func (x *Exchange) challenge() [8]byte {
	h := sha1.New()
	h.Write(x.Peer[:])
	h.Write(x.Server[:])
	h.Write([]byte(BareUser(x.User)))
	return [8]byte(h.Sum(nil))
}

// Response is GenerateNTResponse (RFC 2759 §8.1). Callers have asked Allowed before.
func (x *Exchange) Response(password Hash) [ResponseSize]byte {
	var out [ResponseSize]byte
	var padded [21]byte
	defer clear(padded[:])
	copy(padded[:], password[:])
	challenge := x.challenge()
	for i := range 3 {
		key := desKey([7]byte(padded[7*i:]))
		c, err := des.NewCipher(key[:])
		if err != nil {
			panic("mschap: an 8-octet DES key was refused") // not by its length; FIPS mode was asked before
		}
		c.Encrypt(out[8*i:], challenge[:])
		clear(key[:])
	}
	return out
}

// desKey spreads 56 bits over eight octets, with odd parity (RFC 2759 §8.6, §9.3).
func desKey(raw [7]byte) (key [8]byte) {
	var bits uint64
	for _, b := range raw {
		bits = bits<<8 | uint64(b)
	}
	for i := range key {
		b := byte(bits>>(49-7*i))<<1 | 1
		for p := b >> 1; p != 0; p &= p - 1 {
			b ^= 1
		}
		key[i] = b
	}
	return key
}

const (
	magicServer = "Magic server to client signing constant"
	magicPad    = "Pad to make it do more than one iteration"
	magicMaster = "This is the MPPE Master Key"
	magicSend   = "On the client side, this is the send key; on the server side, it is the receive key."
	magicRecv   = "On the client side, this is the receive key; on the server side, it is the send key."
)

// AuthenticatorResponse is GenerateAuthenticatorResponse (RFC 2759 §8.7): "S=" with 40 hexadecimal digits, by which the
// server shows that it knows the password's hash. Compare it in constant time.
func (x *Exchange) AuthenticatorResponse(password Hash, response [ResponseSize]byte) string {
	twice := hashOf(password[:])
	defer clear(twice[:])
	h := sha1.New()
	h.Write(twice[:])
	h.Write(response[:])
	h.Write([]byte(magicServer))
	digest := h.Sum(nil)
	challenge := x.challenge()
	h.Reset()
	h.Write(digest)
	h.Write(challenge[:])
	h.Write([]byte(magicPad))
	return "S=" + strings.ToUpper(hex.EncodeToString(h.Sum(nil)))
}

// Keys returns the keys of an exchange (RFC 3079 §3.4): what the server receives with, which is what the peer sends with,
// and what the server sends with.
func Keys(password Hash, response [ResponseSize]byte) (serverReceive, serverSend [KeySize]byte) {
	twice := hashOf(password[:])
	defer clear(twice[:])
	h := sha1.New()
	h.Write(twice[:])
	h.Write(response[:])
	h.Write([]byte(magicMaster))
	master := h.Sum(nil)
	defer clear(master)
	start := func(magic string) [KeySize]byte {
		var pad1, pad2 [40]byte
		for i := range pad2 {
			pad2[i] = 0xf2
		}
		h.Reset()
		h.Write(master[:KeySize])
		h.Write(pad1[:])
		h.Write([]byte(magic))
		h.Write(pad2[:])
		return [KeySize]byte(h.Sum(nil))
	}
	return start(magicSend), start(magicRecv)
}
