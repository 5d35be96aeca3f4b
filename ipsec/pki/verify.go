package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mipvpn/ipsec/ike/message"
)

// Limits of what a peer may send. A message of IKE holds 64 KiB in all.
const (
	// MaxCertificates is the greatest number of certificates.
	MaxCertificates = 10
	// MaxChain is the greatest length of a chain, leaf and anchor counted.
	MaxChain = 8
	// MaxCertificate and MaxOctets are the greatest length of one certificate, and of all of them, in octets.
	MaxCertificate = 16 << 10
	MaxOctets      = 64 << 10
	// MaxResponses is the greatest number of CRLs, and of OCSP responses, that came in-band.
	MaxResponses = 10
)

// Verifier verifies peers' certificates. Its fields are not to be changed once it is used.
type Verifier struct {
	// Anchors are the trust anchors. Without any nobody is trusted.
	Anchors *Anchors
	// Intermediates are further certificates to build chains with, not trusted themselves.
	Intermediates []*x509.Certificate
	// Purpose is what the certificate must be for, Usage how strictly that is checked.
	Purpose Purpose
	Usage   ExtendedKeyUsage
	// Wildcards lets a dNSName "*.domain" cover one label. RFC 4945 §3.1.2 wants that off.
	Wildcards bool
	// KeyIDs are the fingerprints of the keys that identities of type ID_KEY_ID stand for, by the identity's octets.
	KeyIDs map[string]Fingerprint
	// Revocation says whether revocation is looked up.
	Revocation Revocation
	// CRLs are revocation lists of the configuration's.
	CRLs []*x509.RevocationList
	// Fetcher fetches CRLs and OCSP responses; nil for nobody.
	Fetcher Fetcher
	// Cache remembers what was fetched, nil for nothing.
	Cache *Cache
}

// Presented is what a peer has sent.
type Presented struct {
	// ID is the identity that the peer claims.
	ID message.Identity
	// Chain are certificates in DER, the leaf first, the others in any order.
	Chain [][]byte
	// CRLs and OCSP are revocation lists and OCSP responses in DER.
	CRLs, OCSP [][]byte
}

// Trusted is a verified peer.
type Trusted struct {
	// Key is the leaf's public key: *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	Key crypto.PublicKey
	// Chain is the chain that was found, the leaf first, the trust anchor last.
	Chain []*x509.Certificate
	// Unrevoked says in words how revocation of the leaf was answered: "OCSP", "CRL", "not checked", or why nobody answered.
	Unrevoked string
}

// Verify returns the key of the peer if its certificates prove its identity at the time now. Its error wraps a *Failure, or is
// ctx's.
func (v *Verifier) Verify(ctx context.Context, p Presented, now time.Time) (Trusted, error) {
	leaf, others, err := parsePresented(p)
	if err != nil {
		return Trusted{}, err
	}
	if err := strongKey(leaf); err != nil {
		return Trusted{}, err
	}
	chains, err := v.build(leaf, others, now)
	if err != nil {
		return Trusted{}, err
	}
	// The identity is checked before anything is fetched, which a stranger's certificate must not bring about.
	if err := v.checkIdentity(leaf, p.ID); err != nil {
		return Trusted{}, err
	}
	var first error
	for _, chain := range chains {
		how, err := v.checkChain(ctx, chain, p, now)
		if err == nil {
			return Trusted{Key: leaf.PublicKey, Chain: chain, Unrevoked: how}, nil
		}
		if first == nil || errors.Is(err, ErrRevoked) {
			first = err
		}
		if ctx.Err() != nil || errors.Is(err, ErrRevoked) {
			break
		}
	}
	return Trusted{}, first
}

