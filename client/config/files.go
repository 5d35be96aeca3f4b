package config

import (
	"bytes"
	"crypto/x509"
	"strings"
	"time"

	"mipvpn/ipsec/pki"
)

// files checks the files that are read only when the VPN is set up, so that what is missing shows before.
func (r *reader) files() {
	a := &r.config.Authentication
	if r.private == nil {
		return
	}
	if a.UsesCertificate() {
		r.certificate(a)
	}
	for _, s := range []struct {
		key  string
		from SecretSource
		used bool
	}{{"authentication.pin", a.PIN, a.UsesCertificate()}, {"authentication.password", a.Password, a.UsesPassword()}} {
		if s.used && strings.HasPrefix(string(s.from), SourceFile) {
			if data, ok := r.secret(s.key, s.from.Path()); ok {
				clear(data)
			}
		}
	}
}

// certificate checks the files of the laptop's certificate and its private key. What is encrypted is not looked into.
func (r *reader) certificate(a *Authentication) {
	together := a.Key == "" || a.Key == a.Certificate
	if a.Certificate != "" {
		read := r.public
		if together {
			read = r.private
		}
		data, err := read(a.Certificate)
		if err == nil && (!together || bytes.Contains(data, []byte("-----BEGIN"))) {
			var found []*x509.Certificate
			found, err = pki.ParseCertificates(data)
			r.ending("authentication.certificate", a.Certificate, found, time.Now())
		}
		if together {
			clear(data)
		}
		if err != nil {
			r.fail("authentication.certificate", err.Error(), "a file with a certificate in PEM, or in PKCS#12 with its private key; one with a private key must have mode 0600")
		}
	}
	if together || strings.HasPrefix(a.Key, "pkcs11:") || strings.HasPrefix(a.Key, "tpm2:") {
		return
	}
	data, err := r.private(a.Key)
	clear(data)
	if err != nil {
		r.fail("authentication.key", err.Error(), "a file that its owner alone may read or write (mode 0600)")
	}
}
