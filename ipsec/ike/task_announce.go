package ike

import (
	"encoding/binary"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// announceTask says in IKE_SA_INIT what is needed for authentication, both roles: SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4),
// and from the responder CERTREQ (RFC 7296 §3.7) and MULTIPLE_AUTH_SUPPORTED (RFC 4739 §3.1).
type announceTask struct{}

// announced is what the peer has announced, and asked for later in IKE_AUTH.
type announced struct {
	// hashes are those of the peer's SIGNATURE_HASH_ALGORITHMS, nil unless both ends have sent it.
	hashes []message.HashAlgorithm
	// authorities are the hashes of the peer's CERTREQ, ocsp that it asks for an OCSP response (RFC 4806).
	authorities [][20]byte
	ocsp        bool
	multiple    bool
}

// maxAuthorities bounds the hashes that are kept of the peer's CERTREQ payloads.
const maxAuthorities = 512

func (announceTask) needed(*Machine) bool { return true }

func (announceTask) request(_ link.Instant, m *Machine, x *exchange) error {
	if m.initiator.signs() {
		x.add(hashNotify())
	}
	return nil
}

// signs tells whether signatures may occur.
func (c *InitiatorConfig) signs() bool {
	return c.Accept.Certificates || slices.ContainsFunc(c.Rounds, func(p Proof) bool { return p.Certificates != nil })
}

func (announceTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	m.said = announced{}
	if m.initiator.signs() {
		m.said.readHashes(in.Payloads)
	}
	m.said.readRequests(in.Payloads)
	_, m.said.multiple = message.FindNotify(in.Payloads, message.MultipleAuthSupported)
	return nil
}

func (announceTask) abandon(link.Instant, *Machine) {}

func (announceTask) answer(m *Machine, in *message.Message) []message.Payload {
	m.said = announced{}
	out := m.responder.Accept.requests()
	if m.said.readHashes(in.Payloads) {
		out = append(out, hashNotify())
	}
	if m.responder.Multiple {
		out = append(out, message.Notify{Message: message.MultipleAuthSupported})
	}
	return out
}

// hashNotify lists all hash algorithms of signatures that are taken.
func hashNotify() message.Notify {
	n := message.Notify{Message: message.SignatureHashAlgorithms}
	for _, h := range signatureHashes {
		n.Data = binary.BigEndian.AppendUint16(n.Data, uint16(h.number))
	}
	return n
}

// readHashes takes the peer's SIGNATURE_HASH_ALGORITHMS and tells whether there is one. What is not known is left out.
func (a *announced) readHashes(ps []message.Payload) bool {
	n, ok := message.FindNotify(ps, message.SignatureHashAlgorithms)
	if !ok {
		return false
	}
	a.hashes = []message.HashAlgorithm{}
	for b := n.Data; len(b) >= 2; b = b[2:] {
		h := message.HashAlgorithm(binary.BigEndian.Uint16(b))
		if hashKnown(h) && !slices.Contains(a.hashes, h) {
			a.hashes = append(a.hashes, h)
		}
	}
	return true
}

func hashKnown(h message.HashAlgorithm) bool {
	for _, known := range signatureHashes {
		if known.number == h {
			return true
		}
	}
	return false
}

// readRequests takes the peer's CERTREQ payloads: hashes of authorities for X.509 certificates, and OCSP.
func (a *announced) readRequests(ps []message.Payload) {
	for _, p := range ps {
		r, ok := p.(message.CertReq)
		switch {
		case ok && r.Encoding == message.CertX509:
			for b := r.Authority; len(b) >= 20 && len(a.authorities) < maxAuthorities; b = b[20:] {
				a.authorities = append(a.authorities, [20]byte(b))
			}
		case ok && r.Encoding == message.CertOCSP:
			a.ocsp = true
		}
	}
}

// requests returns the CERTREQ payloads that ask for what is accepted.
func (a *Acceptance) requests() []message.Payload {
	if !a.Certificates {
		return nil
	}
	r := message.CertReq{Encoding: message.CertX509}
	for _, h := range a.Authorities {
		r.Authority = append(r.Authority, h[:]...)
	}
	out := []message.Payload{r}
	if a.OCSP {
		out = append(out, message.CertReq{Encoding: message.CertOCSP}) // RFC 4806 §3.1
	}
	return out
}

// choose returns the first certificate chain, of c and its alternatives, that has a scheme which the peer takes; rather one
// that leads to an authority which the peer asks for, if it asks for any (RFC 7296 §3.7: that is a suggestion).
func (a *announced) choose(c *Certificates) (*Certificates, SignatureScheme, bool) {
	var best *Certificates
	var with SignatureScheme
	for ; c != nil; c = c.Alternative {
		s, ok := c.scheme(a.hashes)
		switch {
		case !ok:
		case a.asks(c):
			return c, s, true
		case best == nil:
			best, with = c, s
		}
	}
	return best, with, best != nil
}

func (a *announced) asks(c *Certificates) bool {
	return len(a.authorities) == 0 || slices.ContainsFunc(c.Authorities, func(h [20]byte) bool { return slices.Contains(a.authorities, h) })
}
