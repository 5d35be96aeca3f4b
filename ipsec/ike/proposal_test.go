package ike

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

func completed(t *testing.T, p Proposals) *Proposals {
	t.Helper()
	c := Config{LocalID: mustID("x"), Proposals: p}
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	return &c.Proposals
}

func transform(t message.TransformType, id, bits uint16) message.Transform {
	return message.NewTransform(t, id, bits)
}

// What RFC 7296 §2.7, §3.3 and §3.3.6 say about single transforms and types, for an IKE SA.
func TestSelectIKE(t *testing.T) {
	encr := transform(message.TransformEncryption, 20, 256)
	prf := transform(message.TransformPRF, 5, 0)
	dh := transform(message.TransformGroup, 31, 0)
	offer := func(ts ...message.Transform) message.SA {
		return message.SA{Proposals: []message.Proposal{{Number: 1, Protocol: message.ProtocolIKE, Transforms: ts}}}
	}
	keyed := transform(message.TransformPRF, 5, 256) // a Key Length where none may be
	strange := transform(message.TransformEncryption, 20, 256)
	strange.Attributes = append(strange.Attributes, message.Attribute{Type: 77, Short: true})
	for _, c := range []struct {
		name string
		sa   message.SA
		want []message.Transform // nil: refused
	}{
		{"plain", offer(encr, prf, dh), []message.Transform{encr, prf, dh}},
		{"our preference", offer(transform(message.TransformEncryption, 28, 0), transform(message.TransformEncryption, 20, 128), encr, transform(message.TransformPRF, 7, 0), prf, dh),
			[]message.Transform{encr, prf, dh}},
		{"the group of the KE payload", offer(encr, prf, transform(message.TransformGroup, 20, 0), transform(message.TransformGroup, 31, 0)), []message.Transform{encr, prf, dh}},
		{"integrity NONE", offer(encr, prf, transform(message.TransformIntegrity, 0, 0), dh),
			[]message.Transform{encr, prf, dh, transform(message.TransformIntegrity, 0, 0)}},
		{"integrity demanded", offer(encr, prf, transform(message.TransformIntegrity, 12, 0), dh), nil},
		{"no group", offer(encr, prf), nil},
		{"group NONE", offer(encr, prf, transform(message.TransformGroup, 0, 0)), nil},
		{"no PRF", offer(encr, dh), nil},
		{"unknown type", offer(encr, prf, dh, transform(6, 35, 0)), nil},
		{"ESN", offer(encr, prf, dh, transform(message.TransformESN, 0, 0)), nil},
		{"PRF with a key length", offer(encr, keyed, dh), nil},
		{"AES without a key length", offer(transform(message.TransformEncryption, 20, 0), prf, dh), nil},
		{"AES-192", offer(transform(message.TransformEncryption, 20, 192), prf, dh), nil},
		{"unknown attribute", offer(strange, prf, dh), nil},
		{"weak", offer(transform(message.TransformEncryption, 3, 0), transform(message.TransformPRF, 1, 0), transform(message.TransformGroup, 2, 0)), nil},
		{"second proposal", message.SA{Proposals: append(offer(transform(message.TransformEncryption, 12, 256), prf, transform(message.TransformIntegrity, 12, 0), dh).Proposals,
			message.Proposal{Number: 2, Protocol: message.ProtocolIKE, Transforms: []message.Transform{encr, prf, dh}})}, []message.Transform{encr, prf, dh}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, chosen, ok := completed(t, Proposals{}).selectIKE(c.sa, suite.GroupCurve25519, 0, true)
			if ok != (c.want != nil) {
				t.Fatalf("chosen: %t %+v", ok, chosen)
			}
			if ok && !cmp.Equal(c.want, chosen.Transforms) {
				t.Error(cmp.Diff(c.want, chosen.Transforms))
			}
		})
	}
}

