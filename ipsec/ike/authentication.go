package ike

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"mipvpn/ipsec/ike/message"
)

// Proof is how an end proves its identity in one round of authentication (RFC 7296 §2.15, §2.16; RFC 4739 for several).
// One of PSK, Certificates and EAP is set; a responder may set EAP beside another.
type Proof struct {
	// ID is the identity that is proved: IDi of an initiator, IDr of a responder. The zero Identity means Config.LocalID.
	ID Identity
	// PSK is a pre-shared key. The machine takes a copy, which it wipes when authentication is over.
	PSK []byte
	// Certificates is a certificate chain; the driver signs, when SignatureWanted asks for it.
	Certificates *Certificates
	// EAP leaves the proof to an EAP method, which the driver has: EAPReceived brings it messages. For a responder it allows
	// that the method alone proves its identity too, if the initiator offers that (RFC 5998).
	EAP bool
}

// Requirement is what a responder proves to a peer, and what it wants proved.
type Requirement struct {
	// Own is the proof of the own identity.
	Own Proof
	// Rounds are what the peer has to prove, in this order; more than one is RFC 4739.
	Rounds []Acceptance
	// PPKs are the post-quantum pre-shared keys that the peer may use (RFC 8784), which ResponderConfig.PPK has to announce;
	// RequirePPK refuses it without one.
	PPKs       []PPK
	RequirePPK bool
}

// Certificates is a certificate chain with what its private key can do. The key itself stays with the driver.
type Certificates struct {
	// Chain has X.509 certificates in DER, the leaf first, each next one the issuer of the one before. A self-signed root
	// is not sent (RFC 7296 §3.6).
	Chain [][]byte
	// Schemes are the signature schemes that the key makes, the preferred first; the first one that the peer takes is used.
	Schemes []SignatureScheme
	// Authorities are the SHA-1 hashes of the public keys (SubjectPublicKeyInfo) of the certification authorities that the
	// chain leads to, to choose among alternatives by the peer's CERTREQ. They may be left out where there are none.
	Authorities [][20]byte
	// OCSP is an OCSP response about the leaf in DER, sent to a peer that asks for one (RFC 4806); nil for none.
	OCSP []byte
	// Alternative is another chain of the same identity, nil for none: it is used when the peer takes no scheme of this one, or
	// asks for authorities of which this one leads to none (RFC 7296 §3.7).
	Alternative *Certificates
}

// SignatureScheme is an AUTH method with its parameters (RFC 7427, RFC 8420, RFC 4754). It is comparable.
type SignatureScheme struct {
	// Method is message.AuthDigitalSignature (RFC 7427), or for peers without that one of the methods of RFC 4754.
	Method message.AuthMethod
	// Algorithm is the public key algorithm with its padding.
	Algorithm SignatureAlgorithm
	// Hash is the hash function, crypto.Hash(0) for Ed25519 (message.HashIdentity in SIGNATURE_HASH_ALGORITHMS).
	Hash crypto.Hash
}

// SignatureAlgorithm is a public key algorithm with its padding.
type SignatureAlgorithm uint8

// The signature algorithms.
const (
	RSAPKCS1 SignatureAlgorithm = iota + 1 // RSASSA-PKCS1-v1_5, with SHA-2 only (RFC 8247 §3)
	RSAPSS                                 // RSASSA-PSS, the salt as long as the hash
	ECDSA                                  // ECDSA of P-256, P-384 or P-521
	Ed25519                                // RFC 8420
)

// complete copies the proof and checks that an initiator can use it.
func (p *Proof) complete() error {
	n := 0
	for _, set := range []bool{len(p.PSK) != 0, p.Certificates != nil, p.EAP} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("want one of PSK, Certificates and EAP, found %d", n)
	}
	if p.Certificates != nil {
		if err := p.Certificates.check(); err != nil {
			return err
		}
	}
	p.PSK = bytes.Clone(p.PSK)
	return nil
}

func (c *Certificates) check() error {
	for ; c != nil; c = c.Alternative {
		if len(c.Chain) == 0 || len(c.Schemes) == 0 {
			return fmt.Errorf("certificates: want a chain and signature schemes, found %d and %d", len(c.Chain), len(c.Schemes))
		}
		for _, s := range c.Schemes {
			_, hash, old := curveOf(s.Method)
			if preferred[s] == nil && !(old && s.Algorithm == ECDSA && s.Hash == hash) {
				return fmt.Errorf("certificates: %w: %v is not known", ErrSignatureScheme, s)
			}
		}
	}
	return nil
}

// any tells whether something is accepted.
func (a *Acceptance) any() bool { return len(a.PSK) != 0 || a.Certificates || a.EAP }

// complete copies the acceptance and checks it.
func (a *Acceptance) complete() error {
	if !a.any() {
		return errors.New("want at least one of PSK, Certificates and EAP, found none")
	}
	a.PSK = bytes.Clone(a.PSK)
	return nil
}

