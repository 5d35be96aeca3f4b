package ike

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/netip"
	"testing"

	"mipvpn/ipsec/ike/message"
)

// Shows: IKE-2, IKE-10. What cannot work is said before anything is sent.
func TestAuthenticationConfiguration(t *testing.T) {
	cert := certified(laptopID, "P-256", ecdsa256)
	certificates := func(change func(*Certificates)) Proof {
		c := *cert.Certificates
		change(&c)
		return Proof{ID: laptopID, Certificates: &c}
	}
	for _, c := range []struct {
		name   string
		rounds []Proof
		accept Acceptance
		psk    []byte
		good   bool
	}{
		{name: "nothing"},
		{name: "PSK", psk: testPSK, good: true},
		{name: "PSK beside Rounds", psk: testPSK, rounds: []Proof{cert}},
		{name: "PSK beside Accept", psk: testPSK, accept: byCert},
		{name: "nothing accepted", rounds: []Proof{cert}},
		{name: "accepted, and no rounds", accept: byCert},
		{name: "certificate", rounds: []Proof{cert}, accept: byCert, good: true},
		{name: "an empty proof", rounds: []Proof{{ID: laptopID}}, accept: byCert},
		{name: "two proofs in one round", rounds: []Proof{{ID: laptopID, PSK: testPSK, EAP: true}}, accept: byCert},
		{name: "no chain", rounds: []Proof{certificates(func(c *Certificates) { c.Chain = nil })}, accept: byCert},
		{name: "no scheme", rounds: []Proof{certificates(func(c *Certificates) { c.Schemes = nil })}, accept: byCert},
		{name: "SHA-1", rounds: []Proof{certificates(func(c *Certificates) { c.Schemes = []SignatureScheme{schemeOf(RSAPKCS1, crypto.SHA1)} })}, accept: byCert},
		{name: "a bad alternative", rounds: []Proof{certificates(func(c *Certificates) { c.Alternative = &Certificates{} })}, accept: byCert},
		{name: "EAP", rounds: []Proof{userEAP}, accept: byCert, good: true},
		{name: "EAP alone", rounds: []Proof{userEAP}, accept: byEAP, good: true},
		{name: "EAP alone behind a certificate", rounds: []Proof{cert, userEAP}, accept: byEAP},
	} {
		_, err := NewInitiator(InitiatorConfig{
			Config: Config{LocalID: laptopID}, Local: netip.AddrPortFrom(clientAddr, 0), Remote: netip.AddrPortFrom(gatewayAddr, 0),
			Rounds: c.rounds, Accept: c.accept, PSK: c.psk,
		}, rand.Reader)
		if (err == nil) != c.good || err != nil && !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Shows: IKE-2, IKE-10. A policy that says nothing usable refuses the peer, and a round that the gateway cannot do ends the attempt
// before anything of it is sent.
func TestUnusableRequirements(t *testing.T) {
	f := flowNamed(t, "certificates")
	for name, r := range map[string]Requirement{
		"nothing":                {},
		"no proof of its own":    {Rounds: []Acceptance{byCert}},
		"no rounds":              {Own: f.own},
		"an empty round":         {Own: f.own, Rounds: []Acceptance{{}}},
		"two proofs of its own":  {Own: Proof{PSK: testPSK, Certificates: f.own.Certificates}, Rounds: []Acceptance{byCert}},
		"a chain without scheme": {Own: Proof{Certificates: &Certificates{Chain: [][]byte{{1}}}}, Rounds: []Acceptance{byCert}},
		"only EAP alone":         {Own: Proof{EAP: true}, Rounds: []Acceptance{byCert}},
	} {
		p, d := f.pair(t, func(_ *InitiatorConfig, _ *ResponderConfig, pol *testPolicy) {
			pol.required = func(Identity, Identity) (Requirement, error) { return r, nil }
		})
		d.run()
		if !errors.Is(p.a.m.Err(), &NotifyError{Type: message.AuthenticationFailed}) || !errors.Is(p.b.m.Err(), ErrAuthentication) {
			t.Errorf("%s: A %v, B %v", name, p.a.m.Err(), p.b.m.Err())
		}
	}

	f = flowNamed(t, "two certificates of the client")
	p, d := f.pair(t, func(_ *InitiatorConfig, rc *ResponderConfig, _ *testPolicy) { rc.Multiple = false })
	d.run()
	if !errors.Is(p.a.m.Err(), ErrRounds) || len(d.asked) != 0 {
		t.Errorf("a gateway without RFC 4739: %v, asked %v", p.a.m.Err(), d.asked)
	}

	f = flowNamed(t, "certificates")
	f.rounds = []Proof{certified(laptopID, "P-256", SignatureScheme{message.AuthECDSA256, ECDSA, crypto.SHA256})}
	p, d = f.pair(t)
	d.run()
	if !errors.Is(p.a.m.Err(), ErrSignatureScheme) || len(d.asked) != 0 {
		t.Errorf("a key with RFC 4754 alone, to a gateway with RFC 7427: %v, asked %v", p.a.m.Err(), d.asked)
	}
}

// Shows: IKE-2, IKE-10. Who has not got the key of a certificate does not make the gateway's driver look it up.
func TestPossessionBeforeTrust(t *testing.T) {
	key := testKeys()["P-256"]
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	f := flowNamed(t, "certificates")
	f.rounds = []Proof{{ID: laptopID, Certificates: &Certificates{Chain: [][]byte{der}, Schemes: []SignatureScheme{ecdsa256}}}}
	for _, thief := range []bool{false, true} {
		p, d := f.pair(t)
		d.sign = func(end string, w SignatureWanted) ([]byte, error) {
			signer := key
			if end == "A" && thief {
				other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
				if err != nil {
					return nil, err
				}
				signer = other
			}
			return signWith(t, signer, w.Scheme, w.Octets), nil
		}
		d.trust = func(string, TrustWanted) (crypto.PublicKey, error) { return key.Public(), nil }
		d.run()
		if !thief {
			p.agree(1)
		}
		if n := d.asked["B ike.TrustWanted"]; thief && (n != 0 || !errors.Is(p.b.m.Err(), ErrAuthentication)) || !thief && n != 1 {
			t.Errorf("thief %t: the driver was asked %d times, %v", thief, n, p.b.m.Err())
		}
	}
}
