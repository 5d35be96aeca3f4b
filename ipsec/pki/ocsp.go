package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// maxOCSP is the greatest length of an OCSP response in octets.
const maxOCSP = 64 << 10

// response reads one OCSP response in DER (RFC 6960 §3.2).
func (q *question) response(der []byte) (evidence, error) {
	e, _, err := q.responseUntil(der)
	return e, err
}

// responseUntil is response with the time until which the answer holds.
func (q *question) responseUntil(der []byte) (evidence, time.Time, error) {
	none := func(err error) (evidence, time.Time, error) {
		return evidence{}, time.Time{}, fmt.Errorf("OCSP response: %w", err)
	}
	if len(der) > maxOCSP {
		return none(fmt.Errorf("%d octets, at most %d are taken", len(der), maxOCSP))
	}
	// Without an issuer the library verifies with the embedded certificate, if any; who that belongs to is checked here.
	r, err := ocsp.ParseResponseForCert(der, q.certificate, nil)
	if err != nil {
		return none(err)
	}
	if err := q.certID(r); err != nil {
		return none(err)
	}
	if err := q.responder(r); err != nil {
		return none(err)
	}
	if err := fresh("OCSP response", r.ThisUpdate, r.NextUpdate, q.now); err != nil {
		return none(err)
	}
	until := r.NextUpdate
	if until.IsZero() {
		until = r.ThisUpdate.Add(24 * time.Hour)
	}
	switch r.Status {
	case ocsp.Good:
		return evidence{good, "OCSP response", r.ThisUpdate}, until, nil
	case ocsp.Revoked:
		return evidence{revoked, "OCSP response", r.RevokedAt}, until, nil
	}
	return none(errors.New("the responder does not know the certificate"))
}

// responder checks that the response is signed by the issuer, or by a responder that the issuer has designated in a certificate
// of its own (RFC 6960 §4.2.2.2).
func (q *question) responder(r *ocsp.Response) error {
	d := r.Certificate
	if d == nil || bytes.Equal(d.RawSubjectPublicKeyInfo, q.issuer.RawSubjectPublicKeyInfo) {
		if err := r.CheckSignatureFrom(q.issuer); err != nil {
			return fmt.Errorf("not signed by the certificate's issuer: %w", err)
		}
		return nil
	}
	if err := d.CheckSignatureFrom(q.issuer); err != nil {
		return fmt.Errorf("the responder %s is not the issuer's: %w", name(d), err)
	}
	if !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return fmt.Errorf("the issuer has not designated %s for OCSP (extended key usage OCSPSigning)", name(d))
	}
	if q.now.Before(d.NotBefore) || q.now.After(d.NotAfter) {
		return fmt.Errorf("the responder's certificate %s is valid from %s to %s", name(d), stamp(d.NotBefore), stamp(d.NotAfter))
	}
	return errors.Join(strongKey(d), strongSignature(d))
}

// certID checks that the response is about a certificate of this issuer: the library looks at the serial number only, and a
// responder may serve several authorities.
func (q *question) certID(r *ocsp.Response) error {
	var key struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(q.issuer.RawSubjectPublicKeyInfo, &key); err != nil {
		return err
	}
	if !r.IssuerHash.Available() {
		return fmt.Errorf("issuer hash %v is not supported", r.IssuerHash)
	}
	sum := func(b []byte) []byte {
		h := r.IssuerHash.New()
		h.Write(b)
		return h.Sum(nil)
	}
	id, err := firstCertID(r.TBSResponseData, q.certificate.SerialNumber)
	if err != nil {
		return err
	}
	if !bytes.Equal(id.NameHash, sum(q.issuer.RawSubject)) || !bytes.Equal(id.KeyHash, sum(key.Key.RightAlign())) {
		return errors.New("it is about another authority's certificate")
	}
	return nil
}

// certID is CertID (RFC 6960 §4.1.1).
type certID struct {
	Hash     asn1.RawValue
	NameHash []byte
	KeyHash  []byte
	Serial   *big.Int
}

// firstCertID returns the CertID of the first SingleResponse with the serial number, which is the one that the library takes.
func firstCertID(tbs []byte, serial *big.Int) (certID, error) {
	var data struct {
		Version   int `asn1:"optional,default:0,explicit,tag:0"`
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Responses []asn1.RawValue
		Rest      asn1.RawValue `asn1:"optional"`
	}
	if _, err := asn1.Unmarshal(tbs, &data); err != nil {
		return certID{}, err
	}
	for _, raw := range data.Responses {
		var id certID
		if _, err := asn1.Unmarshal(raw.Bytes, &id); err != nil {
			return certID{}, err
		}
		if id.Serial.Cmp(serial) == 0 {
			return id, nil
		}
	}
	return certID{}, errors.New("it does not name the certificate")
}

// askResponder asks an OCSP responder (RFC 6960 §2.1, appendix A), or takes what it said a short while ago.
func (q *question) askResponder(ctx context.Context, url string) (evidence, error) {
	request, err := ocsp.CreateRequest(q.certificate, q.issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return evidence{}, fmt.Errorf("OCSP request: %w", err)
	}
	key := url + "\n" + string(request)
	if der := q.verifier.Cache.get(key, q.now); der != nil {
		if e, err := q.response(der); e.answer != noAnswer {
			return e, err
		}
	}
	if q.verifier.Fetcher == nil {
		return evidence{}, fmt.Errorf("OCSP responder %.100s is not asked", url)
	}
	der, err := q.verifier.Fetcher.OCSP(ctx, url, request)
	if err != nil {
		return evidence{}, fmt.Errorf("OCSP responder %.100s: %w", url, err)
	}
	e, until, err := q.responseUntil(der)
	if e.answer != noAnswer {
		q.verifier.Cache.put(key, der, until, q.now)
	}
	return e, err
}
