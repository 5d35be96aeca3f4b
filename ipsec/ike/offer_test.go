package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Shows: IKE-3 (RFC 7296 §3.3: combined-mode ciphers and others in proposals of their own; hybrids first, plain ones behind)
func TestOffersKeepCiphersApart(t *testing.T) {
	for _, profile := range []string{"default", "cnsa", "compatible"} {
		words, err := ProposalsOf(profile)
		if err != nil {
			t.Fatal(err)
		}
		p := completed(t, words)
		for name, sa := range map[string]message.SA{
			"IKE": p.offerIKE(nil), "child": p.offerChild(4711, p.ChildGroups), "first child": p.offerChild(4711, nil),
		} {
			plain := false
			for i, o := range sa.Proposals {
				if int(o.Number) != i+1 {
					t.Errorf("%s, %s: number %d in place %d", profile, name, o.Number, i+1)
				}
				c, ok := understand(o)
				if !ok {
					t.Fatalf("%s, %s: we do not understand our own %+v", profile, name, o)
				}
				for _, e := range c.encryption {
					if cbc := e.ID == suite.EncryptionAESCBC; cbc != c.present[message.TransformIntegrity] {
						t.Errorf("%s, %s: proposal %d has %v with integrity %v", profile, name, i+1, e, c.integrity)
					}
				}
				hybrid := c.present[message.TransformAdditional1]
				if hybrid && plain {
					t.Errorf("%s, %s: proposal %d is a hybrid behind a plain one", profile, name, i+1)
				}
				plain = plain || !hybrid
			}
		}
	}
}

// Shows: IKE-3, IKE-6 (IKE_SA_INIT cannot be fragmented, RFC 7383: with each profile it fits the least path MTU of IPv6, and with the
// longest public value and a COOKIE that of Ethernet)
func TestInitFitsOneDatagram(t *testing.T) {
	const headers, cookie = 40 + 8 + 4, 8 + 64
	for _, c := range []struct {
		profile string
		first   []suite.Group
		mtu     int
	}{{"default", nil, 1280}, {"cnsa", nil, 1280}, {"compatible", nil, 1280}, {"compatible", []suite.Group{suite.GroupMODP4096}, 1500}} {
		words, err := ProposalsOf(c.profile)
		if err != nil {
			t.Fatal(err)
		}
		words.Groups = append(c.first, words.Groups...)
		p := newPair(t, 240, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			i.Proposals, r.Proposals = words, words
			k := testPPK("one")
			i.PPK, r.PPK = &k, true
		})
		p.start()
		p.drive()
		p.agree(1)
		for _, f := range p.seen {
			if h, err := message.ParseHeader(f.Payload); err == nil && initial(h.Exchange) && len(f.Payload) > c.mtu-headers-cookie {
				t.Errorf("%s: %s has %d octets", c.profile, f.text, len(f.Payload))
			}
		}
	}
}

// Shows: IKE-1, IKE-3 (AES-CBC with each integrity transform, in IKE and ESP, also where a combined-mode cipher was offered too)
func TestSeparateIntegrity(t *testing.T) {
	for _, e := range suite.Encryptions() {
		if e.Integrity == suite.IntegrityNone {
			continue
		}
		t.Run(e.String(), func(t *testing.T) {
			p := newPair(t, 241, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
				i.Proposals = CompatibleProposals()
				r.Proposals = Proposals{Encryption: []suite.Encryption{e}, ChildEncryption: []suite.Encryption{e}, NoAdditional: true}
			})
			p.start()
			p.drive()
			p.agree(1)
			for _, do := range commands[:2] {
				for _, o := range []*end{p.a, p.b} {
					if err := do.do(p, o); err != nil {
						t.Fatal(err)
					}
					p.drain()
					p.drive()
					p.agree(1)
				}
			}
			if s := p.a.m.current.keys.suite; s.encryption != e {
				t.Errorf("IKE SA with %v", s)
			}
			c := p.a.sending().Outbound
			if c.Encryption != e || len(c.Key) != e.KeyLen() {
				t.Errorf("child SA with %v", c)
			}
			if _, err := esp.NewInbound(c); err != nil {
				t.Error(err)
			}
		})
	}
}

