package ike

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // the hash functions of RFC 7427
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"

	"mipvpn/ipsec/ike/message"
)

// minRSABits is the size of the shortest RSA key whose signatures are taken (RFC 8247 §4.1).
const minRSABits = 2048

// ErrWeakSignature means that the peer signs with RSA by AUTH method 1 or with SHA-1, which is not taken: it has to support
// RFC 7427 (RFC 8247 §3.2).
var ErrWeakSignature = errors.New("signatures with SHA-1 are not taken, the peer needs RFC 7427")

// ErrSignatureScheme means that the peer takes none of the signature schemes of our key, or we not the one that it uses.
var ErrSignatureScheme = errors.New("no signature scheme that both ends take")

// String names the scheme: the algorithm with its hash, and the method of RFC 4754 if it is one.
func (s SignatureScheme) String() string {
	out := s.Algorithm.String()
	if s.Hash != 0 {
		out += " with " + s.Hash.String()
	}
	if s.Method != message.AuthDigitalSignature {
		out += fmt.Sprintf(" (method %d)", s.Method)
	}
	return out
}

// String returns the algorithm's usual name.
func (a SignatureAlgorithm) String() string {
	switch a {
	case RSAPKCS1:
		return "RSASSA-PKCS1-v1_5"
	case RSAPSS:
		return "RSASSA-PSS"
	case ECDSA:
		return "ECDSA"
	case Ed25519:
		return "Ed25519"
	default:
		return fmt.Sprintf("signature algorithm %d", uint8(a))
	}
}

// signatureHashes are the hash functions of signatures, as SIGNATURE_HASH_ALGORITHMS numbers them.
var signatureHashes = []struct {
	number message.HashAlgorithm
	hash   crypto.Hash
}{
	{message.HashSHA256, crypto.SHA256}, {message.HashSHA384, crypto.SHA384}, {message.HashSHA512, crypto.SHA512},
	{message.HashIdentity, 0},
}

// identifiers are the AlgorithmIdentifiers in DER that are taken, and what they mean; preferred are those that are sent.
// Comparing with all that may come leaves nothing to be parsed (RFC 7427 §3).
var identifiers, preferred = makeIdentifiers()

// makeIdentifiers: RSASSA-PKCS1-v1_5 with NULL parameters, or without (RFC 4055 §5); RSASSA-PSS with the hash in all places
// and a salt of its length, with and without NULL parameters of the hash (RFC 4055 §2.1), with and without the trailer field
// of 1, which is the default, but stands in RFC 7427 appendix A.4.3; ECDSA and Ed25519 without parameters.
func makeIdentifiers() (taken map[string]SignatureScheme, sent map[SignatureScheme][]byte) {
	taken, sent = map[string]SignatureScheme{}, map[SignatureScheme][]byte{}
	add := func(a SignatureAlgorithm, h crypto.Hash, der []byte) {
		s := SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: a, Hash: h}
		taken[string(der)] = s
		if sent[s] == nil {
			sent[s] = der
		}
	}
	pkcs1 := func(n byte) []byte { return oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, n) }
	null := der(0x05)
	for i, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		n := byte(i)
		add(RSAPKCS1, h, der(0x30, pkcs1(11+n), null))
		add(RSAPKCS1, h, der(0x30, pkcs1(11+n)))
		add(ECDSA, h, der(0x30, oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 2+n)))
		name := oid(0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 1+n)
		salt := der(0xa2, der(0x02, []byte{byte(h.Size())}))
		for _, trailer := range [][]byte{nil, der(0xa3, der(0x02, []byte{1}))} {
			for _, digest := range [][]byte{der(0x30, name, null), der(0x30, name)} {
				for _, mask := range [][]byte{der(0x30, name, null), der(0x30, name)} {
					parameters := der(0x30, der(0xa0, digest), der(0xa1, der(0x30, pkcs1(8), mask)), salt, trailer)
					add(RSAPSS, h, der(0x30, pkcs1(10), parameters))
				}
			}
		}
	}
	add(Ed25519, 0, der(0x30, oid(0x2b, 0x65, 0x70)))
	return taken, sent
}

// der encodes a value of less than 128 octets.
func der(tag byte, parts ...[]byte) []byte {
	out := []byte{tag, 0}
	for _, p := range parts {
		out = append(out, p...)
	}
	out[1] = byte(len(out) - 2)
	return out
}

func oid(b ...byte) []byte { return der(0x06, b) }

// curveOf returns the curve and hash of a method of RFC 4754.
func curveOf(m message.AuthMethod) (elliptic.Curve, crypto.Hash, bool) {
	switch m {
	case message.AuthECDSA256:
		return elliptic.P256(), crypto.SHA256, true
	case message.AuthECDSA384:
		return elliptic.P384(), crypto.SHA384, true
	case message.AuthECDSA521:
		return elliptic.P521(), crypto.SHA512, true
	default:
		return nil, 0, false
	}
}

