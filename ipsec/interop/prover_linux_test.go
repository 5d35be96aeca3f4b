package interop

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/tun/link"
)

// prover answers what an IKE machine of ours asks its driver about authentication.
type prover struct {
	t       testing.TB
	machine interface {
		Signed(now link.Instant, signature []byte, err error) error
		Trusted(now link.Instant, key crypto.PublicKey, err error) error
		AnswerEAP(now link.Instant, a ike.EAPAnswer) error
	}
	// keys are those of certificates, by the leaf in DER.
	keys     map[string]crypto.Signer
	verifier pki.Verifier
	// newMethod makes the EAP machine of a conversation with the identity of IDi, whose password is password and whose key is eapKey.
	newMethod func(id ike.Identity) (*eap.Machine, error)
	password  string
	eapKey    crypto.Signer
	method    *eap.Machine
}

func newProver(t testing.TB, anchor *pkitest.Authority, purpose pki.Purpose) *prover {
	t.Helper()
	anchors, err := pki.NewAnchors(anchor.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	return &prover{t: t, keys: map[string]crypto.Signer{}, verifier: pki.Verifier{Anchors: anchors, Purpose: purpose}}
}

// proof is a proof by a certificate.
func (p *prover) proof(id ike.Identity, c holder, schemes ...ike.SignatureScheme) ike.Proof {
	p.keys[string(c.Certificate.Raw)] = c.Key
	return ike.Proof{ID: id, Certificates: &ike.Certificates{Chain: c.chainDER(), Schemes: schemes}}
}

// schemes are those of a key, with RFC 4754 for ECDSA.
func schemes(key crypto.Signer) (out []ike.SignatureScheme) {
	add := func(m message.AuthMethod, a ike.SignatureAlgorithm, h crypto.Hash) {
		out = append(out, ike.SignatureScheme{Method: m, Algorithm: a, Hash: h})
	}
	switch key := key.Public().(type) {
	case *rsa.PublicKey:
		add(message.AuthDigitalSignature, ike.RSAPSS, crypto.SHA256)
	case ed25519.PublicKey:
		add(message.AuthDigitalSignature, ike.Ed25519, 0)
	case *ecdsa.PublicKey:
		hash, old := crypto.SHA256, message.AuthECDSA256
		switch key.Curve.Params().BitSize {
		case 384:
			hash, old = crypto.SHA384, message.AuthECDSA384
		case 521:
			hash, old = crypto.SHA512, message.AuthECDSA521
		}
		add(message.AuthDigitalSignature, ike.ECDSA, hash)
		add(old, ike.ECDSA, hash)
	}
	return out
}

func sign(key crypto.Signer, s ike.SignatureScheme, octets []byte) ([]byte, error) {
	if s.Hash == 0 {
		return key.Sign(rand.Reader, octets, crypto.Hash(0))
	}
	h := s.Hash.New()
	h.Write(octets)
	if s.Algorithm == ike.RSAPSS {
		return key.Sign(rand.Reader, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.Hash})
	}
	return key.Sign(rand.Reader, h.Sum(nil), s.Hash)
}

// answer is an endpoint's ask. That an attempt ends with an answer shows in its Closed.
func (p *prover) answer(now link.Instant, h happening) error {
	switch e := h.Event.(type) {
	case ike.SignatureWanted:
		sig, err := sign(p.keys[string(e.Certificates.Chain[0])], e.Scheme, e.Octets)
		p.note(p.machine.Signed(now, sig, err))
	case ike.TrustWanted:
		trusted, err := p.verifier.Verify(context.Background(), pki.Presented{ID: e.ID, Chain: e.Chain, CRLs: e.CRLs, OCSP: e.OCSP}, now.Wall)
		p.note(p.machine.Trusted(now, trusted.Key, err))
	case ike.EAPReceived:
		a, err := p.converse(e, now.Wall)
		if err != nil {
			return err
		}
		p.note(p.machine.AnswerEAP(now, a))
	}
	return nil
}

func (p *prover) note(err error) {
	if err != nil {
		p.t.Logf("ours: %v", err)
	}
}

// converse gives an EAP message to the method and returns what it answers.
func (p *prover) converse(e ike.EAPReceived, now time.Time) (ike.EAPAnswer, error) {
	if p.newMethod == nil {
		return ike.EAPAnswer{}, errors.New("EAP was not to be used")
	}
	if p.method == nil {
		var err error
		if p.method, err = p.newMethod(e.ID); err != nil {
			return ike.EAPAnswer{}, err
		}
		p.t.Cleanup(p.method.Close)
	}
	if err := p.method.HandleMessage(e.Message); err != nil {
		return ike.EAPAnswer{}, err
	}
	for {
		ev, ok := p.method.PollEvent()
		if !ok {
			return ike.EAPAnswer{}, errors.New("the method says nothing")
		}
		var err error
		switch ev := ev.(type) {
		case eap.PasswordWanted:
			var wrong error
			if ev.Again { // it will not get better
				wrong = eap.ErrPasswordWrong
			}
			err = p.method.AnswerPassword(eap.Secret{Password: []byte(p.password)}, wrong)
		case eap.SignatureWanted:
			var sig []byte
			sig, err = p.eapKey.Sign(rand.Reader, ev.Digest, ev.Options)
			err = p.method.AnswerSignature(sig, err)
		case eap.TrustWanted:
			err = p.method.AnswerTrust(p.chains(ev.Chain, now))
		default:
			if a, ok := eap.Answer(ev); ok {
				if f, ok := ev.(eap.Finished); ok {
					p.t.Logf("EAP: %v, identity %q, %v", f.Method, f.Identity, f.Err)
					p.method = nil
				}
				return a, nil
			}
		}
		if err != nil {
			return ike.EAPAnswer{}, err
		}
	}
}

// chains tells whether a certificate of TLS leads to an anchor.
func (p *prover) chains(der [][]byte, now time.Time) error {
	roots := x509.NewCertPool()
	for _, c := range p.verifier.Anchors.Certificates() {
		roots.AddCert(c)
	}
	if len(der) == 0 {
		return errors.New("no certificate")
	}
	leaf, err := x509.ParseCertificate(der[0])
	if err != nil {
		return fmt.Errorf("leaf: %w", err)
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
