package pki

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// maxAnchors is the greatest number of trust anchors in one set.
const maxAnchors = 256

// Anchors is a set of certificates to trust, or to build chains with. The zero value is empty.
type Anchors struct{ certificates []*x509.Certificate }

// ParseCertificates reads certificates from PEM (all CERTIFICATE blocks; others are passed over) or from one or several in DER.
// Errors: nothing found, not readable, too many.
func ParseCertificates(data []byte) ([]*x509.Certificate, error) {
	var der []byte
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type == "CERTIFICATE" || b.Type == "X509 CERTIFICATE" || b.Type == "TRUSTED CERTIFICATE" {
			der = append(der, b.Bytes...)
		}
	}
	if der == nil {
		if bytes.Contains(data, []byte("-----BEGIN")) {
			return nil, errors.New("pki: no CERTIFICATE in the PEM file")
		}
		der = data
	}
	if len(der) == 0 {
		return nil, errors.New("pki: no certificate: the file is empty")
	}
	certs, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, fmt.Errorf("pki: %w: want PEM or DER: %w", ErrMalformed, err)
	}
	if len(certs) > maxAnchors {
		return nil, fmt.Errorf("pki: %d certificates in one file, at most %d are taken", len(certs), maxAnchors)
	}
	return certs, nil
}

// NewAnchors makes a set. Anchors need not be self-signed, but each must be a certification authority with a strong key.
func NewAnchors(certs ...*x509.Certificate) (*Anchors, error) {
	a := &Anchors{}
	for _, c := range certs {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("pki: %s is no certification authority (basic constraints: CA is not set)", name(c))
		}
		if err := strongKey(c); err != nil {
			return nil, err
		}
		a.certificates = append(a.certificates, c)
	}
	return a, nil
}

// Certificates returns the certificates of the set.
func (a *Anchors) Certificates() []*x509.Certificate {
	if a == nil {
		return nil
	}
	return append([]*x509.Certificate(nil), a.certificates...)
}

// Hashes returns the SHA-1 hashes of the anchors' SubjectPublicKeyInfo, for CERTREQ (RFC 7296 §3.7), each once.
func (a *Anchors) Hashes() [][20]byte {
	var all [][20]byte
	seen := map[[20]byte]bool{}
	for _, c := range a.Certificates() {
		h := AuthorityHash(c)
		if !seen[h] {
			seen[h] = true
			all = append(all, h)
		}
	}
	return all
}

// AuthorityHash is the SHA-1 hash of the certificate's SubjectPublicKeyInfo (RFC 7296 §3.7). It names a key and protects nothing.
func AuthorityHash(c *x509.Certificate) [20]byte { return sha1.Sum(c.RawSubjectPublicKeyInfo) }

// pool returns the set for crypto/x509.
func (a *Anchors) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range a.Certificates() {
		p.AddCert(c)
	}
	return p
}
