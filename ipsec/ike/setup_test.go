package ike

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
)

// Shows: IKE-1, IKE-4
func TestSetUp(t *testing.T) {
	p := newPair(t, 1, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.InitialContact = true })
	p.start()
	p.drive()
	p.agree(1)
	want := []string{
		"A IKE_SA_INIT request 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED)",
		"B IKE_SA_INIT response 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED)",
		"A IKE_AUTH request 1: IDi N(INITIAL_CONTACT) IDr AUTH CP SA TSi TSr",
		"B IKE_AUTH response 1: IDr AUTH CP SA TSi TSr",
	}
	if d := cmp.Diff(want, p.log); d != "" {
		t.Error(d)
	}
	for _, e := range []*end{p.a, p.b} {
		ev, ok := find[Established](e.events)
		if !ok || count[Established](e.events) != 1 {
			t.Fatalf("%s: events %+v", e.name, e.events)
		}
		if !slices.Equal(ev.Configuration.Addresses, []netip.Addr{assigned}) || !slices.Equal(ev.Configuration.DNS, []netip.Addr{dnsServer}) ||
			!slices.Equal(ev.Configuration.Subnets, []netip.Prefix{inside}) {
			t.Errorf("%s: configuration %+v", e.name, ev.Configuration)
		}
		if ev.UDPEncapsulation || ev.NAT != (NAT{}) || ev.Local.Port() != 500 {
			t.Errorf("%s: a NAT was found where there is none: %+v", e.name, ev)
		}
		if ev.InitialContact != (e == p.b) {
			t.Errorf("%s: InitialContact %t", e.name, ev.InitialContact)
		}
		if e.m.RemoteID() != p.other(e).m.localID || ev.RemoteID != e.m.RemoteID() {
			t.Errorf("%s: remote ID %v", e.name, ev.RemoteID)
		}
		if ev.Suite != "ENCR_AES_GCM_16_256/PRF_HMAC_SHA2_256/group 31 (Curve25519)" {
			t.Errorf("%s: suite %s", e.name, ev.Suite)
		}
	}
	if want := (Request{IPv4: []netip.Addr{{}}, DNS: true, Subnets: true}); !reflect.DeepEqual(p.policy.asked, want) {
		t.Errorf("the policy was asked for %+v, want %+v", p.policy.asked, want)
	}
	c := p.a.sending()
	if !slices.Equal(c.Inbound.Local, []esp.Selector{esp.AddrSelector(assigned)}) ||
		!slices.Equal(c.Inbound.Remote, []esp.Selector{esp.PrefixSelector(inside)}) {
		t.Errorf("selectors %v to %v", c.Inbound.Local, c.Inbound.Remote)
	}
	if !bytes.Equal(p.a.m.initiator.Rounds[0].PSK, make([]byte, len(testPSK))) || p.a.m.first != nil || p.b.m.first != nil {
		t.Error("the secrets of the first exchanges are still there")
	}
}

// Shows: IKE-1
func TestAlgorithms(t *testing.T) {
	prfs := suite.PRFs()
	for ei, e := range suite.CombinedModes() {
		for fi, f := range prfs {
			for gi, g := range completed(t, Proposals{}).Groups {
				if testing.Short() && (ei+fi+gi)%len(prfs) != 0 {
					continue // of each two, all pairs
				}
				t.Run(fmt.Sprintf("%v/%v/%d", e, f, uint16(g)), func(t *testing.T) {
					p := newPair(t, 2, func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
						r.Proposals = Proposals{
							Encryption: []suite.Encryption{e}, PRFs: []suite.PRF{f}, Groups: []suite.Group{g},
							ChildEncryption: []suite.Encryption{e},
						}
					})
					p.start()
					p.drive()
					p.agree(1)
					if s := p.a.m.current.keys.suite; s != (ikeSuite{encryption: e, prf: f, group: g}) {
						t.Fatalf("suite %v", s)
					}
					if c := p.a.sending().Outbound; c.Encryption != e || len(c.Key) != e.KeyLen() || !c.ESN {
						t.Fatalf("child SA %v", c)
					}
					for _, n := range []*Machine{p.a.m, p.b.m} { // both rekeyings with this suite, from both ends
						if err := n.RekeyChild(p.now, n.children[0].id); err != nil {
							t.Fatal(err)
						}
						p.drain()
						p.drive()
						if err := n.RekeyIKE(p.now); err != nil {
							t.Fatal(err)
						}
						p.drain()
						p.drive()
						p.agree(1)
					}
				})
			}
		}
	}
}