// complete copies what the policy says and checks it.
func (r *Requirement) complete(local Identity) error {
	withDefault(&r.Own.ID, local)
	psk, certificates := len(r.Own.PSK) != 0, r.Own.Certificates != nil
	if !psk && !certificates && !r.Own.EAP || psk && certificates {
		return errors.New("policy: Own: want either PSK or Certificates, or EAP")
	}
	if r.Own.Certificates != nil {
		if err := r.Own.Certificates.check(); err != nil {
			return fmt.Errorf("policy: Own: %w", err)
		}
	}
	r.Own.PSK = bytes.Clone(r.Own.PSK)
	if len(r.Rounds) == 0 {
		return errors.New("policy: Rounds: want at least one")
	}
	r.Rounds = append([]Acceptance(nil), r.Rounds...)
	for i := range r.Rounds {
		if err := r.Rounds[i].complete(); err != nil {
			return fmt.Errorf("policy: round %d: %w", i+1, err)
		}
	}
	r.PPKs = append([]PPK(nil), r.PPKs...)
	for i := range r.PPKs {
		p := &r.PPKs[i]
		if err := p.Check(); err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		p.Key = bytes.Clone(p.Key)
	}
	return nil
}

func (r *Requirement) wipe() {
	clear(r.Own.PSK)
	for _, a := range r.Rounds {
		clear(a.PSK)
	}
	for _, p := range r.PPKs {
		clear(p.Key)
	}
}

// Acceptance is what one end takes as proof of the other's identity in one round. Several may be set: what the peer does
// decides, so that a caller sets only what is equally good.
type Acceptance struct {
	// PSK accepts this pre-shared key. The machine takes a copy.
	PSK []byte
	// Certificates accepts a signature by the key of a certificate that the driver trusts: TrustWanted asks it.
	Certificates bool
	// EAP has a responder accept an EAP method of the initiator's, and an initiator accept that the gateway is authenticated
	// by the EAP method alone, which must be one that makes a key (RFC 5998).
	EAP bool
	// Authorities are the SHA-1 hashes of the public keys (SubjectPublicKeyInfo) of the certification authorities that are
	// trusted, for CERTREQ (RFC 7296 §3.7). Empty asks for any certificate.
	Authorities [][20]byte
	// OCSP asks for in-band OCSP responses (RFC 4806).
	OCSP bool
}

// SignatureWanted asks the driver to sign: it answers with Machine.Signed, at once or later, for keys may be in a smart
// card that asks for a PIN. Nothing is sent until then.
type SignatureWanted struct {
	// ID is the identity that is proved, the one of the Proof.
	ID Identity
	// Certificates is the chain whose key is to sign: the Proof's or one of its alternatives.
	Certificates *Certificates
	// Scheme is the scheme to sign with, one of theirs.
	Scheme SignatureScheme
	// Octets are what is signed, not hashed yet. The receiver of the event owns them.
	Octets []byte
}

// TrustWanted asks the driver whether the peer's certificates prove its identity: it answers with Machine.Trusted, at once or
// later, for revocation may have to be looked up. It has to check the chain to a trust anchor, its validity, the leaf's name
// against ID, key usages and revocation. The machine itself has verified that the peer signs with the key of the leaf, and does
// so again with the key of the answer.
type TrustWanted struct {
	// ID is the identity that the peer claims.
	ID Identity
	// Chain are the peer's X.509 certificates in DER: the leaf first, the others in the peer's order, to build a chain of.
	Chain [][]byte
	// CRLs and OCSP are revocation lists and OCSP responses that came with them, in DER (RFC 7296 §3.6, RFC 4806).
	CRLs, OCSP [][]byte
}

// EAPReceived brings an EAP message for the driver's EAP method, which answers with Machine.AnswerEAP, at once or later, for
// a person may have to be asked.
type EAPReceived struct {
	// ID is the identity of the initiator's IDi.
	ID Identity
	// Message is the peer's EAP message (RFC 3748 §4), nil when a responder is to begin.
	Message []byte
}

// EAPAnswer is what an EAP method answers.
type EAPAnswer struct {
	// Message is the EAP message to send, nil when there is none: on the initiator's side after EAP-Success.
	Message []byte
	// Done says that the method has succeeded: the responder's Message is EAP-Success, the initiator's peer has sent that, and
	// the method agrees.
	Done bool
	// MSK is the method's master session key when Done, empty for a method that makes none (RFC 7296 §2.16). The machine takes
	// a copy.
	MSK []byte
	// ID is the identity that the method has authenticated, where it is another than IDi: a responder's policy goes by it. The
	// zero Identity for IDi.
	ID Identity
	// Err ends the attempt. A responder's Message, EAP-Failure, is sent first.
	Err error
}

func (SignatureWanted) event() {}
func (TrustWanted) event()     {}
func (EAPReceived) event()     {}