// appendSignature makes the Authentication Data of an AUTH payload. signature is as crypto.Signer yields it.
func (s SignatureScheme) appendSignature(signature []byte) ([]byte, error) {
	if s.Method == message.AuthDigitalSignature { // RFC 7427 §3, Figure 2
		id := preferred[s]
		if id == nil {
			return nil, fmt.Errorf("%w: %v is not known", ErrSignatureScheme, s)
		}
		return append(append([]byte{byte(len(id))}, id...), signature...), nil
	}
	curve, hash, ok := curveOf(s.Method)
	if !ok || s.Algorithm != ECDSA || s.Hash != hash {
		return nil, fmt.Errorf("%w: %v is not known", ErrSignatureScheme, s)
	}
	var v struct{ R, S *big.Int } // RFC 4754 §7: r and s, each as long as the curve's order
	if rest, err := asn1.Unmarshal(signature, &v); err != nil || len(rest) != 0 || v.R.Sign() <= 0 || v.S.Sign() <= 0 ||
		v.R.BitLen() > curve.Params().BitSize || v.S.BitLen() > curve.Params().BitSize {
		return nil, fmt.Errorf("%w: want an ECDSA signature in DER for %v", ErrSignatureScheme, s)
	}
	n := (curve.Params().BitSize + 7) / 8
	out := make([]byte, 2*n)
	v.R.FillBytes(out[:n])
	v.S.FillBytes(out[n:])
	return out, nil
}

// parseSignature reads the Authentication Data of an AUTH payload. Errors wrap ErrSignatureScheme or ErrWeakSignature.
func parseSignature(auth message.Auth) (s SignatureScheme, signature []byte, err error) {
	switch auth.Method {
	case message.AuthRSASignature:
		return s, nil, fmt.Errorf("%w: AUTH method 1", ErrWeakSignature)
	case message.AuthECDSA256, message.AuthECDSA384, message.AuthECDSA521:
		curve, hash, _ := curveOf(auth.Method)
		if n := 2 * ((curve.Params().BitSize + 7) / 8); len(auth.Data) != n {
			return s, nil, fmt.Errorf("%w: want %d octets for method %d, found %d", ErrSignatureScheme, n, auth.Method, len(auth.Data))
		}
		return SignatureScheme{Method: auth.Method, Algorithm: ECDSA, Hash: hash}, auth.Data, nil
	case message.AuthDigitalSignature:
		if len(auth.Data) < 1 || len(auth.Data)-1 < int(auth.Data[0]) {
			return s, nil, fmt.Errorf("%w: want an AlgorithmIdentifier, found %d octets", ErrSignatureScheme, len(auth.Data))
		}
		id, signature := auth.Data[1:1+auth.Data[0]], auth.Data[1+auth.Data[0]:]
		if s, ok := identifiers[string(id)]; ok {
			return s, signature, nil
		}
		if sha1Identifiers[string(id)] {
			return s, nil, fmt.Errorf("%w: AlgorithmIdentifier %x", ErrWeakSignature, id)
		}
		return s, nil, fmt.Errorf("%w: AlgorithmIdentifier %x is not known", ErrSignatureScheme, id)
	default:
		return s, nil, fmt.Errorf("%w: method %d is not known", ErrSignatureScheme, auth.Method)
	}
}

// sha1Identifiers are the AlgorithmIdentifiers with SHA-1 of RFC 7427 appendix A, to name what is wrong with them.
var sha1Identifiers = map[string]bool{
	string(der(0x30, oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 5), der(0x05))):  true,
	string(der(0x30, oid(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 10), der(0x30))): true,
	string(der(0x30, oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01))):                      true,
}

// verify checks the signature of octets. Errors wrap ErrSignatureScheme when the key is none for the scheme, else
// ErrAuthentication.
func (s SignatureScheme) verify(key crypto.PublicKey, octets, signature []byte) error {
	unfit := func(want string) error {
		return fmt.Errorf("%w: %v: want %s, found %T", ErrSignatureScheme, s, want, key)
	}
	digest := octets
	if s.Hash != 0 {
		h := s.Hash.New()
		h.Write(octets)
		digest = h.Sum(nil)
	}
	good := false
	switch s.Algorithm {
	case RSAPKCS1, RSAPSS:
		k, ok := key.(*rsa.PublicKey)
		if !ok || k.N == nil || k.N.BitLen() < minRSABits {
			return unfit(fmt.Sprintf("an RSA key of at least %d bits", minRSABits))
		}
		if s.Algorithm == RSAPKCS1 {
			good = rsa.VerifyPKCS1v15(k, s.Hash, digest, signature) == nil
		} else {
			good = rsa.VerifyPSS(k, s.Hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case ECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		if !ok || k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return unfit("an ECDSA key of P-256, P-384 or P-521")
		}
		if curve, _, old := curveOf(s.Method); !old {
			good = ecdsa.VerifyASN1(k, digest, signature)
		} else if n := len(signature) / 2; k.Curve == curve {
			good = ecdsa.Verify(k, digest, new(big.Int).SetBytes(signature[:n]), new(big.Int).SetBytes(signature[n:]))
		} else {
			return unfit("an ECDSA key of " + curve.Params().Name)
		}
	case Ed25519:
		k, ok := key.(ed25519.PublicKey)
		if !ok || len(k) != ed25519.PublicKeySize {
			return unfit("an Ed25519 key")
		}
		good = ed25519.Verify(k, digest, signature)
	default:
		return unfit("a known algorithm")
	}
	if !good {
		return fmt.Errorf("%w: the signature (%v) is not by the key of the certificate", ErrAuthentication, s)
	}
	return nil
}

// scheme chooses the scheme to sign with: the first that the peer takes. hashes is nil for a peer without RFC 7427.
func (c *Certificates) scheme(hashes []message.HashAlgorithm) (SignatureScheme, bool) {
	for _, s := range c.Schemes {
		if (s.Method == message.AuthDigitalSignature) != (hashes != nil) {
			continue
		}
		for _, h := range signatureHashes {
			if h.hash != s.Hash {
				continue
			}
			if hashes == nil {
				return s, true
			}
			for _, taken := range hashes {
				if taken == h.number {
					return s, true
				}
			}
		}
	}
	return SignatureScheme{}, false
}
