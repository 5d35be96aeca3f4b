package ike

import (
	"crypto/hmac"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"mipvpn/ipsec/ike/message"
)

// Reasons why a round of authentication fails. The errors of the initiator's attempt and the causes of a responder's refusal
// wrap them.
var (
	// ErrMethod means that the peer proves its identity by a method that is not accepted of it.
	ErrMethod = errors.New("the peer authenticates by a method that is not accepted")
	// ErrCertificates means that the peer's certificate payloads are not taken: too many, too long, or by hash and URL.
	ErrCertificates = errors.New("the peer's certificate payloads are not taken")
	// ErrOwnKey means that the driver could not sign with the own key.
	ErrOwnKey = errors.New("the own key made no signature")
	// ErrTrust means that the driver does not trust the peer's certificates.
	ErrTrust = errors.New("the peer's certificates are not trusted")
	// ErrEAP means that an EAP message does not fit the conversation, or that the method failed.
	ErrEAP = errors.New("EAP")
	// ErrEarlySuccess means that the gateway sent EAP-Success before a method was done (RFC 3748 §4.2).
	ErrEarlySuccess = errors.New("EAP-Success before the method was done")
	// ErrNoKey means that the EAP method made no key, without which it proves nothing about the gateway (RFC 5998 §3).
	ErrNoKey = errors.New("the EAP method makes no key, and nothing else proves who the gateway is")
	// ErrRounds means that the ends want different numbers of rounds of authentication (RFC 4739).
	ErrRounds = errors.New("the peer does not do the rounds of authentication that are required")
)

// What a peer may send in its CERT payloads: RFC 7296 §3.6 wants four certificates to be possible.
const (
	maxCertificates      = 10
	maxRevocations       = 10
	maxCertificateOctets = 48 << 10
)

// signedOctets are what AUTH of one end covers (RFC 7296 §2.15, RFC 9242 §3.3.2): initiator tells which end, id is its latest identity.
func (f *firstExchange) signedOctets(k *keys, initiator bool, id Identity) []byte {
	msg, nonce, skp := f.response, f.ni, k.pr
	if initiator {
		msg, nonce, skp = f.request, f.nr, k.pi
	}
	return slices.Concat(msg, nonce, k.suite.prf.Sum(skp, id.Body()), f.intermediates.octets())
}

// mac returns AUTH of one end by a shared secret, or by SK_pi or SK_pr of a resumed IKE SA (RFC 5723 §4.3.3). An empty secret
// stands for an EAP method without a key: SK_pi and SK_pr take its place (RFC 7296 §2.15).
func (m *Machine) mac(s *ikeSA, initiator bool, id Identity, secret []byte) []byte {
	k := m.authKeys(s)
	octets := m.first.signedOctets(k, initiator, id)
	skp := k.pr
	if initiator {
		skp = k.pi
	}
	if m.first.resumed {
		return k.suite.prf.Sum(skp, octets)
	}
	if len(secret) == 0 {
		secret = skp
	}
	return k.sharedKeyAuth(secret, octets)
}

// prove returns CERT and AUTH of this end. It may wait for the driver's signature.
func (m *Machine) prove(s *ikeSA, p *Proof) ([]message.Payload, error) {
	if m.first.resumed || len(p.PSK) != 0 {
		return []message.Payload{message.Auth{Method: message.AuthSharedKeyMIC, Data: m.mac(s, s.initiator, p.ID, p.PSK)}}, nil
	}
	c, scheme, ok := m.said.choose(p.Certificates)
	if !ok {
		return nil, fmt.Errorf("%w: the key of %v can do %v, the peer takes the hashes %v (nil: no RFC 7427)", ErrSignatureScheme, p.ID,
			p.Certificates.Schemes, m.said.hashes)
	}
	a, err := m.ask(askSignature, func() Event {
		return SignatureWanted{ID: p.ID, Certificates: c, Scheme: scheme, Octets: m.first.signedOctets(m.authKeys(s), s.initiator, p.ID)}
	})
	if err != nil {
		return nil, err
	}
	if a.err != nil {
		return nil, fmt.Errorf("%w (%v): %w", ErrOwnKey, p.ID, a.err)
	}
	data, err := scheme.appendSignature(a.signature)
	if err != nil {
		return nil, fmt.Errorf("%w (%v): %w", ErrOwnKey, p.ID, err)
	}
	var out []message.Payload
	for _, cert := range c.Chain {
		out = append(out, message.Cert{Encoding: message.CertX509, Data: cert})
	}
	if m.said.ocsp && len(c.OCSP) != 0 {
		out = append(out, message.Cert{Encoding: message.CertOCSP, Data: c.OCSP})
	}
	return append(out, message.Auth{Method: scheme.Method, Data: data}), nil
}