// The same for a child SA, with ESN and the optional group.
func TestSelectChild(t *testing.T) {
	encr := transform(message.TransformEncryption, 20, 256)
	esn, noESN := transform(message.TransformESN, 1, 0), transform(message.TransformESN, 0, 0)
	group := func(g uint16) message.Transform { return transform(message.TransformGroup, g, 0) }
	all := suite.Groups()
	for _, c := range []struct {
		name   string
		p      Proposals
		ke     suite.Group
		groups []suite.Group
		offer  []message.Transform
		want   []message.Transform
	}{
		{"ESN preferred", Proposals{}, 0, nil, []message.Transform{encr, noESN, esn}, []message.Transform{encr, esn}},
		{"no ESN", Proposals{}, 0, nil, []message.Transform{encr, noESN}, []message.Transform{encr, noESN}},
		{"ESN required", Proposals{RequireESN: true}, 0, nil, []message.Transform{encr, noESN}, nil},
		{"ESN missing", Proposals{}, 0, nil, []message.Transform{encr}, nil},
		{"group in IKE_AUTH", Proposals{}, 0, nil, []message.Transform{encr, noESN, group(31)}, nil},
		{"group or NONE in IKE_AUTH", Proposals{}, 0, nil, []message.Transform{encr, noESN, group(31), group(0)}, []message.Transform{encr, noESN, group(0)}},
		{"group of KE", Proposals{}, 19, all, []message.Transform{encr, noESN, group(31), group(19)}, []message.Transform{encr, group(19), noESN}},
		{"group or NONE, KE there", Proposals{}, 19, all, []message.Transform{encr, noESN, group(0), group(19)}, []message.Transform{encr, group(19), noESN}},
		{"group or NONE, KE of another", Proposals{}, 2, all, []message.Transform{encr, noESN, group(0), group(19)}, []message.Transform{encr, noESN, group(0)}},
		{"another group is asked for", Proposals{}, 2, all, []message.Transform{encr, noESN, group(2), group(20)}, []message.Transform{encr, group(20), noESN}},
		{"unknown group", Proposals{}, 2, all, []message.Transform{encr, noESN, group(2)}, nil},
		{"PRF", Proposals{}, 0, nil, []message.Transform{encr, noESN, transform(message.TransformPRF, 5, 0)}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			sa := message.SA{Proposals: []message.Proposal{{Number: 1, Protocol: message.ProtocolESP, SPI: []byte{1, 2, 3, 4}, Transforms: c.offer}}}
			_, _, chosen, ok := completed(t, c.p).selectChild(sa, c.ke, c.groups)
			if ok != (c.want != nil) {
				t.Fatalf("chosen: %t %+v", ok, chosen)
			}
			if ok && !cmp.Equal(c.want, chosen.Transforms) {
				t.Error(cmp.Diff(c.want, chosen.Transforms))
			}
		})
	}
}

// An answer that was not offered is no answer (RFC 7296 §3.3.6): each change of a good one is found.
func TestAcceptOnlyOffered(t *testing.T) {
	p := completed(t, Proposals{
		NoAdditional: true,
		Encryption:   []suite.Encryption{suite.AESGCM256}, PRFs: []suite.PRF{suite.PRFHMACSHA256}, Groups: []suite.Group{suite.GroupP256},
		ChildEncryption: []suite.Encryption{suite.AESGCM256},
	})
	good := message.Proposal{Number: 1, Protocol: message.ProtocolIKE, Transforms: ikeSuite{encryption: suite.AESGCM256, prf: suite.PRFHMACSHA256, group: suite.GroupP256}.transforms()}
	if _, _, err := p.acceptIKE(message.SA{Proposals: []message.Proposal{good}}, 0); err != nil {
		t.Fatal(err)
	}
	child := message.Proposal{Number: 1, Protocol: message.ProtocolESP, SPI: []byte{1, 2, 3, 4}, Transforms: childSuite{encryption: suite.AESGCM256, group: suite.GroupP256, esn: true}.transforms()}
	if _, _, err := p.acceptChild(message.SA{Proposals: []message.Proposal{child}}, p.ChildGroups); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*message.Proposal){
		"number":   func(p *message.Proposal) { p.Number = 3 },
		"protocol": func(p *message.Proposal) { p.Protocol = message.ProtocolAH },
		"SPI":      func(p *message.Proposal) { p.SPI = make([]byte, 6) },
		"key":      func(p *message.Proposal) { p.Transforms[0] = transform(message.TransformEncryption, 20, 128) },
		"missing":  func(p *message.Proposal) { p.Transforms = p.Transforms[1:] },
		"twice":    func(p *message.Proposal) { p.Transforms = append(p.Transforms, p.Transforms[0]) },
		"group": func(p *message.Proposal) {
			p.Transforms = append(p.Transforms[:1:1], transform(message.TransformGroup, 14, 0), p.Transforms[2])
		},
		"unknown": func(p *message.Proposal) { p.Transforms = append(p.Transforms, transform(9, 1, 0)) },
	} {
		i, c := good, child
		i.Transforms, c.Transforms = slices.Clone(good.Transforms), slices.Clone(child.Transforms)
		change(&i)
		change(&c)
		if _, _, err := p.acceptIKE(message.SA{Proposals: []message.Proposal{i}}, 0); !errors.Is(err, ErrInvalidAnswer) {
			t.Errorf("IKE, %s: %v", name, err)
		}
		if _, _, err := p.acceptChild(message.SA{Proposals: []message.Proposal{c}}, p.ChildGroups); !errors.Is(err, ErrInvalidAnswer) {
			t.Errorf("child, %s: %v", name, err)
		}
	}
	if _, _, err := p.acceptIKE(message.SA{Proposals: []message.Proposal{good, good}}, 0); !errors.Is(err, ErrInvalidAnswer) {
		t.Errorf("two proposals: %v", err)
	}
	without := child
	without.Transforms = childSuite{encryption: suite.AESGCM256, esn: true}.transforms()
	if _, _, err := p.acceptChild(message.SA{Proposals: []message.Proposal{without}}, p.ChildGroups); !errors.Is(err, ErrInvalidAnswer) {
		t.Error("proposal 1 accepted without its group")
	}
	without.Number = 2
	if s, _, err := p.acceptChild(message.SA{Proposals: []message.Proposal{without}}, p.ChildGroups); err != nil || s.group != 0 {
		t.Errorf("proposal 2: %v, %v", s, err)
	}
}

