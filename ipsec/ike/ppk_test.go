package ike

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

func testPPK(id string) PPK { return PPK{ID: id, Key: []byte("32 octets of a post-quantum key " + id)} }

// ppkMatters asserts that both ends agree, also on whether a PPK is in the keys.
func ppkMatters(t *testing.T, p *pair, want bool) {
	t.Helper()
	p.agree(1)
	for _, e := range []*end{p.a, p.b} {
		if up, _ := find[Established](e.events); up.PPK != want {
			t.Errorf("%s: PPK %t, want %t\n%s", e.name, up.PPK, want, p.trace())
		}
	}
	for _, do := range commands[:2] {
		if err := do.do(p, p.b); err != nil {
			t.Fatal(err)
		}
		p.drain()
		p.drive()
		p.agree(1)
	}
}

// Shows: IKE-2, IKE-3 (PPK, RFC 8784 §3, Table 1, and what the initiator makes of each answer)
func TestPPK(t *testing.T) {
	one, other := testPPK("one"), testPPK("other")
	wrong := PPK{ID: "one", Key: []byte("the same name and another secret")}
	for _, c := range []struct {
		name                string
		client              *PPK
		requiredA           bool
		announced           bool
		gateway             []PPK
		requiredB           bool
		used, failA, failB  bool
		withoutPPK, offered bool // payloads that must be in the trace
	}{
		{name: "both", client: &one, announced: true, gateway: []PPK{other, one}, used: true, offered: true, withoutPPK: true},
		{name: "both require it", client: &one, requiredA: true, announced: true, gateway: []PPK{one}, requiredB: true, used: true, offered: true},
		{name: "the client has none", announced: true, gateway: []PPK{one}},
		{name: "the client has none, and must", announced: true, gateway: []PPK{one}, requiredB: true, failA: true, failB: true},
		{name: "the gateway has none", client: &one},
		{name: "the gateway has none, and must", client: &one, requiredA: true, failA: true, failB: true},
		{name: "the gateway has others", client: &one, announced: true, gateway: []PPK{other}, offered: true, withoutPPK: true},
		{name: "the gateway has others, the client requires it", client: &one, requiredA: true, announced: true, gateway: []PPK{other}, failA: true, failB: true, offered: true},
		{name: "the gateway has others and requires one", client: &one, announced: true, gateway: []PPK{other}, requiredB: true, failA: true, failB: true, offered: true, withoutPPK: true},
		{name: "other secrets", client: &one, announced: true, gateway: []PPK{wrong}, failA: true, failB: true, offered: true, withoutPPK: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 200, func(i *InitiatorConfig, r *ResponderConfig, pol *testPolicy) {
				i.PPK, i.RequirePPK, r.PPK = c.client, c.requiredA, c.announced
				pol.required = func(_, _ Identity) (Requirement, error) {
					return Requirement{Own: Proof{PSK: testPSK}, Rounds: []Acceptance{{PSK: testPSK}}, PPKs: c.gateway, RequirePPK: c.requiredB}, nil
				}
			})
			p.start()
			p.drive()
			trace := p.trace()
			if strings.Contains(trace, "N(NO_PPK_AUTH)") != c.withoutPPK || strings.Contains(trace, "request 1: IDi IDr AUTH N(PPK_IDENTITY)") != c.offered {
				t.Errorf("another course:\n%s", trace)
			}
			if !c.failA {
				ppkMatters(t, p, c.used)
				if c.client != nil && !bytes.Equal(p.a.m.initiator.PPK.Key, make([]byte, len(one.Key))) {
					t.Error("the client's copy of the PPK is not wiped")
				}
				return
			}
			if p.a.m.Err() == nil || c.failB && p.b.m.Err() == nil || len(p.a.children)+len(p.b.children) != 0 {
				t.Errorf("A %v, B %v", p.a.m.Err(), p.b.m.Err())
			}
			if c.requiredA && !c.announced && !errors.Is(p.a.m.Err(), ErrPPK) {
				t.Errorf("A %v, want ErrPPK", p.a.m.Err())
			}
			if c.requiredB && !errors.Is(p.b.m.Err(), ErrPPK) {
				t.Errorf("B %v, want ErrPPK", p.b.m.Err())
			}
		})
	}
	if !bytes.Equal(one.Key, testPPK("one").Key) {
		t.Error("the caller's key was wiped")
	}
}

