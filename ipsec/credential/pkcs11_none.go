//go:build !cgo

package credential

import "crypto/x509"

// openToken says that there is no PKCS#11 here, once the URI is right.
func openToken(s Source, _ []*x509.Certificate) (*Credential, error) {
	if _, err := parseTokenURI(s.Key); err != nil {
		return nil, err
	}
	return nil, ErrNoPKCS11
}
