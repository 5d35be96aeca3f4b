package ike

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// rewrite opens a protected datagram under way, lets change alter its payloads and seals it again, as a peer could that
// holds the IKE SA's keys and does not keep to the rules.
func (p *pair) rewrite(f *flight, change func([]message.Payload) []message.Payload) {
	p.t.Helper()
	m, err := p.open(f.Payload)
	if err != nil {
		p.t.Fatal(err)
	}
	k := p.keys[[2]uint64{m.Header.InitiatorSPI, m.Header.ResponderSPI}]
	c := k.fromResponder
	if m.Header.FromInitiator() {
		c = k.fromInitiator
	}
	if f.Payload, err = message.AppendProtected(nil, m.Header, change(m.Payloads), c, 1<<40); err != nil {
		p.t.Fatal(err)
	}
}

// replaced puts n in the place of the payload of the same type.
func replaced(n message.Payload) func([]message.Payload) []message.Payload {
	return func(ps []message.Payload) []message.Payload {
		var out []message.Payload
		for _, p := range ps {
			if p.Type() == n.Type() {
				p = n
			}
			out = append(out, p)
		}
		return out
	}
}

func without(t message.PayloadType) func([]message.Payload) []message.Payload {
	return func(ps []message.Payload) []message.Payload {
		var out []message.Payload
		for _, p := range ps {
			if p.Type() != t {
				out = append(out, p)
			}
		}
		return out
	}
}

// Shows: IKE-10. A gateway that has the keys of IKE_SA_INIT but not the PSK, or answers what was not asked for.
func TestHostileGateway(t *testing.T) {
	any4 := message.TrafficSelector{Type: message.TSIPv4AddrRange, EndPort: 65535, Start: netip.MustParseAddr("0.0.0.0"), End: netip.MustParseAddr("255.255.255.255")}
	child := func(spi []byte, n uint8, ts ...message.Transform) message.SA {
		return message.SA{Proposals: []message.Proposal{{Number: n, Protocol: message.ProtocolESP, SPI: spi, Transforms: ts}}}
	}
	good := childSuite{encryption: suite.AESGCM256, esn: true}.transforms()
	for _, c := range []struct {
		name   string
		change func([]message.Payload) []message.Payload
		want   error
	}{
		{"wrong AUTH", replaced(message.Auth{Method: message.AuthSharedKeyMIC, Data: make([]byte, 32)}), ErrAuthentication},
		{"short AUTH", replaced(message.Auth{Method: message.AuthSharedKeyMIC}), ErrAuthentication},
		{"another method", replaced(message.Auth{Method: message.AuthDigitalSignature, Data: make([]byte, 32)}), ErrAuthentication},
		{"no AUTH", without(message.TypeAuth), ErrInvalidAnswer},
		{"no IDr", without(message.TypeIDr), ErrInvalidAnswer},
		{"another IDr", replaced(message.IDr{Identity: mustID("evil.example.com")}), ErrIdentity},
		{"no CP", without(message.TypeConfiguration), ErrConfiguration},
		{"no SA", without(message.TypeSA), ErrInvalidAnswer},
		{"no TSr", without(message.TypeTSr), ErrInvalidAnswer},
		{"wide TSr", replaced(message.TSr{Selectors: message.Selectors{any4}}), ErrInvalidAnswer},
		{"IPv6 TSr", replaced(message.TSr{Selectors: message.Selectors{{Type: message.TSIPv6AddrRange, EndPort: 65535,
			Start: netip.IPv6Unspecified(), End: netip.MustParseAddr("::1")}}}), ErrInvalidAnswer},
		{"reserved SPI", replaced(child([]byte{0, 0, 0, 255}, 1, good...)), ErrInvalidAnswer},
		{"another proposal", replaced(child([]byte{1, 2, 3, 4}, 2, good...)), ErrInvalidAnswer},
		{"two ciphers", replaced(child([]byte{1, 2, 3, 4}, 1, append(good, good[0])...)), ErrInvalidAnswer},
		{"critical payload", func(ps []message.Payload) []message.Payload {
			return append(ps, message.Unknown{PayloadType: 250, Critical: true})
		}, ErrInvalidAnswer},
		{"malformed", replaced(message.Unknown{PayloadType: message.TypeTSi, Body: []byte{1}}), message.ErrMalformed},
		{"unknown error alone", func([]message.Payload) []message.Payload {
			return []message.Payload{message.Notify{Message: 8888}}
		}, &NotifyError{Type: 8888}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 300, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
				i.RemoteSelectors = []esp.Selector{esp.PrefixSelector(inside)}
			})
			p.lax = true
			p.start()
			for range 3 {
				p.next()
			}
			if p.b.m.RemoteID().IsZero() || p.a.m.RemoteID() != (Identity{}) {
				t.Fatal("the gateway must have taken the client, and not yet the other way round")
			}
			p.rewrite(&p.queue[0], c.change)
			p.next()
			if !errors.Is(p.a.m.Err(), c.want) {
				t.Errorf("%v, want %v", p.a.m.Err(), c.want)
			}
			if count[ChildInstalled](p.a.events) != 0 {
				t.Error("a child SA was installed")
			}
			p.driveFor(time.Minute)
			if c.name != "unknown error alone" && p.b.m.Err() == nil {
				t.Errorf("the gateway was not told:\n%s", p.trace())
			}
		})
	}
}