// Shows: IKE-2, IKE-3 (PPK beside signatures, EAP and several rounds; the driver signs twice where the PPK is not required)
func TestPPKWithEveryProof(t *testing.T) {
	key := testPPK("one")
	scheme := schemeOf(ECDSA, crypto.SHA256)
	cert := certified(laptopID, "P-256", scheme)
	gateway := certified(gatewayID, "P-256", scheme)
	for _, c := range []struct {
		name   string
		rounds []Proof
		want   []Acceptance
		signed [2]int // of A, with the PPK required and not
	}{
		{"signature", []Proof{cert}, []Acceptance{{Certificates: true}}, [2]int{1, 2}},
		{"EAP", []Proof{{ID: laptopID, EAP: true}}, []Acceptance{{EAP: true}}, [2]int{0, 0}},
		{"signature, then EAP", []Proof{cert, {ID: userID, EAP: true}}, []Acceptance{{Certificates: true}, {EAP: true}}, [2]int{1, 2}},
	} {
		for i, required := range []bool{true, false} {
			for _, known := range []bool{true, false} {
				if required && !known {
					continue
				}
				p, d := authPair(t, 210, gateway, Acceptance{Certificates: true}, c.rounds, c.want, hybrid(mlkem),
					func(ic *InitiatorConfig, rc *ResponderConfig, pol *testPolicy) {
						k := key
						ic.PPK, ic.RequirePPK, rc.PPK = &k, required, true
						before := pol.required
						pol.required = func(local, remote Identity) (Requirement, error) {
							r, err := before(local, remote)
							r.RequirePPK, r.PPKs = required, []PPK{key}
							if !known {
								r.PPKs = []PPK{testPPK("other")}
							}
							return r, err
						}
					})
				d.late = true
				d.run()
				if p.a.m.Err() != nil {
					t.Fatalf("%s, required %t, known %t: A %v, B %v\n%s", c.name, required, known, p.a.m.Err(), p.b.m.Err(), p.trace())
				}
				ppkMatters(t, p, known)
				if n := d.asked["A ike.SignatureWanted"]; n != c.signed[i] {
					t.Errorf("%s, required %t: %d signatures, want %d", c.name, required, n, c.signed[i])
				}
			}
		}
	}
}

// Shows: IKE-3. The keys are those of the formula of RFC 8784 §3: prf(PPK, SK | 0x01) for a PRF whose output is as long as its key.
func TestPPKFormula(t *testing.T) {
	for _, f := range suite.PRFs() {
		k := &keys{suite: ikeSuite{prf: f}, d: bytes.Repeat([]byte{1}, f.Size()), pi: bytes.Repeat([]byte{2}, f.Size()), pr: bytes.Repeat([]byte{3}, f.Size())}
		ppk := testPPK("x").Key
		n := k.mix(ppk)
		for i, pair := range [][2][]byte{{k.d, n.d}, {k.pi, n.pi}, {k.pr, n.pr}} {
			if want := f.Sum(ppk, pair[0], []byte{1}); !bytes.Equal(pair[1], want) {
				t.Errorf("%v: key %d is %x, want %x", f, i, pair[1], want)
			}
		}
	}
}

// PPKs that cannot be are refused, and none is printed.
//
// Shows: IKE-10
func TestPPKConfiguration(t *testing.T) {
	base := func() InitiatorConfig {
		p := newPair(t, 1)
		c := *p.a.m.initiator
		c.Rounds, c.Accept, c.PSK = nil, Acceptance{}, testPSK
		return c
	}
	for name, change := range map[string]func(*InitiatorConfig){
		"no ID":        func(c *InitiatorConfig) { c.PPK = &PPK{Key: make([]byte, 32)} },
		"long ID":      func(c *InitiatorConfig) { c.PPK = &PPK{ID: strings.Repeat("x", 256), Key: make([]byte, 32)} },
		"short key":    func(c *InitiatorConfig) { c.PPK = &PPK{ID: "x", Key: make([]byte, 15)} },
		"required one": func(c *InitiatorConfig) { c.RequirePPK = true },
	} {
		c := base()
		change(&c)
		if _, err := NewInitiator(c, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if s := testPPK("x").String() + testPPK("x").GoString(); strings.Contains(s, "octets") {
		t.Errorf("printed as %s", s)
	}
}

// What a hostile client may say about a PPK.
//
// Shows: IKE-10
func TestHostilePPK(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty": nil, "type alone": {ppkFixed}, "another type": append([]byte{1}, "one"...), "unknown type": append([]byte{9}, "one"...),
		"longer": append([]byte{ppkFixed}, "one and more"...),
	} {
		p := newPair(t, 220, func(i *InitiatorConfig, r *ResponderConfig, pol *testPolicy) {
			k := testPPK("one")
			i.PPK, i.RequirePPK, r.PPK = &k, true, true
			pol.required = func(_, _ Identity) (Requirement, error) {
				return Requirement{Own: Proof{PSK: testPSK}, Rounds: []Acceptance{{PSK: testPSK}}, PPKs: []PPK{testPPK("one")}}, nil
			}
		})
		p.start()
		for len(p.queue) > 0 && p.a.m.current.state != saAuth {
			p.next()
		}
		f := p.queue[0]
		p.queue = nil
		in, err := p.open(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		for i, pl := range in.Payloads {
			if n, ok := pl.(message.Notify); ok && n.Message == message.PPKIdentity {
				n.Data = data
				in.Payloads[i] = n
			}
		}
		s := p.a.m.current
		if f.Payload, err = s.seal(s.header(message.IKEAuth, 1, false), in.Payloads); err != nil {
			t.Fatal(err)
		}
		_ = p.deliver(f)
		if !errors.Is(p.b.m.Err(), ErrPPK) || len(p.b.children) != 0 {
			t.Errorf("%s: %v", name, p.b.m.Err())
		}
	}
}
