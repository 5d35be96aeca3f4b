package ike

import (
	"bytes"
	"crypto/sha3"
	"hash"
	"io"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Transforms of one's own, under numbers for private use: AES-256-GCM and Curve25519 with a twist, and HMAC-SHA3-256.
const (
	privateCipher suite.EncryptionID = 1024
	privatePRF    suite.PRF          = 1025
	privateGroup  suite.Group        = 1026
)

var privateEncryption = suite.Encryption{ID: privateCipher}

// twist turns what it is given round, so that nobody else comes to the same.
func twist(p []byte) []byte {
	q := slices.Clone(p)
	slices.Reverse(q)
	return q
}

// twisted is a key pair whose secret is turned round.
type twisted struct{ *suite.KeyExchange }

func (k twisted) SharedSecret(answer []byte) ([]byte, error) {
	s, err := k.KeyExchange.SharedSecret(answer)
	return twist(s), err
}

func init() {
	gcm := suite.AESGCM256
	suite.AddEncryption(privateEncryption, suite.AddedEncryption{
		Name: "twisted cipher", KeyLen: gcm.KeyLen(), IVLen: gcm.IVLen(), ICVLen: gcm.ICVLen(), Align: gcm.Align(),
		New: func(key []byte) (suite.Cipher, error) { return gcm.NewCipher(twist(key)) },
	})
	suite.AddPRF(privatePRF, suite.AddedPRF{Name: "HMAC-SHA3-256", Hash: func() hash.Hash { return sha3.New256() }})
	suite.AddGroup(privateGroup, suite.AddedGroup{
		Name: "twisted curve", PublicLen: 32, AnswerLen: 32,
		Generate: func(rand io.Reader) (suite.KeyPair, error) {
			k, err := suite.NewKeyExchange(suite.GroupCurve25519, rand)
			return twisted{k}, err
		},
		Answer: func(rand io.Reader, peer []byte) ([]byte, []byte, error) {
			public, shared, err := suite.Answer(suite.GroupCurve25519, rand, peer)
			return public, twist(shared), err
		},
	})
}

// Shows: IKE-11 (an encryption transform, a PRF and key exchange methods of one's own, in IKE and in ESP, through rekeyings)
func TestPrivateTransforms(t *testing.T) {
	own := Proposals{
		Encryption: []suite.Encryption{privateEncryption}, PRFs: []suite.PRF{privatePRF}, Groups: []suite.Group{privateGroup},
		Additional: [][]suite.Group{mlkem}, ChildEncryption: []suite.Encryption{privateEncryption},
	}
	p := newPair(t, 250, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { i.Proposals, r.Proposals = own, own })
	p.start()
	p.drive()
	p.agree(1)
	if s := p.a.m.current.keys.suite.String(); s != "twisted cipher/HMAC-SHA3-256/group 1026 (twisted curve)+group 36 (ML-KEM-768)" {
		t.Errorf("IKE SA with %s", s)
	}
	for _, do := range commands[:2] {
		if err := do.do(p, p.b); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
		p.agree(1)
	}
	out, err := esp.NewOutbound(p.a.sending().Outbound, nil)
	if err != nil {
		t.Fatal(err)
	}
	in, err := esp.NewInbound(p.b.sending().Inbound)
	if err != nil {
		t.Fatal(err)
	}
	inner := make([]byte, 100)
	packet.IPv4(inner).Encode(packet.IPv4Fields{TTL: 64, Protocol: 254, Src: assigned, Dst: netip.MustParseAddr("10.0.1.1")}, len(inner))
	for i := range inner[20:] {
		inner[20+i] = byte(i)
	}
	plain := packet.GetSmall()
	copy(plain.Extend(len(inner)), inner)
	b := packet.One(plain)
	out.Apply(b)
	if b.Len() != 1 || bytes.Contains(b.Bufs[0].Bytes(), inner[20:]) {
		t.Fatalf("%d packets were sealed", b.Len())
	}
	if r := in.Open(b.Bufs[0]); r != packet.NotDropped || !bytes.Equal(b.Bufs[0].Bytes(), inner) {
		t.Errorf("opened with %v", r)
	}
	// Who does not name them has no part in them.
	q := newPair(t, 251, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.Proposals = own })
	q.start()
	q.drive()
	if q.a.m.Err() == nil {
		t.Error("a gateway without these transforms has taken them")
	}
}

// A number of a standard, one that is taken or something missing are errors of the program.
//
// Shows: IKE-11
func TestAddRefuses(t *testing.T) {
	hash := func() hash.Hash { return sha3.New256() }
	for name, f := range map[string]func(){
		"the number of a standard": func() { suite.AddPRF(5, suite.AddedPRF{Name: "x", Hash: hash}) },
		"one that is taken":        func() { suite.AddPRF(privatePRF, suite.AddedPRF{Name: "x", Hash: hash}) },
		"no name":                  func() { suite.AddPRF(2000, suite.AddedPRF{Hash: hash}) },
		"a group without methods":  func() { suite.AddGroup(2000, suite.AddedGroup{Name: "x", PublicLen: 1, AnswerLen: 1}) },
		"a cipher without a key":   func() { suite.AddEncryption(suite.Encryption{ID: 2000}, suite.AddedEncryption{Name: "x"}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: it was added", name)
				}
			}()
			f()
		}()
	}
}
