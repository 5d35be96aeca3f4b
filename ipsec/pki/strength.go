package pki

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
)

// minRSA and maxRSA bound the moduli of RSA keys in bits: the greatest bounds the work of a verification.
const (
	minRSA = 2048
	maxRSA = 16384
)

// strongKey refuses keys below what RFC 8247 leaves.
func strongKey(c *x509.Certificate) error {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return about(ErrWeakKey, c, "RSA of %d bits, want %d to %d", n, minRSA, maxRSA)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return about(ErrWeakKey, c, "ECDSA of %s", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return about(ErrWeakKey, c, "a key of type %v", c.PublicKeyAlgorithm)
	}
	return nil
}

// strongSignatures are the algorithms that certificates may be signed with.
var strongSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
}

// strongSignature refuses signatures with MD5, SHA-1 and what is not known.
func strongSignature(c *x509.Certificate) error {
	if !slices.Contains(strongSignatures, c.SignatureAlgorithm) {
		return about(ErrWeakSignature, c, "signed with %v, want SHA-256 or better", c.SignatureAlgorithm)
	}
	return nil
}

// Purpose is what the peer's certificate must be for.
type Purpose uint8

// The purposes.
const (
	Gateway Purpose = iota // the peer is a gateway: serverAuth or ipsecIKE
	Client                 // the peer is a client: clientAuth or ipsecIKE
)

// ExtendedKeyUsage says how strictly extended key usages are checked.
type ExtendedKeyUsage uint8

// The ways of checking.
const (
	// UsageChecked obeys an extension that is there: it must list the purpose's usage, ipsecIKE or any (RFC 4945 §5.1.3.12).
	UsageChecked ExtendedKeyUsage = iota
	// UsageRequired has the leaf list the purpose's usage or ipsecIKE: no extension is not enough, nor is any.
	UsageRequired
	// UsageIgnored does not look.
	UsageIgnored
)

// String returns the word for the configuration.
func (u ExtendedKeyUsage) String() string {
	switch u {
	case UsageChecked:
		return "checked"
	case UsageRequired:
		return "required"
	case UsageIgnored:
		return "ignored"
	}
	return fmt.Sprintf("extended key usage %d", uint8(u))
}

// oidIPsecIKE is id-kp-ipsecIKE (RFC 4945 §5.1.3.12).
var oidIPsecIKE = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 17}

// checkUsage checks key usage and extended key usage along a chain, the leaf first, its anchor last.
func (v *Verifier) checkUsage(chain []*x509.Certificate) error {
	leaf := chain[0]
	// Go has nonRepudiation as ContentCommitment.
	if leaf.KeyUsage != 0 && leaf.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0 {
		return about(ErrKeyUsage, leaf, "digitalSignature is not among its key usages")
	}
	if v.Usage == UsageIgnored {
		return nil
	}
	purpose, word := x509.ExtKeyUsageServerAuth, "serverAuth"
	if v.Purpose == Client {
		purpose, word = x509.ExtKeyUsageClientAuth, "clientAuth"
	}
	for i, c := range chain {
		if i > 0 && i == len(chain)-1 {
			break // an anchor is trusted as it is
		}
		listed := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0
		exact := slices.Contains(c.ExtKeyUsage, purpose) || slices.ContainsFunc(c.UnknownExtKeyUsage, oidIPsecIKE.Equal)
		switch {
		case exact, !listed && (i > 0 || v.Usage == UsageChecked):
		case slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny) && (i > 0 || v.Usage == UsageChecked):
		default:
			return about(ErrExtendedKeyUsage, c, "neither %s nor ipsecIKE is among its extended key usages", word)
		}
	}
	return nil
}
