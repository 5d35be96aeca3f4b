package eap

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// open makes the TLS connection of a peer.
func (p *peer) open(first []byte) (*tunnel, error) {
	start, err := parseFragment(first)
	if err != nil {
		return nil, err
	}
	if !start.start {
		return nil, fmt.Errorf("%w: %v: want the start", ErrUnexpected, p.request.Type)
	}
	// The start's version is the highest of the server's; ours, 0, is what the answer says (RFC 5281 §9.2.1).
	t := &tunnel{flights: flights{exchange: p.exchange, size: p.cfg.FragmentSize}, talk: p.talk}
	c := t.config(&p.cfg.Common)
	c.ServerName, c.InsecureSkipVerify, c.VerifyConnection = p.cfg.ServerName, true, t.verify("")
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		own := t.certificate(&p.cfg.Common)
		return &own, nil
	}
	t.conn = tls.Client(t, c)
	if err := t.conn.Handshake(); err != nil {
		return nil, p.failTLS(t, t.failed(err))
	}
	return t, nil
}

// failTLS sends the alert that says why this end gives up, or acknowledges the server's, so that it sends EAP-Failure
// (RFC 5216 §2.1.3).
func (p *peer) failTLS(t *tunnel, cause error) error {
	if t.cause != nil || t.success || t.talk.gone {
		return cause
	}
	if _, _, err := t.flights.swap(t.out); errors.Is(err, ErrClosed) {
		return err
	}
	return cause
}

// tls is EAP-TLS as a peer.
func (p *peer) tls(first []byte) ([]byte, error) {
	t, err := p.open(first)
	if err != nil {
		return nil, err
	}
	if t.conn.ConnectionState().Version == tls.VersionTLS13 {
		// Only the octet 0 of application data says that the server takes our certificate (RFC 9190 §2.1.1, §2.5).
		b, err := t.read()
		switch {
		case err != nil:
			return nil, p.failTLS(t, err)
		case b == nil:
			return nil, ErrEarlySuccess
		case len(b) != 1 || b[0] != 0:
			return nil, fmt.Errorf("%w: EAP-TLS: want the octet 0 of application data, found %d octets", ErrUnexpected, len(b))
		}
	}
	msk, err := t.key(TypeTLS)
	if err != nil {
		return nil, err
	}
	if err := p.finish([]byte{0}); err != nil {
		clear(msk)
		return nil, err
	}
	return msk, nil
}
