package ike

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// homeAddress is the client's, anAdvertisement what stands for the agent's advertisement: it is not looked into here.
var (
	homeAddress     = netip.MustParseAddr("10.0.5.7")
	anAdvertisement = []byte("an agent advertisement")
)

// withAgent has both ends support the agent, and the client ask for it with its home address.
func withAgent(i *InitiatorConfig, r *ResponderConfig, p *testPolicy) {
	i.GatewayAgent, i.UseGatewayAgent, i.WantedAddress = true, true, homeAddress
	r.GatewayAgent = func(peer Identity) GatewayAgent {
		if peer != mustID("laptop@example.com") {
			return GatewayAgent{}
		}
		return GatewayAgent{HomeAddress: homeAddress, Advertisement: anAdvertisement}
	}
	p.localSide = []esp.Selector{esp.AnySelector()}
	p.assign = func(r Request) (Configuration, error) {
		if r.HomeAddress.IsValid() {
			return Configuration{Addresses: []netip.Addr{r.HomeAddress}}, nil
		}
		return Configuration{Addresses: []netip.Addr{assigned}}, nil
	}
}

// through asserts that both ends have n child SAs, and that all of them go through the agent, or none.
func (p *pair) through(n int, agent bool) {
	p.t.Helper()
	p.agree(n)
	mobile := assigned
	if agent {
		mobile = homeAddress
	}
	for _, c := range p.a.children {
		if c.GatewayAgent != agent || !slices.Equal(c.Inbound.Local, []esp.Selector{esp.AddrSelector(mobile)}) || !slices.Equal(c.Inbound.Remote, []esp.Selector{esp.AnySelector()}) {
			p.t.Fatalf("A: agent %t, selectors %v to %v\n%s", c.GatewayAgent, c.Inbound.Local, c.Inbound.Remote, p.trace())
		}
	}
	for _, c := range p.b.children {
		if c.GatewayAgent != agent || !slices.Equal(c.Inbound.Remote, []esp.Selector{esp.AddrSelector(mobile)}) {
			p.t.Fatalf("B: agent %t, selectors %v to %v\n%s", c.GatewayAgent, c.Inbound.Local, c.Inbound.Remote, p.trace())
		}
	}
}

// Shows: MEC-B (capability by Vendor ID in IKE_SA_INIT, the advertisement in IKE_AUTH, use for a child SA from i-HoA/32 for any
// protocol, kept by rekeyings of both ends and for further child SAs)
func TestGatewayAgent(t *testing.T) {
	p := newPair(t, 1, withAgent)
	p.start()
	p.drive()
	p.through(1, true)
	want := []string{
		"A IKE_SA_INIT request 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED) V",
		"B IKE_SA_INIT response 0: SA KE Nonce N(NAT_DETECTION_SOURCE_IP) N(NAT_DETECTION_DESTINATION_IP) N(IKEV2_FRAGMENTATION_SUPPORTED) V",
		"A IKE_AUTH request 1: IDi IDr AUTH CP SA TSi TSr N(USE_GATEWAY_AGENT)",
		"B IKE_AUTH response 1: IDr AUTH CP SA TSi TSr N(USE_GATEWAY_AGENT) N(GATEWAY_AGENT_ADVERTISEMENT)",
	}
	if !slices.Equal(p.log, want) {
		t.Errorf("exchanges:\n%s", p.trace())
	}
	a, _ := find[Established](p.a.events)
	b, _ := find[Established](p.b.events)
	if !a.GatewayAgent || !b.GatewayAgent || !bytes.Equal(a.Advertisement, anAdvertisement) || b.Advertisement != nil {
		t.Errorf("A %+v, B %+v", a, b)
	}
	if !slices.Equal(a.Configuration.Addresses, []netip.Addr{homeAddress}) {
		t.Errorf("addresses %v", a.Configuration.Addresses)
	}
	for range 2 {
		for _, e := range []*end{p.a, p.b} {
			if err := e.m.RekeyChild(p.now, e.m.children[0].id); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			if err := e.m.RekeyIKE(p.now); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			p.through(1, true)
		}
	}
	for _, e := range []*end{p.a, p.b} { // both at once: the collision leaves one
		if err := e.m.RekeyChild(p.now, e.m.children[0].id); err != nil {
			t.Fatal(err)
		}
	}
	p.drain()
	p.drive()
	p.through(1, true)
	if err := p.a.m.CreateChild(p.now, []esp.Selector{esp.AddrSelector(homeAddress)}, []esp.Selector{esp.AnySelector()}); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.drive()
	p.through(2, true)
}