// A nonce must be half as long as the PRF's key (RFC 7296 §2.10).
func TestShortNonce(t *testing.T) {
	for n, ok := range map[int]bool{16: false, 31: false, 32: true} {
		p := newPair(t, 301, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			i.Proposals.PRFs = []suite.PRF{suite.PRFHMACSHA512}
		})
		p.start()
		m, err := message.Parse(p.queue[0].Payload)
		if err != nil {
			t.Fatal(err)
		}
		m.Payloads = replaced(message.Nonce{Data: make([]byte, n)})(m.Payloads)
		wire, err := m.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		err = p.b.m.HandleDatagram(p.now, Datagram{Local: p.a.m.remote, Remote: p.a.m.local, Payload: wire})
		if (err == nil) != ok || !ok && !errors.Is(err, &NotifyError{Type: message.InvalidSyntax}) {
			t.Errorf("%d octets: %v", n, err)
		}
	}
}

// Two Delete payloads that cross: the responses name no SPI (RFC 7296 §1.4.1).
func TestDeletesCross(t *testing.T) {
	p := established(t, 302)
	begin(t, p, commands[2], commands[2])
	p.drive()
	p.agree(0)
	want := "A INFORMATIONAL request 2: D(ESP)\nB INFORMATIONAL request 0: D(ESP)\nB INFORMATIONAL response 2:\nA INFORMATIONAL response 0:"
	if p.trace() != want {
		t.Errorf("%s", p.trace())
	}
}

// A closed IKE SA still answers the repetition of the Delete whose answer was lost (RFC 7296 §2.1), be it an old one or the
// last.
func TestLostAnswerToDelete(t *testing.T) {
	p := established(t, 303)
	p.lose = times(map[string]int{"B INFORMATIONAL response": 2})
	if err := p.a.m.RekeyIKE(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(5 * time.Second)
	if n := strings.Count(p.trace(), "\nB INFORMATIONAL response 3:"); n != 3 {
		t.Errorf("%d answers, want 3\n%s", n, p.trace())
	}
	p.drive()
	p.agree(1)
	p.log = nil
	p.lose = times(map[string]int{"B INFORMATIONAL response": 2})
	p.a.m.Delete(p.now)
	p.drain()
	p.driveFor(5 * time.Second)
	if n := strings.Count(p.trace(), "\nB INFORMATIONAL response 0:"); n != 3 || !errors.Is(p.a.closed, ErrDeleted) {
		t.Errorf("%d answers, want 3; A %v\n%s", n, p.a.closed, p.trace())
	}
	p.drive()
	if at, ok := p.deadline(); ok {
		t.Errorf("a dead machine keeps a timer: %v", at)
	}
}
