package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // hash functions of the schemes
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
)

// ErrScheme is wrapped by errors about a scheme that does not go with a key.
var ErrScheme = errors.New("signature scheme does not go with the key")

// ErrSelfCheck is returned when a signature that was just made does not verify: the key is not the certificate's, or the device is
// faulty. Such a signature is never handed out.
var ErrSelfCheck = errors.New("the signature does not verify with the certificate's key: the private key belongs to another certificate, or its device is faulty")

var hashes = []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512}

// Schemes returns the schemes that a key of this kind makes, the preferred first: for RSA, PSS and then PKCS #1 v1.5, each with
// SHA-256, SHA-384 and SHA-512; for ECDSA the hash of the curve's size, other hashes, and the method of RFC 4754; Ed25519. nil for
// keys that IKE is not to be done with.
func Schemes(key crypto.PublicKey) []ike.SignatureScheme {
	var all []ike.SignatureScheme
	add := func(m message.AuthMethod, a ike.SignatureAlgorithm, h ...crypto.Hash) {
		for _, h := range h {
			all = append(all, ike.SignatureScheme{Method: m, Algorithm: a, Hash: h})
		}
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil
		}
		add(message.AuthDigitalSignature, ike.RSAPSS, hashes...)
		add(message.AuthDigitalSignature, ike.RSAPKCS1, hashes...)
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			add(message.AuthDigitalSignature, ike.ECDSA, crypto.SHA256, crypto.SHA384, crypto.SHA512)
			add(message.AuthECDSA256, ike.ECDSA, crypto.SHA256)
		case elliptic.P384():
			add(message.AuthDigitalSignature, ike.ECDSA, crypto.SHA384, crypto.SHA512, crypto.SHA256)
			add(message.AuthECDSA384, ike.ECDSA, crypto.SHA384)
		case elliptic.P521():
			add(message.AuthDigitalSignature, ike.ECDSA, crypto.SHA512, crypto.SHA384, crypto.SHA256)
			add(message.AuthECDSA521, ike.ECDSA, crypto.SHA512)
		}
	case ed25519.PublicKey:
		add(message.AuthDigitalSignature, ike.Ed25519, 0)
	}
	return all
}

// Sign signs the octets, which are not hashed yet, by the scheme, for ike.Machine.Signed: an RSA signature, an ECDSA-Sig-Value in DER
// (for the methods of RFC 4754, too), or an Ed25519 signature. It is verified before it is returned (ErrSelfCheck), with public, the
// certificate's key.
func Sign(key crypto.Signer, public crypto.PublicKey, s ike.SignatureScheme, octets []byte) ([]byte, error) {
	digest, opts, err := prepare(s, octets)
	if err != nil {
		return nil, err
	}
	signature, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		return nil, fmt.Errorf("credential: sign with %v: %w", describe(s), err)
	}
	if err := verify(public, s, digest, signature); err != nil {
		return nil, err
	}
	return signature, nil
}

// prepare returns what the key signs, and how.
func prepare(s ike.SignatureScheme, octets []byte) ([]byte, crypto.SignerOpts, error) {
	if s.Algorithm == ike.Ed25519 {
		if s.Hash != 0 {
			return nil, nil, fmt.Errorf("credential: %w: Ed25519 with %v", ErrScheme, s.Hash)
		}
		return octets, crypto.Hash(0), nil
	}
	known := false
	for _, h := range hashes {
		known = known || h == s.Hash
	}
	if !known {
		return nil, nil, fmt.Errorf("credential: %w: hash function %d", ErrScheme, s.Hash)
	}
	h := s.Hash.New()
	h.Write(octets)
	digest := h.Sum(nil)
	if s.Algorithm == ike.RSAPSS {
		return digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.Hash}, nil
	}
	return digest, s.Hash, nil
}

// verify checks a signature as the peer will.
func verify(public crypto.PublicKey, s ike.SignatureScheme, digest, signature []byte) error {
	ok := false
	switch k := public.(type) {
	case *rsa.PublicKey:
		switch s.Algorithm {
		case ike.RSAPSS:
			ok = rsa.VerifyPSS(k, s.Hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		case ike.RSAPKCS1:
			ok = rsa.VerifyPKCS1v15(k, s.Hash, digest, signature) == nil
		case ike.ECDSA, ike.Ed25519:
			return fmt.Errorf("credential: %w: an RSA key and %s", ErrScheme, describe(s))
		}
	case *ecdsa.PublicKey:
		if s.Algorithm != ike.ECDSA {
			return fmt.Errorf("credential: %w: an ECDSA key and %s", ErrScheme, describe(s))
		}
		ok = ecdsa.VerifyASN1(k, digest, signature)
	case ed25519.PublicKey:
		if s.Algorithm != ike.Ed25519 {
			return fmt.Errorf("credential: %w: an Ed25519 key and %s", ErrScheme, describe(s))
		}
		ok = ed25519.Verify(k, digest, signature)
	}
	if !ok {
		return fmt.Errorf("credential: %s: %w", describe(s), ErrSelfCheck)
	}
	return nil
}

// ecdsaSignature is ECDSA-Sig-Value (RFC 3279 §2.2.3).
type ecdsaSignature struct{ R, S *big.Int }

// derECDSA encodes a signature of a device, which makes the two numbers one behind the other.
func derECDSA(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("credential: an ECDSA signature of %d octets, want two numbers of the same length", len(raw))
	}
	n := len(raw) / 2
	return asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(raw[:n]), new(big.Int).SetBytes(raw[n:])})
}

// describe names a scheme for people.
func describe(s ike.SignatureScheme) string {
	switch s.Algorithm {
	case ike.RSAPSS:
		return "RSASSA-PSS with " + s.Hash.String()
	case ike.RSAPKCS1:
		return "RSASSA-PKCS1-v1_5 with " + s.Hash.String()
	case ike.ECDSA:
		return "ECDSA with " + s.Hash.String()
	case ike.Ed25519:
		return "Ed25519"
	}
	return fmt.Sprintf("signature algorithm %d", s.Algorithm)
}