// Shows: MEC-B (an unaware peer in either role ignores all of it, and so does one to which the Vendor ID was not shown)
func TestGatewayAgentUnaware(t *testing.T) {
	for name, c := range map[string]struct {
		change    option
		supported bool
	}{
		"gateway": {func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { r.GatewayAgent = nil }, false},
		"client": {func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
			i.GatewayAgent, i.UseGatewayAgent = false, false
		}, false},
		"client that does not ask": {func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.UseGatewayAgent = false }, true},
	} {
		p := newPair(t, 2, withAgent, c.change)
		p.start()
		p.drive()
		p.through(1, false)
		up, _ := find[Established](p.a.events)
		if up.GatewayAgent != c.supported || bytes.Equal(up.Advertisement, anAdvertisement) != c.supported {
			t.Errorf("%s: %+v", name, up)
		}
		if strings.Contains(p.trace(), "USE_GATEWAY_AGENT") || !c.supported && strings.Contains(p.trace(), "AGENT") {
			t.Errorf("%s: %s", name, p.trace())
		}
	}
	// Numbers for private use are other makers' too: without the Vendor ID they mean nothing.
	p := newPair(t, 2, withAgent, func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) {
		i.GatewayAgent, i.UseGatewayAgent = false, false
	})
	p.start()
	for range 2 {
		p.next()
	}
	p.rewrite(&p.queue[0], func(ps []message.Payload) []message.Payload { return append(ps, useAgent) })
	p.next()
	p.rewrite(&p.queue[0], func(ps []message.Payload) []message.Payload {
		return append(ps, useAgent, message.Notify{Message: message.GatewayAgentAdvertisement, Data: anAdvertisement})
	})
	p.drive()
	p.through(1, false)
	if up, _ := find[Established](p.a.events); up.GatewayAgent || up.Advertisement != nil {
		t.Errorf("%+v", up)
	}
}

// Shows: MEC-B (an identity may claim only its configured i-HoA; a refusal leaves an ordinary child SA)
func TestGatewayAgentRefused(t *testing.T) {
	other := netip.MustParseAddr("10.0.5.8")
	for name, c := range map[string]struct {
		change     option
		advertised bool
	}{
		"another's home address": {func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.WantedAddress = other }, true},
		"an identity without one": {func(_ *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			r.GatewayAgent = func(Identity) GatewayAgent { return GatewayAgent{} }
		}, false},
		"a policy that assigns another": {func(_ *InitiatorConfig, _ *ResponderConfig, p *testPolicy) {
			p.assign = func(Request) (Configuration, error) { return Configuration{Addresses: []netip.Addr{assigned}}, nil }
		}, true},
		"too long an advertisement": {func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
			i.UseGatewayAgent = false
			r.GatewayAgent = func(Identity) GatewayAgent {
				return GatewayAgent{HomeAddress: homeAddress, Advertisement: make([]byte, maxAdvertisement+1)}
			}
		}, false},
	} {
		p := newPair(t, 3, withAgent, c.change)
		p.start()
		p.drive()
		p.through(1, false)
		if up, _ := find[Established](p.a.events); !up.GatewayAgent || (len(up.Advertisement) != 0) != c.advertised {
			t.Errorf("%s: %+v", name, up)
		}
		for _, e := range []*end{p.a, p.b} {
			if err := e.m.RekeyChild(p.now, e.m.children[0].id); err != nil {
				t.Fatal(err)
			}
			p.drain()
			p.drive()
			p.through(1, false)
		}
	}
}

