package eap

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"testing"
)

type ends struct {
	pc PeerConfig
	sc ServerConfig
	pd *driver
	sd *driver
}

func tlsEnds(t testing.TB, method Type, serverKey, peerKey crypto.Signer, v TLSVersion) ends {
	t.Helper()
	sp, pp := newPair(t, serverKey, "gateway.example.org", 0), newPair(t, peerKey, "alice@example.org", 0)
	common := Common{Methods: []Type{method}, MinTLS: v, MaxTLS: v}
	e := ends{
		pc: PeerConfig{Common: common, Identity: "alice@example.org"},
		sc: ServerConfig{Common: common, Identity: "alice@example.org"},
		pd: &driver{key: peerKey, password: passwords("secret")}, sd: &driver{key: serverKey, password: passwords("secret")},
	}
	e.sc.Certificate = &sp.cert
	if method == TypeTLS {
		e.pc.Certificate = &pp.cert
	}
	return e
}

func (e ends) run(t testing.TB, change tamper) (Finished, Finished, int) {
	t.Helper()
	return converse(t, e.pc, e.sc, e.pd, e.sd, change)
}

// Shows: IKE-2 (EAP-TLS with TLS 1.2 and 1.3 between our ends, with each kind of key; both ends are asked about trust, and
// sign through their drivers).
func TestTLS(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		for name, key := range map[string]func(testing.TB) crypto.Signer{"RSA": newRSA, "ECDSA": newECDSA, "Ed25519": newEd25519} {
			t.Run(fmt.Sprintf("%x %s", uint16(v), name), func(t *testing.T) {
				e := tlsEnds(t, TypeTLS, key(t), key(t), v)
				p, s, _ := e.run(t, nil)
				agree(t, p, s)
				if s.Identity != "alice@example.org" {
					t.Errorf("found identity %q", s.Identity)
				}
				for who, d := range map[string]*driver{"peer": e.pd, "server": e.sd} {
					var trust, sign int
					for _, q := range d.asked {
						switch q := q.(type) {
						case TrustWanted:
							if trust++; len(q.Chain) != 1 || (who == "server") != (q.Identity == "alice@example.org") {
								t.Errorf("%s: asked about %d certificates of %q", who, len(q.Chain), q.Identity)
							}
						case SignatureWanted:
							sign++
						}
					}
					if trust != 1 || sign != 1 {
						t.Errorf("%s: want one question about trust and one for a signature, found %d and %d", who, trust, sign)
					}
				}
			})
		}
	}
}

// Shows: IKE-2 (the smart card that makes no RSASSA-PSS: TLS 1.2 with PKCS #1).
func TestTLSWithoutPSS(t *testing.T) {
	e := tlsEnds(t, TypeTLS, newRSA(t), newRSA(t), 0)
	e.pc.Certificate.NoPSS = true
	p, s, _ := e.run(t, nil)
	agree(t, p, s)
}

// Shows: IKE-2 (flights in fragments, in both directions, with certificates larger than one message).
func TestTLSFragments(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		e := tlsEnds(t, TypeTLS, newECDSA(t), newECDSA(t), v)
		sp, pp := newPair(t, e.sd.key, "gateway.example.org", 6000), newPair(t, e.pd.key, "alice@example.org", 5000)
		e.sc.Certificate, e.pc.Certificate = &sp.cert, &pp.cert
		e.sc.FragmentSize, e.pc.FragmentSize = 200, 300
		p, s, n := e.run(t, func(toPeer bool, _ int, m []byte) []byte {
			if limit := map[bool]int{true: 210, false: 310}[toPeer]; len(m) > limit {
				t.Errorf("message of %d octets, want at most %d", len(m), limit)
			}
			return m
		})
		agree(t, p, s)
		if n < 60 {
			t.Errorf("want many messages, found %d", n)
		}
	}
}

// Shows: IKE-2 (a certificate that is not trusted ends the conversation, at either end, with the driver's reason).
func TestTLSUntrusted(t *testing.T) {
	reason := errors.New("not in our directory")
	for _, v := range []TLSVersion{TLS12, TLS13} {
		for _, method := range []Type{TypeTLS, TypeTTLS} {
			e := tlsEnds(t, method, newECDSA(t), newECDSA(t), v)
			e.pd.trust = func(TrustWanted) error { return reason }
			p, s, _ := e.run(t, nil)
			if !errors.Is(p.Err, reason) || !errors.Is(p.Err, ErrTLS) || !errors.Is(s.Err, ErrTLS) {
				t.Errorf("%v %x: the server untrusted: peer: %v, server: %v", method, uint16(v), p.Err, s.Err)
			}
		}
		e := tlsEnds(t, TypeTLS, newECDSA(t), newECDSA(t), v)
		e.sd.trust = func(TrustWanted) error { return reason }
		p, s, _ := e.run(t, nil)
		if p.Err == nil || !errors.Is(s.Err, reason) {
			t.Errorf("%x: the peer untrusted: peer: %v, server: %v", uint16(v), p.Err, s.Err)
		}
	}
}

// Shows: IKE-2 (a private key that fails ends the conversation).
func TestTLSNoSignature(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		e := tlsEnds(t, TypeTLS, newECDSA(t), newECDSA(t), v)
		e.pd.key = failing{e.pd.key}
		p, s, _ := e.run(t, nil)
		if !errors.Is(p.Err, errCard) || s.Err == nil {
			t.Errorf("%x: peer: %v, server: %v", uint16(v), p.Err, s.Err)
		}
	}
}

var errCard = errors.New("card removed")

type failing struct{ crypto.Signer }

// Shows: IKE-2 (EAP-TTLS with each inner authentication, over TLS 1.2 and 1.3).
func TestTTLS(t *testing.T) {
	for _, v := range []TLSVersion{TLS12, TLS13} {
		for _, inner := range []Inner{InnerMSCHAPv2, InnerPAP, InnerEAP} {
			t.Run(fmt.Sprintf("%x %v", uint16(v), inner), func(t *testing.T) {
				e := tlsEnds(t, TypeTTLS, newECDSA(t), newECDSA(t), v)
				e.pc.Inner, e.sc.Inner = []Inner{inner}, []Inner{InnerPAP, InnerMSCHAPv2, InnerEAP}
				e.pc.Identity, e.pc.User = "anonymous@example.org", `BIGCO\alice`
				p, s, _ := e.run(t, func(_ bool, _ int, m []byte) []byte {
					if bytes.Contains(m, []byte("BIGCO")) || bytes.Contains(m, []byte("secret")) {
						t.Errorf("a name or a password outside the tunnel: %x", m)
					}
					return m
				})
				agree(t, p, s)
				if s.Identity != `BIGCO\alice` {
					t.Errorf("found identity %q", s.Identity)
				}
				e.pd = &driver{password: passwords("wrong")}
				p, s, _ = e.run(t, nil)
				if p.Err == nil || !errors.Is(s.Err, ErrPasswordWrong) || p.MSK != nil || s.MSK != nil {
					t.Errorf("wrong password: peer: %v, server: %v", p.Err, s.Err)
				}
				e.sc.Inner = []Inner{inner%3 + 1}
				p, s, _ = e.run(t, nil)
				if p.Err == nil || !errors.Is(s.Err, ErrMethod) {
					t.Errorf("inner method not taken: peer: %v, server: %v", p.Err, s.Err)
				}
			})
		}
	}
}

// Sign implements crypto.Signer.
func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errCard }