// Shows: IKE-1
func TestInvalidKE(t *testing.T) {
	p := newPair(t, 3, func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		r.Proposals.Groups = []suite.Group{suite.GroupP384, suite.GroupMODP2048}
	})
	p.start()
	first := p.queue[0]
	_ = p.deliver(first)
	p.queue = p.queue[1:]
	var n *NotifyError
	if !errors.As(p.b.m.Err(), &n) || n.Type != message.InvalidKEPayload || !n.Sent {
		t.Fatalf("responder: %v", p.b.m.Err())
	}
	p.drive()
	p.agree(1)
	if g := p.a.m.current.keys.suite.group; g != suite.GroupP384 {
		t.Errorf("group %v", g)
	}
	second, err := message.Parse(p.inits[1])
	if err != nil {
		t.Fatal(err)
	}
	one, _ := message.Parse(first.Payload)
	if d := cmp.Diff(one.Payloads[0], second.Payloads[0]); d != "" {
		t.Errorf("the retry must propose the full set again (RFC 7296 §1.2): %s", d)
	}
	if second.Header.InitiatorSPI != one.Header.InitiatorSPI || second.Header.MessageID != 0 {
		t.Errorf("header of the retry: %+v", second.Header)
	}
}

// Shows: IKE-1
func TestCookie(t *testing.T) {
	p := newPair(t, 4)
	p.start()
	first, _ := message.Parse(p.queue[0].Payload)
	cookie := []byte("a cookie")
	reply := func(data []byte) {
		t.Helper()
		h := first.Header
		h.Flags = message.FlagResponse
		wire, err := (&message.Message{Header: h, Payloads: []message.Payload{message.Notify{Message: message.Cookie, Data: data}}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p.queue = nil
		if err := p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}); err != nil {
			t.Fatal(err)
		}
		p.drain()
	}
	reply(cookie)
	second, err := message.Parse(p.queue[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	want := append([]message.Payload{message.Notify{Message: message.Cookie, Data: cookie}}, first.Payloads...)
	if d := cmp.Diff(want, second.Payloads); d != "" {
		t.Errorf("the cookie must come first and all else be unchanged (RFC 7296 §2.6): %s", d)
	}
	reply([]byte("another")) // the secret changed meanwhile
	p.drive()
	p.agree(1)

	// A forger's cookies come to an end.
	p = newPair(t, 4)
	p.start()
	for range maxCookies {
		reply(cookie)
	}
	h := first.Header
	h.Flags = message.FlagResponse
	wire, _ := (&message.Message{Header: h, Payloads: []message.Payload{message.Notify{Message: message.Cookie, Data: cookie}}}).Append(nil)
	if err := p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}); !errors.Is(err, ErrUnexpected) {
		t.Errorf("one cookie too many: %v", err)
	}
	p.drive()
	p.agree(1)
}

