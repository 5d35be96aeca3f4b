package credential

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/pki"
)

// Credential is a private key with its certificates.
type Credential struct {
	chain   []*x509.Certificate
	signer  crypto.Signer
	schemes []ike.SignatureScheme
	close   func() error
}

// Ask asks for a secret: the password of a file or the PIN of a device. prompt says for what. The result is wiped by its receiver.
type Ask func(prompt string) ([]byte, error)

// Source says where a credential is.
type Source struct {
	// Certificate is a file with the certificate in PEM or DER, and perhaps those of its issuers in any order, or a PKCS#12 file
	// with certificates and key. Empty takes the certificate from the token that Key names.
	Certificate string
	// Key is a file with the private key in PEM; empty for the certificate's file. "pkcs11:..." is a key on a token (RFC 7512),
	// "tpm2:0x81000001" a persistent key of the TPM.
	Key string
	// Device is the TPM's, or the socket of an emulator; empty for /dev/tpmrm0.
	Device string
	// ReadPrivate reads a file that holds a private key, and refuses one that others may read. ReadPublic reads others.
	ReadPrivate, ReadPublic func(path string) ([]byte, error)
	// Ask asks for passwords and PINs; nil where nobody can be asked.
	Ask Ask
}

// Errors of Load.
var (
	// ErrKey is wrapped by errors about a private key that cannot be read or used.
	ErrKey = errors.New("private key")
	// ErrMismatch says that the private key belongs to another certificate.
	ErrMismatch = errors.New("the private key does not belong to the certificate")
	// ErrNoPKCS11 says that this program was built without PKCS#11.
	ErrNoPKCS11 = errors.New("this program was built without PKCS#11 (which needs cgo: build it with CGO_ENABLED=1 and a C compiler)")
	// ErrNobodyToAsk says that a password or PIN is needed, and nobody can be asked.
	ErrNobodyToAsk = errors.New("a password or PIN is needed, and there is nobody to ask for it")
)

// Load loads a credential. Close it.
func Load(s Source) (*Credential, error) {
	var certs []*x509.Certificate
	var public []byte
	if s.Certificate != "" {
		var err error
		read := s.ReadPublic
		if s.Key == "" || s.Key == s.Certificate {
			read = s.ReadPrivate
		}
		if public, err = read(s.Certificate); err != nil {
			return nil, fmt.Errorf("credential: certificate: %w", err)
		}
		if s.Key == "" && !bytes.Contains(public, []byte("-----BEGIN")) {
			defer clear(public)
			return parsePKCS12(s, public)
		}
		if certs, err = pki.ParseCertificates(public); err != nil {
			return nil, fmt.Errorf("credential: certificate %s: %w", s.Certificate, err)
		}
	}
	var c *Credential
	var err error
	switch {
	case strings.HasPrefix(s.Key, "pkcs11:"):
		c, err = openToken(s, certs)
	case strings.HasPrefix(s.Key, "tpm2:"):
		c, err = openPersistent(s, certs)
	case len(certs) == 0:
		return nil, errors.New("credential: no certificate is named")
	default:
		c, err = loadFile(s, certs, public)
	}
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	return c, nil
}

// loadFile reads the private key from a file in PEM.
func loadFile(s Source, certs []*x509.Certificate, both []byte) (*Credential, error) {
	data := both
	path := s.Certificate
	if s.Key != "" && s.Key != s.Certificate {
		var err error
		path = s.Key
		if data, err = s.ReadPrivate(path); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
	}
	defer clear(data)
	block, err := keyBlock(data)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKey, path, err)
	}
	defer clear(block.Bytes)
	if block.Type == tssBlock {
		return openFile(s, block.Bytes, certs)
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrKey, path, err)
	}
	return New(key, certs)
}

// New makes a credential of a key that is in memory, or of any other, and its certificates: one of the key, and those of its
// issuers in any order. It wraps ErrMismatch where none is the key's.
func New(key crypto.Signer, certs []*x509.Certificate) (*Credential, error) {
	schemes := Schemes(key.Public())
	if len(schemes) == 0 {
		return nil, fmt.Errorf("%w: a %T cannot be used: want RSA of at least 2048 bits, ECDSA of P-256, P-384 or P-521, or Ed25519", ErrKey, key.Public())
	}
	chain, err := order(key.Public(), certs)
	if err != nil {
		return nil, err
	}
	return &Credential{chain: chain, signer: key, schemes: schemes}, nil
}

// order returns the certificate of the key, the one of its issuer, and so on as far as they are there.
func order(key crypto.PublicKey, certs []*x509.Certificate) ([]*x509.Certificate, error) {
	comparable, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return nil, fmt.Errorf("%w: a %T cannot be compared", ErrKey, key)
	}
	var chain []*x509.Certificate
	for _, c := range certs {
		if comparable.Equal(c.PublicKey) {
			chain = append(chain, c)
			break
		}
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("%w: none of %d certificates has its public key", ErrMismatch, len(certs))
	}
next:
	for len(chain) < pki.MaxChain {
		last := chain[len(chain)-1]
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			break
		}
		for _, c := range certs {
			if bytes.Equal(c.RawSubject, last.RawIssuer) && !c.Equal(last) && last.CheckSignatureFrom(c) == nil {
				chain = append(chain, c)
				continue next
			}
		}
		break
	}
	return chain, nil
}

// Leaf returns the certificate of the key.
func (c *Credential) Leaf() *x509.Certificate { return c.chain[0] }

// Signer returns the key, for TLS.
func (c *Credential) Signer() crypto.Signer { return c.signer }

// Certificates returns what the IKE machine needs. A self-signed root is left out (RFC 7296 §3.6) unless it is all there is.
func (c *Credential) Certificates() *ike.Certificates {
	p := &ike.Certificates{Schemes: append([]ike.SignatureScheme(nil), c.schemes...)}
	for i, x := range c.chain {
		if i > 0 && bytes.Equal(x.RawIssuer, x.RawSubject) {
			break
		}
		p.Chain = append(p.Chain, x.Raw)
	}
	return p
}

// Sign signs as the function Sign does.
func (c *Credential) Sign(s ike.SignatureScheme, octets []byte) ([]byte, error) {
	return Sign(c.signer, c.chain[0].PublicKey, s, octets)
}

// Close gives back what the key is in. The credential is of no use then.
func (c *Credential) Close() error {
	if c == nil || c.close == nil {
		return nil
	}
	end := c.close
	c.close = nil
	return end()
}

// String names the credential by its certificate, for logs.
func (c *Credential) String() string { return c.chain[0].Subject.String() }

// secret asks for a secret.
func (s *Source) secret(prompt string) ([]byte, error) {
	if s.Ask == nil {
		return nil, fmt.Errorf("%w: %s", ErrNobodyToAsk, prompt)
	}
	return s.Ask(prompt)
}