// Narrowing by RFC 7296 §2.9.
func TestNarrow(t *testing.T) {
	sel := func(start, end string) esp.Selector {
		return esp.Selector{EndPort: 65535, Start: netip.MustParseAddr(start), End: netip.MustParseAddr(end)}
	}
	any4, net := esp.AnySelector(), esp.PrefixSelector(netip.MustParsePrefix("198.51.100.0/24"))
	host := esp.AddrSelector(netip.MustParseAddr("198.51.100.43"))
	tcp := host
	tcp.Protocol, tcp.StartPort, tcp.EndPort = 6, 443, 443
	for _, c := range []struct {
		name                    string
		proposed, allowed, want []esp.Selector
	}{
		{"the same", []esp.Selector{net}, []esp.Selector{net}, []esp.Selector{net}},
		{"wide proposal", []esp.Selector{any4}, []esp.Selector{net}, []esp.Selector{net}},
		{"wide policy", []esp.Selector{net}, []esp.Selector{any4}, []esp.Selector{net}},
		{"overlap", []esp.Selector{sel("10.0.0.0", "10.0.0.9")}, []esp.Selector{sel("10.0.0.5", "10.0.0.20")}, []esp.Selector{sel("10.0.0.5", "10.0.0.9")}},
		{"first choice first", []esp.Selector{tcp, net}, []esp.Selector{net}, []esp.Selector{tcp, net}},
		{"contained ones once", []esp.Selector{net, host}, []esp.Selector{any4}, []esp.Selector{net}},
		{"disjoint", []esp.Selector{net}, []esp.Selector{sel("10.0.0.0", "10.0.0.9")}, nil},
		{"nothing allowed", []esp.Selector{net}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := narrow(c.proposed, c.allowed)
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
			if !covers(c.proposed, got) || !covers(c.allowed, got) {
				t.Error("the result is wider than what it was made from")
			}
		})
	}
	if covers([]esp.Selector{host}, []esp.Selector{net}) || !covers([]esp.Selector{net}, []esp.Selector{tcp, host}) {
		t.Error("covers")
	}
	// A peer's list does not grow ours without end.
	var hosts []esp.Selector
	for i := range 200 {
		hosts = append(hosts, esp.AddrSelector(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)})))
	}
	if n := len(narrow(hosts, hosts)); n != maxSelectors {
		t.Errorf("%d selectors", n)
	}
	unknown := message.Selectors{{Type: 240}, {Type: message.TSIPv4AddrRange, StartPort: 65535, Start: host.Start, End: host.End}}
	if got := readSelectors(append(unknown, wireSelectors([]esp.Selector{tcp})...)); !slices.Equal(got, []esp.Selector{tcp}) {
		t.Errorf("unknown types and OPAQUE ports: %v", got)
	}
}

func TestConfigErrors(t *testing.T) {
	good := InitiatorConfig{
		Config: Config{LocalID: mustID("a")}, PSK: []byte("x"),
		Local: netip.AddrPortFrom(clientAddr, 0), Remote: netip.AddrPortFrom(gatewayAddr, 0),
	}
	if _, err := NewInitiator(good, nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*InitiatorConfig){
		"no identity":      func(c *InitiatorConfig) { c.LocalID = Identity{} },
		"no PSK":           func(c *InitiatorConfig) { c.PSK = nil },
		"no remote":        func(c *InitiatorConfig) { c.Remote = netip.AddrPort{} },
		"no local":         func(c *InitiatorConfig) { c.Local = netip.AddrPortFrom(netip.IPv4Unspecified(), 500) },
		"unknown cipher":   func(c *InitiatorConfig) { c.Proposals.ChildEncryption = []suite.Encryption{{ID: 3}} },
		"unknown PRF":      func(c *InitiatorConfig) { c.Proposals.PRFs = []suite.PRF{1} },
		"unknown group":    func(c *InitiatorConfig) { c.Proposals.Groups = []suite.Group{2} },
		"retransmissions":  func(c *InitiatorConfig) { c.Retransmission.Tries = -1 },
		"falling interval": func(c *InitiatorConfig) { c.Retransmission.Factor = 0.5 },
	} {
		c := good
		change(&c)
		if _, err := NewInitiator(c, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewResponder(ResponderConfig{Config: good.Config}, nil); !errors.Is(err, ErrConfig) {
		t.Errorf("no policy: %v", err)
	}
}
