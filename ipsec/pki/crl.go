package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxCRL is the greatest length of a revocation list in octets.
const maxCRL = 16 << 20

var (
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer        = asn1.ObjectIdentifier{2, 5, 29, 29}
)

// ParseCRL reads a revocation list in PEM or DER (RFC 5280 §5).
func ParseCRL(data []byte) (*x509.RevocationList, error) {
	if len(data) > maxCRL {
		return nil, fmt.Errorf("pki: a CRL of %d octets, at most %d are taken", len(data), maxCRL)
	}
	l, err := x509.ParseRevocationList(unPEM(data, "X509 CRL"))
	if err != nil {
		return nil, fmt.Errorf("pki: CRL: want PEM or DER: %w", err)
	}
	return l, nil
}

// encodedList reads a revocation list that came from elsewhere.
func (q *question) encodedList(der []byte) (evidence, error) {
	l, err := ParseCRL(der)
	if err != nil {
		return evidence{}, err
	}
	return q.list(l)
}

// errOtherList is for a list of another authority, which says nothing and is nothing to complain of.
var errOtherList = errors.New("CRL of another authority")

// list looks for the certificate in a revocation list (RFC 5280 §6.3.3).
func (q *question) list(l *x509.RevocationList) (evidence, error) {
	if !bytes.Equal(l.RawIssuer, q.certificate.RawIssuer) {
		return evidence{}, errOtherList
	}
	if err := l.CheckSignatureFrom(q.issuer); err != nil {
		return evidence{}, fmt.Errorf("CRL of %.100q: %w", l.Issuer.String(), err)
	}
	if err := q.scope(l); err != nil {
		return evidence{}, fmt.Errorf("CRL of %.100q: %w", l.Issuer.String(), err)
	}
	if err := fresh("CRL", l.ThisUpdate, l.NextUpdate, q.now); err != nil {
		return evidence{}, err
	}
	for i := range l.RevokedCertificateEntries {
		entry := &l.RevokedCertificateEntries[i]
		for _, x := range entry.Extensions {
			if x.Critical && !x.Id.Equal(oidCertificateIssuer) {
				return evidence{}, fmt.Errorf("CRL of %.100q: an entry has the critical extension %v", l.Issuer.String(), x.Id)
			}
		}
		if entry.SerialNumber.Cmp(q.certificate.SerialNumber) == 0 {
			return evidence{revoked, "CRL", entry.RevocationTime}, nil
		}
	}
	return evidence{good, "CRL", l.ThisUpdate}, nil
}

// issuingDistributionPoint is IssuingDistributionPoint (RFC 5280 §5.2.5).
type issuingDistributionPoint struct {
	Point           asn1.RawValue  `asn1:"optional,tag:0"`
	OnlyUsers       bool           `asn1:"optional,tag:1"`
	OnlyAuthorities bool           `asn1:"optional,tag:2"`
	OnlySomeReasons asn1.BitString `asn1:"optional,tag:3"`
	Indirect        bool           `asn1:"optional,tag:4"`
	OnlyAttributes  bool           `asn1:"optional,tag:5"`
}

// scope checks that the list is complete for the certificate.
func (q *question) scope(l *x509.RevocationList) error {
	for _, x := range l.Extensions {
		if !x.Id.Equal(oidIssuingDistributionPoint) {
			if x.Critical { // the delta CRL indicator among them
				return fmt.Errorf("it has the critical extension %v", x.Id)
			}
			continue
		}
		var p issuingDistributionPoint
		if rest, err := asn1.Unmarshal(x.Value, &p); err != nil || len(rest) > 0 {
			return fmt.Errorf("its issuing distribution point cannot be read: %w", err)
		}
		switch {
		case p.Indirect || p.OnlyAttributes || len(p.OnlySomeReasons.Bytes) > 0:
			return errors.New("it is indirect, or not for all reasons or kinds of certificates")
		case p.OnlyUsers && q.certificate.IsCA, p.OnlyAuthorities && !q.certificate.IsCA:
			return errors.New("it is for the other kind of certificates (onlyContainsUserCerts, onlyContainsCACerts)")
		}
		if len(p.Point.Bytes) > 0 && !slices.ContainsFunc(q.certificate.CRLDistributionPoints, func(url string) bool {
			return slices.Contains(uris(p.Point.Bytes), url)
		}) {
			return errors.New("it is for certificates of another distribution point")
		}
	}
	return nil
}

// uris returns the uniformResourceIdentifiers of a DistributionPointName's fullName (RFC 5280 §4.2.1.13).
func uris(b []byte) []string {
	var full asn1.RawValue
	if _, err := asn1.Unmarshal(b, &full); err != nil || full.Class != asn1.ClassContextSpecific || full.Tag != 0 {
		return nil
	}
	var out []string
	for rest := full.Bytes; len(rest) > 0; {
		var n asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &n); err != nil {
			return nil
		}
		if n.Class == asn1.ClassContextSpecific && n.Tag == 6 {
			out = append(out, string(n.Bytes))
		}
	}
	return out
}

// fetchList fetches a revocation list, or takes one that was fetched before and is still valid.
func (q *question) fetchList(ctx context.Context, url string) (evidence, error) {
	if der := q.verifier.Cache.get(url, q.now); der != nil {
		if e, err := q.encodedList(der); e.answer != noAnswer {
			return e, err
		}
	}
	if q.verifier.Fetcher == nil {
		return evidence{}, fmt.Errorf("CRL %.100s is not fetched", url)
	}
	der, err := q.verifier.Fetcher.CRL(ctx, url)
	if err != nil {
		return evidence{}, fmt.Errorf("CRL %.100s: %w", url, err)
	}
	l, err := ParseCRL(der)
	if err != nil {
		return evidence{}, err
	}
	e, err := q.list(l)
	if e.answer != noAnswer {
		until := l.NextUpdate
		if until.IsZero() {
			until = l.ThisUpdate.Add(24 * time.Hour)
		}
		q.verifier.Cache.put(url, der, until, q.now)
	}
	return e, err
}
