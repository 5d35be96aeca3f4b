package pki

import (
	"crypto/x509"
	"fmt"
)

// Failure is why a peer's certificates are refused. Errors of this package wrap one of the Failures below; errors.As finds it.
type Failure struct{ code, text, advice string }

// Error returns the sentence.
func (f *Failure) Error() string { return f.text }

// Code is a short name for documents and programs, such as "certificate_expired".
func (f *Failure) Code() string { return f.code }

// Advice says what the administrator, or the user, should look at.
func (f *Failure) Advice() string { return f.advice }

// Failures of the chain.
var (
	ErrNoCertificate = &Failure{"certificate_missing", "the peer has sent no certificate",
		"have the gateway send its certificate (strongSwan: send_cert = always) and look whether a certificate is configured there"}
	ErrLimits = &Failure{"certificate_limits", "the peer's certificates are larger or more than is taken",
		"send only the leaf and the certificates between it and the trust anchor"}
	ErrMalformed = &Failure{"certificate_malformed", "a certificate cannot be read",
		"have the certificate issued anew; openssl x509 -text shows what is wrong with it"}
	ErrUnknownAuthority = &Failure{"certificate_authority_unknown", "no chain leads from the certificate to a trust anchor",
		"add the certification authority to the trust anchors, or have the peer send the intermediate certificates"}
	ErrExpired = &Failure{"certificate_expired", "a certificate has expired",
		"renew the certificate; if it is not old, look at this computer's clock"}
	ErrNotYetValid = &Failure{"certificate_not_yet_valid", "a certificate is not valid yet",
		"look at the clocks of this computer and of the certification authority"}
	ErrConstraint = &Failure{"certificate_constraint", "a certificate breaks a rule of the authority above it",
		"have it issued by an authority that may: look at basic constraints, path length and name constraints"}
	ErrCriticalExtension = &Failure{"certificate_critical_extension", "a certificate has a critical extension that is not understood",
		"have the certificate issued without that extension, or with it not critical"}
	ErrWeakSignature = &Failure{"certificate_weak_signature", "a certificate is signed with an algorithm that is broken",
		"have it issued anew with SHA-256 or better"}
	ErrWeakKey = &Failure{"certificate_weak_key", "a certificate's key is too weak",
		"use RSA of at least 2048 bits, ECDSA of P-256, P-384 or P-521, or Ed25519"}
	ErrKeyUsage = &Failure{"certificate_key_usage", "the certificate's key is not for signatures",
		"have it issued with the key usage digitalSignature"}
	ErrExtendedKeyUsage = &Failure{"certificate_extended_key_usage", "the certificate is not for this use",
		"have it issued with the extended key usage serverAuth (gateways) or clientAuth (clients), or ipsecIKE"}
)

// Failures of the identity.
var (
	ErrIdentity = &Failure{"certificate_identity", "the certificate does not name the identity that the peer claims",
		"put the identity into subjectAltName by its type, or configure the identity that the certificate has (the common name does not count)"}
	ErrIdentityType = &Failure{"certificate_identity_type", "certificates cannot prove an identity of this type",
		"have the peer identify itself by a domain name, a mail address, an address or its certificate's subject; a key id needs a configured fingerprint"}
)

// Failures of revocation.
var (
	ErrRevoked = &Failure{"certificate_revoked", "a certificate is revoked",
		"have a new certificate issued; if it should not be revoked, ask the certification authority"}
	ErrRevocationUnknown = &Failure{"certificate_revocation_unknown", "nobody says whether a certificate is revoked",
		"make the CRL or the OCSP responder reachable, have the gateway send an OCSP response, or set the revocation mode to soft"}
)

// Failures returns all of them, for documents.
func Failures() []*Failure {
	return []*Failure{ErrNoCertificate, ErrLimits, ErrMalformed, ErrUnknownAuthority, ErrExpired, ErrNotYetValid, ErrConstraint,
		ErrCriticalExtension, ErrWeakSignature, ErrWeakKey, ErrKeyUsage, ErrExtendedKeyUsage, ErrIdentity, ErrIdentityType, ErrRevoked,
		ErrRevocationUnknown}
}

// about returns f with the certificate that it concerns and a detail.
func about(f *Failure, c *x509.Certificate, format string, args ...any) error {
	return fmt.Errorf("%w: certificate %s: %s", f, name(c), fmt.Sprintf(format, args...))
}

// name is what people call a certificate by: its subject, or a name of its subjectAltName, cut and made printable.
func name(c *x509.Certificate) string {
	s := c.Subject.String()
	switch {
	case s != "":
	case len(c.DNSNames) > 0:
		s = c.DNSNames[0]
	case len(c.EmailAddresses) > 0:
		s = c.EmailAddresses[0]
	default:
		s = "serial " + c.SerialNumber.Text(16)
	}
	if len(s) > 120 {
		s = s[:120] + "..."
	}
	return fmt.Sprintf("%q", s)
}
