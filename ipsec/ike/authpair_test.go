package ike

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Identities of the tests of authentication.
var (
	laptopID  = mustID("laptop@example.com")
	userID    = mustID("alice@example.com")
	gatewayID = mustID("vpn.example.com")
)

// testKeys are private keys by name, made once.
var testKeys = sync.OnceValue(func() map[string]crypto.Signer {
	keys := map[string]crypto.Signer{}
	for _, bits := range []int{2048, 3072} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		keys[fmt.Sprintf("RSA %d", bits)] = k
	}
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			panic(err)
		}
		keys[c.Params().Name] = k
	}
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	keys["Ed25519"] = k
	return keys
})

// signWith makes a signature as a driver does.
func signWith(t testing.TB, k crypto.Signer, s SignatureScheme, octets []byte) []byte {
	t.Helper()
	digest, opts := octets, crypto.SignerOpts(s.Hash)
	if s.Hash != 0 {
		h := s.Hash.New()
		h.Write(octets)
		digest = h.Sum(nil)
	}
	if s.Algorithm == RSAPSS {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.Hash}
	}
	sig, err := k.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// schemeOf is a scheme of RFC 7427.
func schemeOf(a SignatureAlgorithm, h crypto.Hash) SignatureScheme {
	return SignatureScheme{Method: message.AuthDigitalSignature, Algorithm: a, Hash: h}
}

// certified is a proof by the key of this name. The certificate is the name: the machine does not look into it.
func certified(id Identity, key string, schemes ...SignatureScheme) Proof {
	return Proof{ID: id, Certificates: &Certificates{Chain: [][]byte{[]byte(key), []byte("the issuer of " + key)}, Schemes: schemes}}
}

// method is an EAP method: a number of requests, each answered by a response, and a key.
type method struct {
	requests int
	msk      []byte
	id       Identity // authenticated, the zero Identity for IDi
	// of one conversation
	asked int
	// spoil changes what the end with this name answers; n counts its answers from 0.
	spoil func(name string, n int, a EAPAnswer) EAPAnswer
	said  map[string]int
}

func eap(code, id byte, text string) []byte {
	b := append([]byte{code, id, 0, 0}, text...)
	b[2], b[3] = byte(len(b)>>8), byte(len(b))
	return b
}

// answer plays both ends.
func (x *method) answer(name string, e EAPReceived) EAPAnswer {
	var a EAPAnswer
	switch {
	case name == "A" && e.Message[0] == eapRequest:
		a.Message = eap(eapResponse, e.Message[1], "pong")
	case name == "A" && e.Message[0] == eapSuccess:
		a.Done, a.MSK = true, x.msk
	case name == "A":
		a.Err = errors.New("the method was told to fail")
	case x.asked == x.requests:
		a.Message, a.Done, a.MSK, a.ID = eap(eapSuccess, byte(x.asked), ""), true, x.msk, x.id
		x.asked = 0
	default:
		x.asked++
		a.Message = eap(eapRequest, byte(x.asked), "ping")
	}
	if x.spoil != nil {
		a = x.spoil(name, x.said[name], a)
	}
	x.said[name]++
	return a
}

// drivers answer what both machines ask.
type drivers struct {
	p      *pair
	method *method
	// late keeps answers back, to be given one by one.
	late    bool
	pending []func()
	// trust, when set, replaces the answer to TrustWanted; sign that to SignatureWanted.
	trust func(name string, w TrustWanted) (crypto.PublicKey, error)
	sign  func(name string, w SignatureWanted) ([]byte, error)
	asked map[string]int
}

// authPair is a pair of ends that authenticate by these rounds; own is the gateway's proof.
func authPair(t *testing.T, seed uint64, own Proof, accept Acceptance, rounds []Proof, required []Acceptance, opts ...option) (*pair, *drivers) {
	t.Helper()
	configure := func(ic *InitiatorConfig, rc *ResponderConfig, pol *testPolicy) {
		onlyGroup(suite.GroupCurve25519)(ic, rc, pol)
		ic.PSK, ic.Rounds, ic.Accept = nil, rounds, accept
		rc.Accept, rc.Multiple = Acceptance{Certificates: true, Authorities: [][20]byte{{1}, {2}}}, len(required) > 1
		rc.HalfOpen = 10 * time.Minute
		pol.required = func(local, remote Identity) (Requirement, error) {
			if !local.IsZero() && local != gatewayID {
				return Requirement{}, fmt.Errorf("this is not %v", local)
			}
			return Requirement{Own: own, Rounds: required}, nil
		}
	}
	p := newPair(t, seed, append([]option{configure}, opts...)...)
	d := &drivers{p: p, asked: map[string]int{}, method: &method{requests: 3, msk: bytes.Repeat([]byte{7}, 64), said: map[string]int{}}}
	p.answer = d.answer
	return p, d
}

func (d *drivers) answer(e *end, ev Event) {
	var give func() error
	switch ev := ev.(type) {
	case SignatureWanted:
		give = func() error {
			if d.sign != nil {
				sig, err := d.sign(e.name, ev)
				return e.m.Signed(d.p.now, sig, err)
			}
			return e.m.Signed(d.p.now, signWith(d.p.t, testKeys()[string(ev.Certificates.Chain[0])], ev.Scheme, ev.Octets), nil)
		}
	case TrustWanted:
		give = func() error {
			if d.trust != nil {
				key, err := d.trust(e.name, ev)
				return e.m.Trusted(d.p.now, key, err)
			}
			if len(ev.Chain) == 0 || testKeys()[string(ev.Chain[0])] == nil {
				return e.m.Trusted(d.p.now, nil, errors.New("nobody knows this certificate"))
			}
			return e.m.Trusted(d.p.now, testKeys()[string(ev.Chain[0])].Public(), nil)
		}
	case EAPReceived:
		give = func() error { return e.m.AnswerEAP(d.p.now, d.method.answer(e.name, ev)) }
	default:
		return
	}
	d.asked[fmt.Sprintf("%s %T", e.name, ev)]++
	if d.late {
		d.pending = append(d.pending, func() { _ = give(); d.p.drain() })
		return
	}
	_ = give() // why an attempt has ended is in Err
}

// drive runs until nothing more happens; late answers come three seconds after the question.
func (d *drivers) drive() {
	d.p.t.Helper()
	for quiet := 0; quiet < 60; quiet++ {
		if len(d.pending) == 0 {
			d.p.driveFor(time.Second)
			continue
		}
		quiet = 0
		d.p.driveFor(3 * time.Second)
		give := d.pending[0]
		d.pending = d.pending[1:]
		give()
	}
}

// run sets the IKE SA up.
func (d *drivers) run() *pair {
	d.p.t.Helper()
	d.p.start()
	d.drive()
	return d.p
}
