package config

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"mipvpn/ipsec/pki"
)

// authentication checks what concerns several keys of [authentication], and reads the files of [trust].
func (r *reader) authentication() {
	a, g := &r.config.Authentication, &r.config.Gateway
	if r.spoilt("authentication.rounds", "authentication.gateway") {
		r.trust()
		return
	}
	if a.NeedsPSK() && g.PSKFile == "" && !r.spoilt("gateway.psk_file") && fieldOf("gateway.psk_file") != nil {
		r.fail("gateway.psk_file", "missing, and authentication.rounds or authentication.gateway has \"psk\"", vPath)
	}
	if slices.Contains(a.Gateway, GatewayEAP) && !a.AllRounds()[0].EAP() {
		r.fail("authentication.gateway", "found \"eap\", and the first of authentication.rounds is no method of EAP: nothing would prove who the gateway is (RFC 5998)",
			"\"certificate\", or an EAP method as the first round")
	}
	if slices.Contains(a.Gateway, GatewayEAP) && a.AllRounds()[0] == RoundMSCHAPv2 {
		r.warn("authentication.gateway", "EAP-MSCHAPv2 alone proves the gateway by the password, which a forger can then find out by trying: let the gateway have a certificate")
	}
	if a.UsesCertificate() && a.Certificate == "" && a.Key == "" && !r.spoilt("authentication.certificate", "authentication.key") {
		r.fail("authentication.certificate", "missing, and authentication.rounds needs a certificate", vPath)
	}
	if a.NeedsTrust() && len(r.config.Trust.AnchorFiles) == 0 && !r.spoilt("trust.anchors") {
		r.fail("trust.anchors", "missing: nothing says which certificates of the gateway are to be trusted", `a list of files such as ["corp-root.pem"]`)
		return
	}
	if a.Inner == "pap" && slices.Contains(a.AllRounds(), RoundTTLS) && r.config.Trust.Usage == pki.UsageIgnored.String() {
		r.warn("trust.extended_key_usage", "whoever has any certificate of these authorities for that name can read the password (authentication.inner is pap)")
	}
	r.trust()
}

// trust reads the files of [trust], if there is a way to read them.
func (r *reader) trust() {
	t := &r.config.Trust
	if r.public == nil || len(t.AnchorFiles) == 0 {
		return
	}
	digest, public := sha256.New(), r.public
	r.public = func(path string) ([]byte, error) {
		data, err := public(path)
		fmt.Fprintf(digest, "%s %d ", path, len(data))
		digest.Write(data)
		return data, err
	}
	v := &pki.Verifier{Purpose: pki.Gateway, Wildcards: t.Wildcards, Revocation: revocationOf(t.Revocation), Usage: usageOf(t.Usage), Cache: &pki.Cache{}}
	certs := r.certificates("trust.anchors", t.AnchorFiles)
	v.Intermediates = r.certificates("trust.intermediates", t.IntermediateFiles)
	var err error
	if v.Anchors, err = pki.NewAnchors(certs...); err != nil {
		r.fail("trust.anchors", err.Error(), "certificates of certification authorities")
	}
	for _, path := range t.CRLFiles {
		data, err := r.public(path)
		if err == nil {
			var l *x509.RevocationList
			if l, err = pki.ParseCRL(data); err == nil {
				v.CRLs = append(v.CRLs, l)
			}
		}
		if err != nil {
			r.fail("trust.crls", fmt.Sprintf("%s: %v", path, err), "files of revocation lists in PEM or DER")
		}
	}
	t.Verifier = v
	digest.Sum(t.Digest[:0])
}

// certificates reads the certificates of some files.
func (r *reader) certificates(key string, files []string) []*x509.Certificate {
	var all []*x509.Certificate
	for _, path := range files {
		data, err := r.public(path)
		if err == nil {
			var certs []*x509.Certificate
			if certs, err = pki.ParseCertificates(data); err == nil {
				r.ending(key, path, certs, time.Now())
				all = append(all, certs...)
			}
		}
		if err != nil {
			r.fail(key, fmt.Sprintf("%s: %v", path, err), "files of certificates in PEM or DER")
		}
	}
	return all
}

func revocationOf(word string) pki.Revocation {
	for _, m := range []pki.Revocation{pki.RevocationHard, pki.RevocationOff} {
		if m.String() == word {
			return m
		}
	}
	return pki.RevocationSoft
}

func usageOf(word string) pki.ExtendedKeyUsage {
	for _, u := range []pki.ExtendedKeyUsage{pki.UsageRequired, pki.UsageIgnored} {
		if u.String() == word {
			return u
		}
	}
	return pki.UsageChecked
}
