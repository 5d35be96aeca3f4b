package suite

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
)

// PRF is a pseudorandom function by its IKEv2 transform number (type 2, RFC 7296 §3.3.2).
type PRF uint16

// The pseudorandom functions there are (RFC 4868 §2.4).
const (
	PRFHMACSHA256 PRF = 5
	PRFHMACSHA384 PRF = 6
	PRFHMACSHA512 PRF = 7
)

// PRFs returns the supported functions in the order of preference.
func PRFs() []PRF { return []PRF{PRFHMACSHA256, PRFHMACSHA384, PRFHMACSHA512} }

// String returns the name of the IANA registry, or the number of a function that is not known.
func (p PRF) String() string {
	switch p {
	case PRFHMACSHA256:
		return "PRF_HMAC_SHA2_256"
	case PRFHMACSHA384:
		return "PRF_HMAC_SHA2_384"
	case PRFHMACSHA512:
		return "PRF_HMAC_SHA2_512"
	}
	if a, ok := addedPRFs[p]; ok {
		return a.Name
	}
	return fmt.Sprintf("PRF transform %d", uint16(p))
}

// Supported reports whether the function is one of PRFs, or was added.
func (p PRF) Supported() bool { return p.Size() != 0 }

// Size returns the output length in octets, which is also the preferred key length (RFC 7296 §2.13) and so the length of
// SK_d, SK_pi and SK_pr. It is 0 for a function that is not supported.
func (p PRF) Size() int {
	switch p {
	case PRFHMACSHA256:
		return sha256.Size
	case PRFHMACSHA384:
		return sha512.Size384
	case PRFHMACSHA512:
		return sha512.Size
	}
	if a, ok := addedPRFs[p]; ok {
		return a.Hash().Size()
	}
	return 0
}

func (p PRF) hash() func() hash.Hash {
	switch p {
	case PRFHMACSHA256:
		return sha256.New
	case PRFHMACSHA384:
		return sha512.New384
	case PRFHMACSHA512:
		return sha512.New
	}
	if a, ok := addedPRFs[p]; ok {
		return a.Hash
	}
	panic(fmt.Sprintf("suite: %v was used without asking whether it is supported", p))
}

// Sum returns prf(key, parts[0] | parts[1] | ...). It panics for a function that is not supported, which is an error of
// the program.
func (p PRF) Sum(key []byte, parts ...[]byte) []byte {
	h := hmac.New(p.hash(), key)
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

// Expand returns the first n octets of prf+(key, seed[0] | seed[1] | ...) (RFC 7296 §2.13). It panics for a negative n,
// for n beyond 255 outputs, where prf+ is not defined, and for a function that is not supported.
func (p PRF) Expand(key []byte, n int, seed ...[]byte) []byte {
	if n < 0 || n > 255*p.Size() {
		panic(fmt.Sprintf("suite: %d octets of prf+ were asked for, %v has at most %d", n, p, 255*p.Size()))
	}
	out := make([]byte, 0, n+p.Size())
	h := hmac.New(p.hash(), key)
	for i := byte(1); len(out) < n; i++ {
		h.Reset()
		if i > 1 {
			h.Write(out[len(out)-p.Size():])
		}
		for _, part := range seed {
			h.Write(part)
		}
		h.Write([]byte{i})
		out = h.Sum(out)
	}
	clear(out[n:])
	return out[:n:n]
}