// Shows: IKE-3 (RFC 9370 §2.2.1: additional key exchanges in any place, optional ones, none twice)
func TestSelectAdditional(t *testing.T) {
	ts := func(groups ...[]uint16) (out []message.Transform) {
		for i, l := range groups {
			for _, g := range l {
				out = append(out, message.NewTransform(message.TransformAdditional1+message.TransformType(i), g, 0))
			}
		}
		return out
	}
	p := completed(t, Proposals{Additional: [][]suite.Group{{suite.GroupMLKEM768, suite.GroupMLKEM1024}, {suite.GroupP384}}})
	for _, c := range []struct {
		name  string
		offer []message.Transform
		can   bool
		want  additional
		ok    bool
	}{
		{"none", nil, true, additional{}, true},
		{"one", ts([]uint16{36}), true, additional{36}, true},
		{"ours is preferred", ts([]uint16{37, 36}), true, additional{36}, true},
		{"both", ts([]uint16{37, 36}, []uint16{20}), true, additional{36, 20}, true},
		{"another order", ts([]uint16{20}, []uint16{37, 36}), true, additional{20, 36}, true},
		{"the same twice", ts([]uint16{36}, []uint16{36}), true, additional{}, false},
		{"the same twice, or not", ts([]uint16{36}, []uint16{36, 0}), true, additional{36}, true},
		{"third place", ts(nil, nil, []uint16{37}), true, additional{0, 0, 37}, true},
		{"unknown", ts([]uint16{35}), true, additional{}, false},
		{"unknown or none", ts([]uint16{35, 0}), true, additional{}, true},
		{"without IKE_INTERMEDIATE", ts([]uint16{36}), false, additional{}, false},
		{"without IKE_INTERMEDIATE, or none", ts([]uint16{36, 0}), false, additional{}, true},
	} {
		sa := message.SA{Proposals: []message.Proposal{{Number: 1, Protocol: message.ProtocolIKE, Transforms: append([]message.Transform{
			transform(message.TransformEncryption, 20, 256), transform(message.TransformPRF, 5, 0), transform(message.TransformGroup, 31, 0),
		}, c.offer...)}}}
		s, _, answer, ok := p.selectIKE(sa, suite.GroupCurve25519, 0, c.can)
		if ok != c.ok || s.additional != c.want {
			t.Errorf("%s: %v, %t, want %v, %t", c.name, s.additional, ok, c.want, c.ok)
		}
		types := map[message.TransformType]bool{}
		for _, tr := range answer.Transforms {
			types[tr.Type] = true
		}
		for _, tr := range c.offer {
			if ok && !types[tr.Type] {
				t.Errorf("%s: the answer has no %v", c.name, tr.Type)
			}
		}
	}
}

// An answer that chooses a method twice, or one of the wrong proposal, is none.
func TestAcceptAdditional(t *testing.T) {
	p := completed(t, Proposals{Additional: [][]suite.Group{{suite.GroupMLKEM768, suite.GroupP384}, {suite.GroupP384, suite.GroupMLKEM768}}})
	base := []message.Transform{transform(message.TransformEncryption, 20, 256), transform(message.TransformPRF, 5, 0), transform(message.TransformGroup, 20, 0)}
	for name, c := range map[string]struct {
		number uint8
		ts     []message.Transform
		ok     bool
	}{
		"plain":               {2, nil, true},
		"hybrid as plain":     {1, nil, false},
		"half":                {1, []message.Transform{transform(6, 36, 0)}, false},
		"the same twice":      {1, []message.Transform{transform(6, 36, 0), transform(7, 36, 0)}, false},
		"the first one again": {1, []message.Transform{transform(6, 36, 0), transform(7, 20, 0)}, false},
		"plain as hybrid":     {2, []message.Transform{transform(6, 36, 0)}, false},
		"two of a type":       {1, []message.Transform{transform(6, 36, 0), transform(6, 20, 0), transform(7, 36, 0)}, false},
		"NONE not offered":    {1, []message.Transform{transform(6, 36, 0), transform(7, 0, 0)}, false},
		"NONE beside plain":   {2, []message.Transform{transform(6, 0, 0)}, true},
	} {
		a := message.Proposal{Number: c.number, Protocol: message.ProtocolIKE, Transforms: append(base[:3:3], c.ts...)}
		if _, _, err := p.acceptIKE(message.SA{Proposals: []message.Proposal{a}}, 0); (err == nil) != c.ok || err != nil && !errors.Is(err, ErrInvalidAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzSelect chooses from any SA payload: what is chosen is one of ours, and the peer that has offered it takes the answer.
func FuzzSelect(f *testing.F) {
	p := CompatibleProposals()
	if err := p.complete(); err != nil {
		f.Fatal(err)
	}
	for _, sa := range []message.SA{p.offerIKE(nil), p.offerChild(4711, p.ChildGroups), p.offerIKE(binary.BigEndian.AppendUint64(nil, 1))} {
		b, err := message.AppendPayloads(nil, []message.Payload{sa})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(31))
	}
	f.Fuzz(func(t *testing.T, b []byte, ke uint16) {
		ps, err := message.ParsePayloads(message.TypeSA, b)
		if err != nil {
			return
		}
		sa, _ := message.Find[message.SA](ps)
		for _, size := range []int{0, 8} {
			s, offer, chosen, ok := p.selectIKE(sa, suite.Group(ke), size, true)
			if !ok {
				continue
			}
			chosen.SPI = make([]byte, size)
			if !p.takes(s) {
				t.Fatalf("%v was chosen", s)
			}
			offer.Number, chosen.Number = 1, 1
			if _, _, err := chosenFrom(message.SA{Proposals: []message.Proposal{offer}}, message.SA{Proposals: []message.Proposal{chosen}}, message.ProtocolIKE, size); err != nil {
				t.Fatalf("%+v is no answer to %+v: %v", chosen, offer, err)
			}
		}
		if s, _, _, ok := p.selectChild(sa, suite.Group(ke), p.ChildGroups); ok && (!s.encryption.Supported() || fmt.Sprint(s) == "") {
			t.Fatalf("%v was chosen", s)
		}
		for _, spi := range []int{0, 4, 8} {
			_, _, _ = chosenFrom(p.offerIKE(nil), sa, message.ProtocolIKE, spi)
		}
	})
}