// Shows: IKE-6
func TestNAT(t *testing.T) {
	p := newPair(t, 5)
	p.nat = netip.MustParseAddr("203.0.113.9")
	p.start()
	p.driveFor(time.Second)
	p.agree(1)
	ea, _ := find[Established](p.a.events)
	eb, _ := find[Established](p.b.events)
	if ea.NAT != (NAT{Local: true}) || eb.NAT != (NAT{Remote: true}) || !ea.UDPEncapsulation || !eb.UDPEncapsulation {
		t.Fatalf("A %+v, B %+v", ea, eb)
	}
	if ea.Local.Port() != 4500 || ea.Remote.Port() != 4500 || eb.Local.Port() != 4500 ||
		eb.Remote != netip.AddrPortFrom(p.nat, p.natPort) {
		t.Errorf("A %v to %v, B %v to %v", ea.Local, ea.Remote, eb.Local, eb.Remote)
	}
	if c := p.b.sending(); !c.UDPEncapsulation || c.Remote != eb.Remote {
		t.Errorf("child SA of B: %+v", c.ChildInstalled)
	}
	p.log = nil
	p.driveFor(time.Minute)
	if want := []string{"A keepalive", "A keepalive", "A keepalive"}; !slices.Equal(p.log, want) {
		t.Errorf("in a minute: %v", p.log)
	}
	// The NAT forgets the mapping: the gateway follows the next authentic message, and only such a one (RFC 7296 §2.23).
	p.natPort = 40000
	forged := Datagram{Local: eb.Local, Remote: netip.MustParseAddrPort("203.0.113.66:4500"), Payload: p.forgedRequest()}
	if err := p.b.m.HandleDatagram(p.now, forged); !errors.Is(err, ErrIntegrity) {
		t.Fatalf("forged: %v", err)
	}
	if err := p.a.m.CheckLiveness(p.now); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.driveFor(time.Second)
	ev, ok := find[EndpointChanged](p.b.events)
	if u := ev.Update; !ok || u.Local() != eb.Local || u.Remote() != netip.AddrPortFrom(p.nat, 40000) || !u.Concerns(1) || u.Concerns(2) || count[EndpointChanged](p.b.events) != 2 || u.Proven() {
		t.Errorf("got %+v, want an update to the NAT's new port", ev)
	}
	if ev := p.b.events[len(p.b.events)-1].(EndpointChanged); !ev.Update.Proven() || ev.Update.Number() <= 1 {
		t.Errorf("got %+v, want a proof of the new port", ev)
	}
	if _, ok := find[Alive](p.a.events); !ok {
		t.Error("no answer to the liveness check through the new mapping")
	}
}

// forgedRequest is a request to B with the right SPIs and message ID and no key.
func (p *pair) forgedRequest() []byte {
	s := p.a.m.current
	k := suite.AESGCM256
	c, err := k.NewCipher(make([]byte, k.KeyLen()))
	if err != nil {
		p.t.Fatal(err)
	}
	wire, err := message.AppendProtected(nil, s.header(message.Informational, s.nextID, false), nil, c, 1)
	if err != nil {
		p.t.Fatal(err)
	}
	return wire
}

// Shows: IKE-6
func TestForceUDPEncapsulation(t *testing.T) {
	p := newPair(t, 6, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.ForceUDPEncapsulation = true })
	p.start()
	p.drive()
	p.agree(1)
	ea, _ := find[Established](p.a.events)
	eb, _ := find[Established](p.b.events)
	if !ea.UDPEncapsulation || !eb.UDPEncapsulation || ea.Local.Port() != 4500 || eb.Local.Port() != 4500 {
		t.Errorf("A %+v, B %+v", ea, eb)
	}
	if ea.NAT != (NAT{}) || eb.NAT != (NAT{Remote: true}) {
		t.Errorf("A %+v, B %+v: want the pretended NAT seen by B alone", ea.NAT, eb.NAT)
	}
}

// Port 4500 from the beginning needs no NAT and makes no UDP encapsulation (RFC 7296 §2.23).
func TestStartOnPort4500(t *testing.T) {
	p := newPair(t, 7, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.Local, i.Remote = netip.AddrPortFrom(clientAddr, 4500), netip.AddrPortFrom(gatewayAddr, 4500)
	})
	p.start()
	p.drive()
	p.agree(1)
	if ev, _ := find[Established](p.b.events); ev.UDPEncapsulation || ev.Local.Port() != 4500 {
		t.Errorf("%+v", ev)
	}
}

