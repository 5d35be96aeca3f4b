package credential

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"software.sslmate.com/src/go-pkcs12"
)

// tssBlock is the PEM type of TPM 2.0 key files.
const tssBlock = "TSS2 PRIVATE KEY"

// ErrPassword says that a password or PIN was not right.
var ErrPassword = errors.New("the password or PIN is wrong")

// keyBlock returns the first private key of a file in PEM.
func keyBlock(data []byte) (*pem.Block, error) {
	for rest := data; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return nil, errors.New("no private key found: want PEM with PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or " + tssBlock)
		}
		switch {
		case b.Type == "ENCRYPTED PRIVATE KEY", strings.Contains(b.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, errors.New("the private key is encrypted, which is not read: make a PKCS#12 file of it (openssl pkcs12 -export), or decrypt it (openssl pkey)")
		case strings.HasSuffix(b.Type, "PRIVATE KEY"):
			return b, nil
		}
	}
}

// parseKey reads a private key: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017) or SEC 1 (RFC 5915).
func parseKey(b *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch b.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(b.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(b.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(b.Bytes)
	default:
		return nil, fmt.Errorf("found %q, want PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or %s", b.Type, tssBlock)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T makes no signatures", key)
	}
	return signer, nil
}

// parsePKCS12 reads a PKCS#12 file (RFC 7292): at first with an empty password, then with the one that is asked for.
func parsePKCS12(s Source, data []byte) (*Credential, error) {
	key, leaf, others, err := pkcs12.DecodeChain(data, "")
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		var password []byte
		if password, err = s.secret("password of " + s.Certificate); err != nil {
			return nil, fmt.Errorf("credential: %w", err)
		}
		key, leaf, others, err = pkcs12.DecodeChain(data, string(password))
		clear(password)
	}
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, fmt.Errorf("credential: PKCS#12 file %s: %w", s.Certificate, ErrPassword)
	case err != nil:
		return nil, fmt.Errorf("credential: %w: PKCS#12 file %s: %w", ErrKey, s.Certificate, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("credential: %w: PKCS#12 file %s: a %T makes no signatures", ErrKey, s.Certificate, key)
	}
	c, err := New(signer, append([]*x509.Certificate{leaf}, others...))
	if err != nil {
		return nil, fmt.Errorf("credential: PKCS#12 file %s: %w", s.Certificate, err)
	}
	return c, nil
}