// verify checks the peer's AUTH against what is accepted. It may wait for the driver's trust. Errors wrap ErrAuthentication.
func (m *Machine) verify(s *ikeSA, in *message.Message, auth message.Auth, id Identity, accept *Acceptance) error {
	failed := func(err error) error { return fmt.Errorf("%w (%v): %w", ErrAuthentication, id, err) }
	if m.first.resumed || auth.Method == message.AuthSharedKeyMIC {
		switch {
		case auth.Method != message.AuthSharedKeyMIC:
			return failed(fmt.Errorf("%w: want method %d of a resumed IKE SA, found %d", ErrMethod, message.AuthSharedKeyMIC, auth.Method))
		case !m.first.resumed && len(accept.PSK) == 0:
			return failed(fmt.Errorf("%w: found a pre-shared key", ErrMethod))
		case !hmac.Equal(auth.Data, m.mac(s, !s.initiator, id, accept.PSK)):
			return failed(errors.New("the pre-shared keys differ"))
		}
		return nil
	}
	if !accept.Certificates {
		return failed(fmt.Errorf("%w: found method %d", ErrMethod, auth.Method))
	}
	scheme, signature, err := parseSignature(auth)
	if err != nil {
		return failed(err)
	}
	// RFC 7427 §3: when both ends have announced hash algorithms the new method must be used, otherwise it must not.
	if announced := m.said.hashes != nil; announced != (scheme.Method == message.AuthDigitalSignature) {
		return failed(fmt.Errorf("%w: method %d, hash algorithms having been announced by both ends: %t", ErrMethod, auth.Method, announced))
	}
	wanted, err := readCertificates(in.Payloads)
	if err != nil {
		return failed(err)
	}
	octets := m.first.signedOctets(m.authKeys(s), !s.initiator, id)
	// Who has not got the key of the certificate must not have the driver look it up.
	if leaf, err := x509.ParseCertificate(wanted.leaf()); err == nil {
		if err := scheme.verify(leaf.PublicKey, octets, signature); err != nil {
			return failed(err)
		}
	}
	a, err := m.ask(askTrust, func() Event {
		wanted.ID = id
		return *wanted
	})
	switch {
	case err != nil:
		return err
	case a.err != nil:
		return failed(fmt.Errorf("%w: %w", ErrTrust, a.err))
	}
	if err := scheme.verify(a.key, octets, signature); err != nil {
		return failed(err)
	}
	return nil
}

// leaf returns the first certificate, nil when there is none.
func (w *TrustWanted) leaf() []byte {
	if len(w.Chain) == 0 {
		return nil
	}
	return w.Chain[0]
}

// readCertificates collects the CERT payloads (RFC 7296 §3.6). Encodings that are not known are skipped.
func readCertificates(ps []message.Payload) (*TrustWanted, error) {
	var w TrustWanted
	octets, linked := 0, 0
	for _, p := range ps {
		c, ok := p.(message.Cert)
		if !ok {
			continue
		}
		switch c.Encoding {
		case message.CertX509:
			w.Chain = append(w.Chain, c.Data)
		case message.CertCRL:
			w.CRLs = append(w.CRLs, c.Data)
		case message.CertOCSP:
			w.OCSP = append(w.OCSP, c.Data)
		case message.CertHashURL, message.CertHashURLBundle:
			linked++
			continue
		default:
			continue
		}
		octets += len(c.Data)
		if len(c.Data) == 0 {
			return nil, fmt.Errorf("%w: an empty one of encoding %d", ErrCertificates, c.Encoding)
		}
	}
	switch {
	case len(w.Chain) > maxCertificates || len(w.CRLs)+len(w.OCSP) > maxRevocations || octets > maxCertificateOctets:
		return nil, fmt.Errorf("%w: want at most %d certificates, %d CRLs and OCSP responses, %d octets; found %d, %d, %d", ErrCertificates,
			maxCertificates, maxRevocations, maxCertificateOctets, len(w.Chain), len(w.CRLs)+len(w.OCSP), octets)
	case len(w.Chain) == 0 && linked != 0:
		return nil, fmt.Errorf("%w: they come by hash and URL, which was not offered", ErrCertificates)
	}
	return &w, nil
}

// EAP codes (RFC 3748 §4).
const (
	eapRequest  = 1
	eapResponse = 2
	eapSuccess  = 3
	eapFailure  = 4
)

const (
	// maxEAP is the longest EAP message that is taken, in octets.
	maxEAP = 16 << 10
	// maxEAPMessages bounds those of one round; RFC 7296 §2.16 wants ten exchanges to be possible.
	maxEAPMessages = 64
)

// checkEAP returns the code of a message with a right length field (RFC 7296 §3.16).
func checkEAP(b []byte) (byte, error) {
	switch {
	case len(b) < 4 || len(b) > maxEAP:
		return 0, fmt.Errorf("%w: want a message of 4 to %d octets, found %d", ErrEAP, maxEAP, len(b))
	case int(b[2])<<8|int(b[3]) != len(b):
		return 0, fmt.Errorf("%w: want a length of %d, found %d", ErrEAP, len(b), int(b[2])<<8|int(b[3]))
	case b[0] < eapRequest || b[0] > eapFailure:
		return 0, fmt.Errorf("%w: code %d", ErrEAP, b[0])
	case (b[0] == eapRequest || b[0] == eapResponse) && len(b) < 5, b[0] >= eapSuccess && len(b) != 4:
		return 0, fmt.Errorf("%w: code %d with %d octets", ErrEAP, b[0], len(b))
	}
	return b[0], nil
}