// Shows: MEC-B (the home address is for child SAs through the agent alone; selectors of appendix B.5 and nothing narrower)
func TestGatewayAgentSelectors(t *testing.T) {
	tcp := esp.AnySelector()
	tcp.Protocol = 6
	for name, change := range map[string]option{
		"one protocol": func(i *InitiatorConfig, _ *ResponderConfig, _ *testPolicy) { i.RemoteSelectors = []esp.Selector{tcp} },
		"IPv6": func(_ *InitiatorConfig, _ *ResponderConfig, p *testPolicy) {
			p.localSide = []esp.Selector{esp.AnySelector6()}
		},
	} {
		p := newPair(t, 4, withAgent, change)
		p.start()
		p.drive()
		if !errors.Is(p.a.m.Err(), &NotifyError{Type: message.TSUnacceptable}) {
			t.Errorf("%s: %v", name, p.a.m.Err())
		}
	}
	// Beside a child SA through the agent the gateway makes none that is not.
	p := established(t, 4, withAgent)
	good := message.SA{Proposals: []message.Proposal{{Number: 1, Protocol: message.ProtocolESP, SPI: []byte{1, 2, 3, 4}, Transforms: childSuite{encryption: suite.AESGCM256, esn: true}.transforms()}}}
	ts := wireSelectors([]esp.Selector{esp.AnySelector()})
	out, err := p.ask(message.CreateChildSA, good, message.Nonce{Data: make([]byte, 32)}, message.TSi{Selectors: ts}, message.TSr{Selectors: ts})
	if n, ok := message.FindNotify(out, message.TSUnacceptable); !ok || n.Message != message.TSUnacceptable || err == nil {
		t.Errorf("answer %v, %v", out, err)
	}
	rekey := message.Notify{Protocol: message.ProtocolESP, Message: message.RekeySA, SPI: binary.BigEndian.AppendUint32(nil, p.a.m.children[0].in)}
	out, err = p.ask(message.CreateChildSA, rekey, good, message.Nonce{Data: make([]byte, 32)}, message.TSi{Selectors: ts}, message.TSr{Selectors: ts})
	if _, ok := message.FindNotify(out, message.TSUnacceptable); !ok || err == nil {
		t.Errorf("answer %v, %v", out, err)
	}
	// A later request for a configuration gets the same address.
	out, err = p.ask(message.Informational, message.Configuration{Kind: message.CFGRequest, Attributes: []message.ConfigurationAttribute{{Type: message.InternalIP4Address}}})
	if c, ok := message.Find[message.Configuration](out); !ok || err != nil || !slices.Equal(readConfiguration(c).Addresses, []netip.Addr{homeAddress}) {
		t.Errorf("answer %v, %v", out, err)
	}
}

// Shows: MEC-B (a gateway that agrees and does not do as it says is not believed)
func TestGatewayAgentHostile(t *testing.T) {
	for name, change := range map[string]func([]message.Payload) []message.Payload{
		"another address": replaced(message.Configuration{Kind: message.CFGReply, Attributes: []message.ConfigurationAttribute{{Type: message.InternalIP4Address, Value: assigned.AsSlice()}}}),
		"wide selectors":  replaced(message.TSi{Selectors: wireSelectors([]esp.Selector{esp.AnySelector()})}),
	} {
		p := newPair(t, 5, withAgent)
		p.lax = true
		p.start()
		for range 3 {
			p.next()
		}
		p.rewrite(&p.queue[0], change)
		p.next()
		if !errors.Is(p.a.m.Err(), ErrInvalidAnswer) || len(p.a.children) != 0 {
			t.Errorf("%s: %v", name, p.a.m.Err())
		}
	}
	// A rekeying that loses the agent is no rekeying: the old child SA stays.
	p := established(t, 5, withAgent)
	if err := p.a.m.RekeyChild(p.now, p.a.m.children[0].id); err != nil {
		t.Fatal(err)
	}
	p.drain()
	p.next()
	p.rewrite(&p.queue[0], func(ps []message.Payload) []message.Payload {
		return slices.DeleteFunc(ps, func(pl message.Payload) bool {
			n, ok := pl.(message.Notify)
			return ok && n.Message == message.UseGatewayAgent
		})
	})
	p.next()
	if _, failed := find[ChildFailed](p.a.events); !failed || len(p.a.children) != 1 {
		t.Errorf("%d child SAs\n%s", len(p.a.children), p.trace())
	}
}

