package credential

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike"
)

// schemeOf returns what crypto.Signer's options ask a device for.
func schemeOf(public crypto.PublicKey, opts crypto.SignerOpts) (ike.SignatureScheme, error) {
	s := ike.SignatureScheme{Hash: opts.HashFunc()}
	switch public.(type) {
	case *rsa.PublicKey:
		s.Algorithm = ike.RSAPKCS1
		if pss, ok := opts.(*rsa.PSSOptions); ok {
			s.Algorithm = ike.RSAPSS
			if pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != s.Hash.Size() {
				return s, fmt.Errorf("%w: a salt of %d octets, want as many as the hash has", ErrScheme, pss.SaltLength)
			}
		}
	case *ecdsa.PublicKey:
		s.Algorithm = ike.ECDSA
	case ed25519.PublicKey:
		s.Algorithm = ike.Ed25519
		if s.Hash != 0 {
			return s, fmt.Errorf("%w: Ed25519 signs no hash", ErrScheme)
		}
		return s, nil
	}
	if !slices.Contains(hashes, s.Hash) {
		return s, fmt.Errorf("%w: hash function %d", ErrScheme, s.Hash)
	}
	return s, nil
}
