package auth

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"fmt"
)

// Algorithm computes authenticators.
type Algorithm uint8

const (
	// HMACMD5 is HMAC-MD5, the default of RFC 5944 §3.5.1; the authenticator has 16 octets.
	HMACMD5 Algorithm = iota
	// KeyedMD5 is MD5 over key, data, key ("prefix+suffix"), the default of RFC 2002 §3.5.1; 16 octets. It is for old peers
	// and never strong.
	KeyedMD5
	// HMACSHA1 is HMAC-SHA-1 (RFC 2104), 20 octets.
	HMACSHA1
	// HMACSHA256 is HMAC-SHA-256, 32 octets.
	HMACSHA256
	numAlgorithms
)

var algorithmNames = [numAlgorithms]string{"hmac-md5", "keyed-md5", "hmac-sha1", "hmac-sha256"}

// String returns the algorithm's name as ParseAlgorithm takes it.
func (a Algorithm) String() string {
	if a < numAlgorithms {
		return algorithmNames[a]
	}
	return fmt.Sprintf("algorithm %d", uint8(a))
}

// AlgorithmNames returns the names that ParseAlgorithm takes.
func AlgorithmNames() []string { return algorithmNames[:] }

// ParseAlgorithm returns the algorithm of that name: hmac-md5, keyed-md5, hmac-sha1 or hmac-sha256.
func ParseAlgorithm(name string) (Algorithm, error) {
	for i, n := range algorithmNames {
		if n == name {
			return Algorithm(i), nil
		}
	}
	return 0, fmt.Errorf("mipv4/auth: unknown algorithm %q, expected one of %v", name, algorithmNames)
}

// Size returns the length of the algorithm's authenticator in octets.
func (a Algorithm) Size() int {
	switch a {
	case HMACSHA1:
		return sha1.Size
	case HMACSHA256:
		return sha256.Size
	}
	return md5.Size
}

// sum appends the authenticator of data under key to b.
func (a Algorithm) sum(b, key, data []byte) []byte {
	switch a {
	case KeyedMD5:
		h := md5.New()
		h.Write(key)
		h.Write(data)
		h.Write(key)
		return h.Sum(b)
	case HMACSHA1:
		h := hmac.New(sha1.New, key)
		h.Write(data)
		return h.Sum(b)
	case HMACSHA256:
		h := hmac.New(sha256.New, key)
		h.Write(data)
		return h.Sum(b)
	}
	h := hmac.New(md5.New, key)
	h.Write(data)
	return h.Sum(b)
}