// Shows: MEC-B (the agent is kept over a resumed IKE SA and over moves by MOBIKE)
func TestGatewayAgentResumed(t *testing.T) {
	l := newLedger()
	p := established(t, 6, withAgent, func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) { i.RequestTicket, r.Tickets = true, l })
	ticket := p.a.m.Suspend(p.now)
	p.drain()
	p.again(ticket, withAgent)
	p.through(1, true)
	if up, _ := find[Established](p.a.events); !up.Resumed || !bytes.Equal(up.Advertisement, anAdvertisement) {
		t.Errorf("%+v", up)
	}

	r := connected(t, 6, []netip.Addr{wired}, []netip.Addr{gatewayAddr}, withAgent)
	for _, to := range []netip.Addr{wireless, cellular, wired} {
		r.move(to)
		r.driveFor(20 * time.Second)
		r.meet(1, to, gatewayAddr)
		r.through(1, true)
	}
}

func TestGatewayAgentConfig(t *testing.T) {
	if got := md5.Sum([]byte(gatewayAgentText)); got != gatewayAgentID {
		t.Errorf("the Vendor ID is %x, want %x", gatewayAgentID, got)
	}
	for name, change := range map[string]func(*InitiatorConfig){
		"no support":      func(i *InitiatorConfig) { i.GatewayAgent = false },
		"no request":      func(i *InitiatorConfig) { i.RequestAddress = false },
		"no home address": func(i *InitiatorConfig) { i.WantedAddress = netip.Addr{} },
		"IPv6":            func(i *InitiatorConfig) { i.WantedAddress = netip.MustParseAddr("2001:db8::7") },
	} {
		i := InitiatorConfig{Config: Config{LocalID: mustID("laptop@example.com")}, Local: netip.AddrPortFrom(clientAddr, 0), Remote: netip.AddrPortFrom(gatewayAddr, 0),
			PSK: testPSK, RequestAddress: true, GatewayAgent: true, UseGatewayAgent: true, WantedAddress: homeAddress}
		change(&i)
		if _, err := NewInitiator(i, bytes.NewReader(nil)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzGatewayAgentPayloads: what is taken of a gateway's advertisement is bounded and was in a message that the Vendor ID allows.
func FuzzGatewayAgentPayloads(f *testing.F) {
	seed, err := message.AppendPayloads(nil, []message.Payload{message.VendorID{Data: gatewayAgentID[:]}, useAgent, message.Notify{Message: message.GatewayAgentAdvertisement, Data: anAdvertisement}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(message.TypeVendorID), seed, true)
	f.Add(uint8(message.TypeVendorID), seed[:len(seed)-1], false)
	f.Fuzz(func(t *testing.T, first uint8, b []byte, supported bool) {
		ps, err := message.ParsePayloads(message.PayloadType(first), b)
		if err != nil {
			return
		}
		m := &Machine{initiator: &InitiatorConfig{GatewayAgent: supported}}
		if err := (agentTask{}).response(link.Instant{}, m, nil, &message.Message{Payloads: ps}); err != nil {
			t.Fatal(err)
		}
		m.takeAdvertisement(ps)
		if m.agent.supported && !supported || !m.agent.supported && (m.agent.advertisement != nil || m.usesAgent(ps)) || len(m.agent.advertisement) > maxAdvertisement {
			t.Fatalf("%+v", m.agent)
		}
	})
}