// Shows: IKE-10
func TestRefusals(t *testing.T) {
	address := func(err error) option {
		return func(_ *InitiatorConfig, _ *ResponderConfig, p *testPolicy) {
			p.assign = func(Request) (Configuration, error) { return Configuration{}, err }
		}
	}
	for _, c := range []struct {
		name string
		opt  option
		// client and gateway are what the errors are, by type or by value.
		client, gateway error
	}{
		{"wrong PSK", func(_ *InitiatorConfig, _ *ResponderConfig, p *testPolicy) { p.psk = []byte("other") },
			&NotifyError{Type: message.AuthenticationFailed}, ErrAuthentication},
		{"unknown client", func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.LocalID = mustID("eve@example.com") },
			&NotifyError{Type: message.AuthenticationFailed}, ErrAuthentication},
		{"other gateway", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.LocalID = mustID("other.example.com") },
			ErrIdentity, &NotifyError{Type: message.AuthenticationFailed}},
		{"no proposal", func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.Proposals.Encryption = []suite.Encryption{suite.AESGCM128}
			// The client takes only AES-256.
		}, &NotifyError{Type: message.NoProposalChosen}, &NotifyError{Type: message.NoProposalChosen}},
		{"no child proposal", func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.Proposals.ChildEncryption = []suite.Encryption{suite.AESGCM128}
			i.Proposals.ChildEncryption = []suite.Encryption{suite.AESGCM256}
		}, &NotifyError{Type: message.NoProposalChosen}, ErrDeletedByPeer},
		{"selectors", func(_ *InitiatorConfig, _ *ResponderConfig, p *testPolicy) { p.localSide = nil },
			&NotifyError{Type: message.TSUnacceptable}, ErrDeletedByPeer},
		{"no address left", address(errors.New("pool is empty")),
			&NotifyError{Type: message.InternalAddressFailure}, ErrDeletedByPeer},
		{"address not assigned", address(nil), ErrConfiguration, ErrDeletedByPeer},
		{"configuration required", func(i *InitiatorConfig, r *ResponderConfig, p *testPolicy) {
			i.RequestAddress, i.RequestDNS, i.RequestSubnets = false, false, false
			address(fmt.Errorf("ask first: %w", ErrConfigurationRequired))(i, r, p)
		}, &NotifyError{Type: message.FailedCPRequired}, ErrDeletedByPeer},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, 8, func(i *InitiatorConfig, r *ResponderConfig, pol *testPolicy) {
				i.Proposals.Encryption = []suite.Encryption{suite.AESGCM256}
				c.opt(i, r, pol)
			})
			p.start()
			p.driveFor(30 * time.Second)
			if !errors.Is(p.a.m.Err(), c.client) || p.a.closed == nil {
				t.Errorf("client: %v, want %v", p.a.m.Err(), c.client)
			}
			if !errors.Is(p.b.m.Err(), c.gateway) {
				t.Errorf("gateway: %v, want %v", p.b.m.Err(), c.gateway)
			}
			if len(p.a.children)+len(p.b.children) != 0 {
				t.Error("a child SA is left")
			}
			if p.a.m.Err() != nil && bytes.Contains([]byte(p.a.m.Err().Error()+p.b.m.Err().Error()), testPSK) {
				t.Error("the PSK is in an error")
			}
		})
	}
}

// A client may keep an IKE SA without a child SA.
func TestKeepChildless(t *testing.T) {
	p := newPair(t, 9, func(i *InitiatorConfig, _ *ResponderConfig, pol *testPolicy) {
		i.KeepChildless, pol.localSide = true, nil
	})
	p.start()
	p.drive()
	p.agree(0)
	ev, ok := find[ChildFailed](p.a.events)
	if !ok || !errors.Is(ev.Err, &NotifyError{Type: message.TSUnacceptable}) {
		t.Fatalf("%+v", p.a.events)
	}
	p.policy.localSide = []esp.Selector{esp.PrefixSelector(inside)}
	if err := p.a.m.CreateChild(p.now, []esp.Selector{esp.AnySelector()}, []esp.Selector{esp.AnySelector()}); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.agree(1)
}