// checkChain checks one chain that crypto/x509 has built, and says how revocation was answered.
func (v *Verifier) checkChain(ctx context.Context, chain []*x509.Certificate, p Presented, now time.Time) (string, error) {
	if len(chain) > MaxChain {
		return "", about(ErrLimits, chain[0], "a chain of %d certificates, at most %d are taken", len(chain), MaxChain)
	}
	for i, c := range chain {
		if err := strongKey(c); err != nil {
			return "", err
		}
		if i == len(chain)-1 {
			break // an anchor's signature is nobody's proof
		}
		if err := strongSignature(c); err != nil {
			return "", err
		}
	}
	if err := v.checkUsage(chain); err != nil {
		return "", err
	}
	return v.checkRevocation(ctx, chain, p, now)
}

// parsePresented reads the peer's certificates within the limits; doubles are dropped.
func parsePresented(p Presented) (leaf *x509.Certificate, others []*x509.Certificate, err error) {
	if len(p.Chain) == 0 {
		return nil, nil, fmt.Errorf("%w for identity %v", ErrNoCertificate, p.ID)
	}
	if len(p.Chain) > MaxCertificates {
		return nil, nil, fmt.Errorf("%w: %d certificates, at most %d", ErrLimits, len(p.Chain), MaxCertificates)
	}
	if len(p.CRLs) > MaxResponses || len(p.OCSP) > MaxResponses {
		return nil, nil, fmt.Errorf("%w: %d CRLs and %d OCSP responses, at most %d each", ErrLimits, len(p.CRLs), len(p.OCSP), MaxResponses)
	}
	total := 0
	for i, der := range p.Chain {
		total += len(der)
		if len(der) > MaxCertificate || total > MaxOctets {
			return nil, nil, fmt.Errorf("%w: certificate %d has %d octets, at most %d, and %d in all", ErrLimits, i+1, len(der), MaxCertificate, MaxOctets)
		}
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil && i == 0:
			return nil, nil, fmt.Errorf("%w: the peer's own: %w", ErrMalformed, err)
		case err != nil: // an unreadable one is of no use, the others may be enough (RFC 4945 §3.3.10.2)
		case i == 0:
			leaf = c
		case !bytes.Equal(c.Raw, leaf.Raw):
			others = append(others, c)
		}
	}
	return leaf, others, nil
}

// build returns the chains from the leaf to an anchor that crypto/x509 finds.
func (v *Verifier) build(leaf *x509.Certificate, others []*x509.Certificate, now time.Time) ([][]*x509.Certificate, error) {
	between := x509.NewCertPool()
	for _, c := range append(others[:len(others):len(others)], v.Intermediates...) {
		between.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: v.Anchors.pool(), Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err == nil {
		return chains, nil
	}
	return nil, explain(err, leaf, others, now)
}

// explain names the error of crypto/x509.
func explain(err error, leaf *x509.Certificate, others []*x509.Certificate, now time.Time) error {
	var invalid x509.CertificateInvalidError
	var critical x509.UnhandledCriticalExtension
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid):
		c := invalid.Cert
		if c == nil {
			c = leaf
		}
		switch {
		case invalid.Reason == x509.Expired && now.Before(c.NotBefore):
			return about(ErrNotYetValid, c, "valid from %s, it is %s", stamp(c.NotBefore), stamp(now))
		case invalid.Reason == x509.Expired:
			return about(ErrExpired, c, "valid until %s, it is %s", stamp(c.NotAfter), stamp(now))
		}
		return fmt.Errorf("%w: %w", about(ErrConstraint, c, "refused"), err)
	case errors.As(err, &critical):
		return about(ErrCriticalExtension, leaf, "it or one above it")
	case errors.As(err, &unknown):
		// An authority is also unknown where a signature is of a kind that is not verified any more.
		for _, c := range append([]*x509.Certificate{leaf}, others...) {
			if weak := strongSignature(c); weak != nil && !bytes.Equal(c.RawIssuer, c.RawSubject) {
				return weak
			}
		}
		c := unknown.Cert
		if c == nil {
			c = leaf
		}
		return about(ErrUnknownAuthority, c, "issued by %q", c.Issuer.String())
	}
	return fmt.Errorf("%w: %w", about(ErrConstraint, leaf, "refused"), err)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
