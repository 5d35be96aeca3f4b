package eap

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// open makes the TLS connection of a server.
func (s *server) open(clients tls.ClientAuthType) (*tunnel, error) {
	exchange := func(data []byte) ([]byte, bool, error) {
		b, err := s.exchange(data)
		return b, false, err
	}
	t := &tunnel{flights: flights{exchange: exchange, size: s.cfg.FragmentSize}, talk: s.talk}
	b, err := s.exchange([]byte{flagStart})
	if err != nil {
		return nil, err
	}
	if f, err := parseFragment(b); err == nil && f.version != 0 {
		return nil, fmt.Errorf("%w: %v: want version 0, found %d", ErrUnexpected, s.method, f.version)
	}
	if t.in, _, err = t.flights.collect(b); err != nil {
		return nil, err
	}
	c := t.config(&s.cfg.Common)
	own := t.certificate(&s.cfg.Common)
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &own, nil }
	if c.ClientAuth = clients; clients != tls.NoClientCert {
		c.VerifyConnection = t.verify(s.identity)
	}
	t.conn = tls.Server(t, c)
	if err := t.conn.Handshake(); err != nil {
		return nil, s.failTLS(t, t.failed(err))
	}
	return t, nil
}

// failTLS sends the alert that says why this end gives up, when there is one.
func (s *server) failTLS(t *tunnel, cause error) error {
	if t.cause != nil || t.talk.gone || len(t.out) == 0 {
		return cause
	}
	if _, _, err := t.flights.swap(t.out); errors.Is(err, ErrClosed) {
		return err
	}
	return cause
}

// tls is EAP-TLS as a server.
func (s *server) tls() (msk []byte, identity string, err error) {
	t, err := s.open(tls.RequireAnyClientCert)
	if err != nil {
		return nil, "", err
	}
	if t.conn.ConnectionState().Version == tls.VersionTLS13 {
		// The protected success indication (RFC 9190 §2.1.1).
		if _, err := t.conn.Write([]byte{0}); err != nil {
			return nil, "", t.failed(err)
		}
	}
	if err := s.acknowledged(t); err != nil {
		return nil, "", err
	}
	if msk, err = t.key(TypeTLS); err != nil {
		return nil, "", err
	}
	return msk, s.identity, nil
}

// acknowledged sends the last flight, to which the peer answers with an empty message.
func (s *server) acknowledged(t *tunnel) error {
	if err := t.turn(); err != nil {
		return err
	}
	if len(t.in) == 0 {
		return nil
	}
	if _, err := t.drain(); err != nil { // an alert says why
		return err
	}
	return fmt.Errorf("%w: %v: want an empty message at the end", ErrUnexpected, s.method)
}
