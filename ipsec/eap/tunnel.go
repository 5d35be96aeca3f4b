package eap

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// tunnel is a TLS connection whose records travel in the EAP messages of a conversation: crypto/tls reads and writes it like a
// socket. Read sends what was written and stands still until the other end's flight is there.
type tunnel struct {
	flights flights
	talk    *talk
	conn    *tls.Conn

	in, out []byte
	// nowait has Read end with errNothing when the flight is used up, rather than ask for the next.
	nowait bool
	// success is set when EAP-Success came in place of a flight.
	success bool
	// cause is why the carrier failed, refusal what the driver said when it did not sign or did not trust.
	cause, refusal error
}

// errNothing ends a Read that must not wait. It is temporary, so that crypto/tls takes the connection as whole.
var errNothing net.Error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "eap: the flight is used up" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// Read implements net.Conn.
func (t *tunnel) Read(b []byte) (int, error) {
	for len(t.in) == 0 {
		if t.nowait {
			return 0, errNothing
		}
		if err := t.turn(); err != nil {
			return 0, err
		}
		if len(t.in) == 0 {
			t.cause = fmt.Errorf("%w: TLS in EAP: an empty message, where TLS must go on", ErrUnexpected)
			return 0, t.cause
		}
	}
	n := copy(b, t.in)
	t.in = t.in[n:]
	return n, nil
}

// turn sends what was written and takes the next flight, or EAP-Success, for which it returns io.EOF.
func (t *tunnel) turn() error {
	if t.cause != nil {
		return t.cause
	}
	if t.success {
		return io.EOF
	}
	out := t.out
	t.out = nil
	t.in, t.success, t.cause = t.flights.swap(out)
	if t.cause == nil && t.success {
		return io.EOF
	}
	return t.cause
}

// Write implements net.Conn.
func (t *tunnel) Write(b []byte) (int, error) {
	t.out = append(t.out, b...)
	return len(b), nil
}

// Close implements net.Conn.
func (t *tunnel) Close() error { return nil }

// LocalAddr implements net.Conn.
func (t *tunnel) LocalAddr() net.Addr { return nowhere{} }

// RemoteAddr implements net.Conn.
func (t *tunnel) RemoteAddr() net.Addr { return nowhere{} }

// SetDeadline implements net.Conn; there are no deadlines.
func (t *tunnel) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (t *tunnel) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (t *tunnel) SetWriteDeadline(time.Time) error { return nil }

type nowhere struct{}

func (nowhere) Network() string { return "eap" }
func (nowhere) String() string  { return "eap" }

// signer asks the driver to sign.
type signer struct {
	tunnel *tunnel
	public crypto.PublicKey
}

// Public implements crypto.Signer.
func (s signer) Public() crypto.PublicKey { return s.public }

// Sign implements crypto.Signer.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	b, err := s.tunnel.talk.sign(SignatureWanted{Digest: append([]byte(nil), digest...), Options: opts})
	s.tunnel.refusal = err
	return b, err
}

// config returns what both ends configure. Sessions are not resumed. There is no clock to read: the driver checks
// certificates.
func (t *tunnel) config(c *Common) *tls.Config {
	return &tls.Config{
		MinVersion: uint16(c.MinTLS), MaxVersion: uint16(c.MaxTLS), SessionTicketsDisabled: true,
		DynamicRecordSizingDisabled: true, Renegotiation: tls.RenegotiateNever,
		Time: func() time.Time { return time.Time{} },
	}
}

// certificate returns the own certificate for crypto/tls, empty when there is none.
func (t *tunnel) certificate(c *Common) tls.Certificate {
	if c.Certificate == nil {
		return tls.Certificate{}
	}
	out := tls.Certificate{Certificate: c.Certificate.Chain, PrivateKey: signer{t, c.Certificate.Public}}
	if _, isRSA := c.Certificate.Public.(*rsa.PublicKey); isRSA && c.Certificate.NoPSS {
		out.SupportedSignatureAlgorithms = []tls.SignatureScheme{tls.PKCS1WithSHA256, tls.PKCS1WithSHA384, tls.PKCS1WithSHA512}
	}
	return out
}

// verify asks the driver about the other end's certificate.
func (t *tunnel) verify(identity string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		q := TrustWanted{Identity: identity, OCSP: cs.OCSPResponse}
		for _, c := range cs.PeerCertificates {
			q.Chain = append(q.Chain, c.Raw)
		}
		if len(q.Chain) == 0 {
			return errors.New("no certificate")
		}
		t.refusal = t.talk.trust(q)
		return t.refusal
	}
}

// failed returns why TLS failed.
func (t *tunnel) failed(err error) error {
	switch {
	case t.talk.gone:
		return ErrClosed
	case t.cause != nil:
		return t.cause
	case t.success:
		return ErrEarlySuccess
	case t.refusal != nil:
		return fmt.Errorf("%w: %w", ErrTLS, t.refusal)
	default:
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
}

// read returns the application data of the next flight that has some. It returns nil when EAP-Success came instead.
func (t *tunnel) read() ([]byte, error) {
	for {
		if len(t.in) == 0 {
			if err := t.turn(); err == io.EOF && t.success {
				return nil, nil
			} else if err != nil {
				return nil, t.failed(err)
			}
		}
		data, err := t.drain()
		if len(data) > 0 || err != nil {
			return data, err
		}
	}
}

// drain returns what application data the flight at hand has.
func (t *tunnel) drain() (data []byte, err error) {
	t.nowait = true
	defer func() { t.nowait = false }()
	for {
		var b [1024]byte
		n, err := t.conn.Read(b[:])
		data = append(data, b[:n]...)
		clear(b[:])
		switch {
		case errors.Is(err, errNothing):
			return data, nil
		case err != nil:
			return data, t.failed(err)
		}
	}
}

// The labels of key material (RFC 5216 §2.3, RFC 5281 §8, RFC 9190 §2.3, RFC 9427 §2.1).
const (
	labelTLS12     = "client EAP encryption"
	labelTTLS12    = "ttls keying material"
	labelTLS13     = "EXPORTER_EAP_TLS_Key_Material"
	labelChallenge = "ttls challenge"
)

// key returns the master session key: the first half of 128 octets of key material.
func (t *tunnel) key(method Type) ([]byte, error) {
	label, context := labelTLS13, []byte{byte(method)}
	if t.conn.ConnectionState().Version == tls.VersionTLS12 {
		if label, context = labelTLS12, nil; method == TypeTTLS {
			label = labelTTLS12
		}
	}
	b, err := t.export(label, context, 2*mskSize)
	if err != nil {
		return nil, err
	}
	clear(b[mskSize:])
	return b[:mskSize:mskSize], nil
}

// export returns keying material of the connection (RFC 5705).
func (t *tunnel) export(label string, context []byte, n int) ([]byte, error) {
	cs := t.conn.ConnectionState()
	b, err := cs.ExportKeyingMaterial(label, context, n)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return b, nil
}
