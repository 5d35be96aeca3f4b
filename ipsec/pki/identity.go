package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"net"
	"strings"

	"mipvpn/ipsec/ike/message"
)

// Fingerprint is the SHA-256 hash of a certificate's SubjectPublicKeyInfo.
type Fingerprint [sha256.Size]byte

// FingerprintOf returns the fingerprint of the certificate's key.
func FingerprintOf(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// checkIdentity checks that the leaf names id (RFC 4945 §3.1): by the subjectAltName of id's type, or for a DN by the subject.
func (v *Verifier) checkIdentity(leaf *x509.Certificate, id message.Identity) error {
	var named []string
	switch id.Type {
	case message.IDFQDN:
		named = leaf.DNSNames
		for _, n := range leaf.DNSNames {
			if strings.EqualFold(n, id.Data) || v.Wildcards && wildcard(n, id.Data) {
				return nil
			}
		}
	case message.IDRFC822Addr:
		named = leaf.EmailAddresses
		for _, n := range leaf.EmailAddresses {
			if strings.EqualFold(n, id.Data) {
				return nil
			}
		}
	case message.IDIPv4Addr, message.IDIPv6Addr:
		for _, a := range leaf.IPAddresses {
			if a.Equal(net.IP(id.Data)) {
				return nil
			}
			named = append(named, a.String())
		}
	case message.IDDERASN1DN:
		// An empty subject names nobody (RFC 4945 §3.1.5): an empty SEQUENCE is two octets.
		if len(leaf.RawSubject) > 2 && bytes.Equal(leaf.RawSubject, []byte(id.Data)) {
			return nil
		}
		named = []string{leaf.Subject.String()}
	case message.IDKeyID:
		want, ok := v.KeyIDs[id.Data]
		if !ok {
			return about(ErrIdentityType, leaf, "identity %v: no fingerprint is configured for this key id", id)
		}
		if FingerprintOf(leaf) == want {
			return nil
		}
		return about(ErrIdentity, leaf, "identity %v: another key than the one that is configured", id)
	default:
		return about(ErrIdentityType, leaf, "identity %v", id)
	}
	if len(named) == 0 {
		return about(ErrIdentity, leaf, "identity %v expected, no name of that type found", id)
	}
	if len(named) > 8 {
		named = append(named[:8:8], "...")
	}
	return about(ErrIdentity, leaf, "identity %v expected, found %q", id, named)
}

// wildcard reports whether the pattern "*.domain" covers name: one whole label in the place of the star (RFC 6125 §6.4.3).
func wildcard(pattern, name string) bool {
	domain, ok := strings.CutPrefix(pattern, "*.")
	if !ok || !strings.Contains(domain, ".") || strings.Contains(domain, "*") {
		return false
	}
	label, rest, found := strings.Cut(name, ".")
	return found && label != "" && label != "*" && strings.EqualFold(rest, domain)
}
