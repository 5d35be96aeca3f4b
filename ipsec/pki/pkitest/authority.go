package pkitest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

// Key is a kind of key.
type Key uint8

// The kinds.
const (
	P256 Key = iota
	P384
	P521
	Ed25519
	RSA2048
	RSA3072
	RSA1024 // too weak
	P224    // too weak
)

// NewKey makes a key.
func NewKey(kind Key) crypto.Signer {
	switch kind {
	case P256, P384, P521, P224:
		curve := map[Key]elliptic.Curve{P256: elliptic.P256(), P384: elliptic.P384(), P521: elliptic.P521(), P224: elliptic.P224()}[kind]
		return must(ecdsa.GenerateKey(curve, rand.Reader))
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return must(key, err)
	case RSA3072:
		return must(rsa.GenerateKey(rand.Reader, 3072))
	case RSA1024:
		return must(rsa.GenerateKey(rand.Reader, 1024)) // a program that calls this sets GODEBUG rsa1024min=0
	case RSA2048:
	}
	return must(rsa.GenerateKey(rand.Reader, 2048))
}

// Authority is a certification authority.
type Authority struct {
	// Certificate is its own, Key its private key.
	Certificate *x509.Certificate
	Key         crypto.Signer

	now    time.Time
	serial int64
	number int64
}

// Issued is a certificate with its key.
type Issued struct {
	// Certificate is the certificate, Key its private key.
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// Change changes the template of a certificate before it is signed.
type Change func(*x509.Certificate)

// NewRoot makes a self-signed authority that is valid from an hour before now for ten years.
func NewRoot(name string, now time.Time, kind Key, changes ...Change) *Authority {
	a := &Authority{Key: NewKey(kind), now: now, serial: 1}
	t := authority(name, now, changes)
	t.SerialNumber = big.NewInt(1)
	a.Certificate = sign(t, t, a.Key.Public(), a.Key)
	return a
}

// authority is the template of an authority.
func authority(name string, now time.Time, changes []Change) *x509.Certificate {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: name, Organization: []string{"mipvpn tests"}}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	for _, change := range changes {
		change(t)
	}
	return t
}

// Intermediate makes an authority below a.
func (a *Authority) Intermediate(name string, kind Key, changes ...Change) *Authority {
	b := &Authority{Key: NewKey(kind), now: a.now}
	b.Certificate = a.sign(authority(name, a.now, changes), b.Key.Public())
	return b
}

// Issue makes a leaf for the names, each by its kind: an address, a mail address, or a domain name. Without changes it is valid
// for a year and for both sides of TLS and IKE.
func (a *Authority) Issue(kind Key, names []string, changes ...Change) Issued {
	return a.IssueFor(NewKey(kind), names, changes...)
}

// IssueFor is Issue for a key that is there already.
func (a *Authority) IssueFor(key crypto.Signer, names []string, changes ...Change) Issued {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "leaf of " + strings.Join(names, ", ")}, NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, n := range names {
		address, err := netip.ParseAddr(n)
		switch {
		case err == nil:
			t.IPAddresses = append(t.IPAddresses, net.IP(address.AsSlice()))
		case strings.Contains(n, "@"):
			t.EmailAddresses = append(t.EmailAddresses, n)
		default:
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	for _, change := range changes {
		change(t)
	}
	return Issued{a.sign(t, key.Public()), key}
}

func (a *Authority) sign(t *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	if t.SerialNumber == nil {
		a.serial++
		t.SerialNumber = big.NewInt(a.serial)
	}
	return sign(t, a.Certificate, key, a.Key)
}

func sign(t, parent *x509.Certificate, key crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	return must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, t, parent, key, signer))))
}

// CRL makes a revocation list with these certificates, in DER, valid for a day. change may be nil.
func (a *Authority) CRL(change func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	a.number++
	l := &x509.RevocationList{Number: big.NewInt(a.number), ThisUpdate: a.now.Add(-time.Minute), NextUpdate: a.now.AddDate(0, 0, 1)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: a.now.Add(-time.Minute)})
	}
	if change != nil {
		change(l)
	}
	return must(x509.CreateRevocationList(rand.Reader, l, a.Certificate, a.Key))
}

// OCSP makes a response about the certificate, signed by the authority, in DER, valid for an hour. status is ocsp.Good,
// ocsp.Revoked or ocsp.Unknown; change may be nil.
func (a *Authority) OCSP(c *x509.Certificate, status int, change func(*ocsp.Response)) []byte {
	return a.OCSPBy(Issued{a.Certificate, a.Key}, c, status, change)
}

// OCSPBy is OCSP signed by a responder, whose certificate goes along.
func (a *Authority) OCSPBy(responder Issued, c *x509.Certificate, status int, change func(*ocsp.Response)) []byte {
	r := ocsp.Response{SerialNumber: c.SerialNumber, Status: status, ThisUpdate: a.now.Add(-time.Minute), NextUpdate: a.now.Add(time.Hour)}
	if status == ocsp.Revoked {
		r.RevokedAt = a.now.Add(-time.Minute)
	}
	if responder.Certificate != a.Certificate {
		r.Certificate = responder.Certificate
	}
	if change != nil {
		change(&r)
	}
	return must(ocsp.CreateResponse(a.Certificate, responder.Certificate, r, responder.Key))
}

// PEM returns certificates in PEM.
func PEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, c := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// KeyPEM returns a private key in PEM, as PKCS#8.
func KeyPEM(key crypto.Signer) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(key))})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