// Shows: IKE-1. Before authentication an error may come from anybody: it must not end the attempt (RFC 7296 §2.21.1).
func TestForgedRefusal(t *testing.T) {
	forged := func(p *pair, n message.Notify) {
		t.Helper()
		h := message.Header{InitiatorSPI: p.a.m.current.spiI, Exchange: message.IKESAInit, Flags: message.FlagResponse}
		wire, err := (&message.Message{Header: h, Payloads: []message.Payload{n}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.a.m.HandleDatagram(p.now, Datagram{Local: p.a.m.local, Remote: p.a.m.remote, Payload: wire}); err == nil {
			t.Fatal("no error for a refusal")
		}
		p.drain()
	}
	group := binary.BigEndian.AppendUint16(nil, 1)
	for _, n := range []message.Notify{
		{Message: message.NoProposalChosen}, {Message: message.InvalidKEPayload, Data: group},
		{Message: message.InvalidKEPayload, Data: []byte{1}}, {Message: message.AuthenticationFailed}, {Message: 9999},
	} {
		p := newPair(t, 10)
		p.start()
		forged(p, n)
		if ev, ok := find[Refused](p.a.events); !ok || !errors.Is(ev.Err, &NotifyError{Type: n.Message}) {
			t.Errorf("events %+v", p.a.events)
		}
		p.drive() // the gateway's answer is still under way
		p.agree(1)

		p = newPair(t, 10)
		p.lose = func(flight) bool { return true }
		p.start()
		forged(p, n)
		forged(p, n)
		if count[Refused](p.a.events) != 1 {
			t.Error("the same refusal was reported twice")
		}
		p.driveFor(30 * time.Second)
		if !errors.Is(p.a.m.Err(), &NotifyError{Type: n.Message}) {
			t.Errorf("in the end: %v, want the remembered %v", p.a.m.Err(), n.Message)
		}
		if tries := p.a.m.cfg.Retransmission.RefusedTries; p.sent != tries {
			t.Errorf("%d datagrams, want %d", p.sent, tries)
		}
	}
}

// A half-open SA does not stay.
func TestHalfOpen(t *testing.T) {
	p := newPair(t, 11)
	p.lose = func(f flight) bool { return f.index > 0 }
	p.start()
	p.driveFor(31 * time.Second)
	if !errors.Is(p.b.m.Err(), ErrNoAnswer) {
		t.Errorf("gateway: %v", p.b.m.Err())
	}
	p.driveFor(3 * time.Minute)
	if !errors.Is(p.a.m.Err(), ErrNoAnswer) {
		t.Errorf("client: %v", p.a.m.Err())
	}
	if at, ok := p.deadline(); ok {
		t.Errorf("timers are left: %v", at)
	}
}

// Retransmissions are the same octets at growing intervals (RFC 7296 §2.1, §2.4).
func TestRetransmission(t *testing.T) {
	p := newPair(t, 12)
	var at []time.Duration
	var wires [][]byte
	p.lose = func(f flight) bool { at, wires = append(at, p.now.Boot), append(wires, f.Payload); return true }
	p.start()
	p.drive()
	if len(at) != 10 {
		t.Fatalf("%d transmissions, want 10", len(at))
	}
	for i := 2; i < len(at); i++ {
		if at[i]-at[i-1] < at[i-1]-at[i-2] || !bytes.Equal(wires[i], wires[0]) {
			t.Errorf("transmission %d after %v, the one before after %v, same octets %t", i, at[i]-at[i-1], at[i-1]-at[i-2], bytes.Equal(wires[i], wires[0]))
		}
	}
}
