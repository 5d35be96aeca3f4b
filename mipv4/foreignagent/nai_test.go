package foreignagent

import (
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
)

const visitorNAI = "mn@corp.example"

// unnamed is a request of a mobile node that has a NAI and no home address.
func (f *fixture) unnamed(extensions ...wire.Extension) *wire.RegistrationRequest {
	f.t.Helper()
	nai, err := wire.NAI(visitorNAI)
	if err != nil {
		f.t.Fatal(err)
	}
	r := f.request()
	r.HomeAddress, r.Extensions = netip.IPv4Unspecified(), append(wire.Extensions{nai}, extensions...)
	return r
}

// answer has the home agent answer with what change makes of an acceptance, and returns what the mobile node is told.
func (f *fixture) answer(r *wire.RegistrationRequest, from netip.Addr, change func(*wire.RegistrationReply)) (*wire.RegistrationReply, error) {
	f.t.Helper()
	reply := r.Reply(wire.CodeAccepted, r.Lifetime)
	reply.HomeAddress, reply.HomeAgent, reply.Extensions = homeOut, from, r.Extensions[:1:1]
	if change != nil {
		change(reply)
	}
	p, err := reply.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	err = f.m.HandleReply(f.now, netip.AddrPortFrom(from, wire.Port), f.mn.AppendExtension(p, wire.ExtMobileHomeAuthentication))
	out := f.transmits()
	if len(out) == 0 {
		return nil, err
	}
	if len(out) != 1 || out[0].To != ToMobileNode || out[0].Station != laptop {
		f.t.Fatalf("sent %+v", out)
	}
	told, perr := wire.ParseRegistrationReply(out[0].Payload)
	if perr != nil {
		f.t.Fatal(perr)
	}
	return told, err
}

// A mobile node without a home address is known by its NAI until it has one, and is a visitor with the one that it gets; replies that do
// not say what they must are not passed on as acceptances.
//
// Shows: MIP-9 (NAI, dynamic home address), MIP-4
func TestVisitorWithoutHomeAddress(t *testing.T) {
	f := newFixture(t, nil)
	r := f.unnamed()
	f.relayed(f.arrive(r, nil))
	if told, err := f.answer(r, external, nil); err != nil || !told.Code.Accepted() || told.HomeAddress != homeOut {
		t.Fatalf("told %+v, %v", told, err)
	}
	if v := f.m.Table().Deliver(homeOut, external); v == nil || v.Station != laptop || f.m.visiting != 1 || len(f.m.registrations) != 1 {
		t.Fatalf("visitor %+v, %d registrations", v, len(f.m.registrations))
	}
	renewal := f.request() // with the home address, and the NAI no more
	f.relayed(f.arrive(renewal, nil))
	renewal.Extensions = f.unnamed().Extensions
	if told, err := f.answer(renewal, external, func(r *wire.RegistrationReply) { r.Extensions = nil }); err != nil || !told.Code.Accepted() || f.m.visiting != 1 {
		t.Errorf("renewal: told %+v, %v", told, err)
	}
	for want, change := range map[wire.Code]func(*wire.RegistrationReply){
		wire.CodeFAMissingHomeAgent:   func(r *wire.RegistrationReply) { r.HomeAgent = netip.IPv4Unspecified() },
		wire.CodeFAMissingHomeAddress: func(r *wire.RegistrationReply) { r.HomeAddress = netip.IPv4Unspecified() },
	} {
		f.advance(2 * denialInterval)
		r := f.unnamed()
		f.relayed(f.arrive(r, nil))
		if told, err := f.answer(r, external, change); told == nil || told.Code != want {
			t.Errorf("told %+v, want code %v; %v", told, want, err)
		}
	}
	f.advance(2 * denialInterval)
	r = f.unnamed()
	r.HomeAddress = homeOut
	f.relayed(f.arrive(r, nil))
	if told, err := f.answer(r, external, func(r *wire.RegistrationReply) { r.Extensions = nil }); told == nil || told.Code != wire.CodeFAMissingNAI {
		t.Errorf("without the NAI: told %+v, %v", told, err)
	}
	f.advance(2 * denialInterval)
	nobody := f.request()
	nobody.HomeAddress = netip.IPv4Unspecified()
	f.denied(f.arrive(nobody, nil), wire.CodeFANonzeroHomeAddressRequired)
	bound := f.arrive(f.unnamed(), nil)
	bound.HomeAddress = homeOut // a VPN session for one home address
	f.advance(2 * denialInterval)
	f.denied(bound, wire.CodeFAProhibited)
	if len(f.m.registrations) != 1 || f.m.pendings != 0 {
		t.Errorf("%d registrations, %d pending requests", len(f.m.registrations), f.m.pendings)
	}
}

// A request that leaves the home agent open goes to the one that the mobile node wishes.
//
// Shows: MIP-9 (dynamic home agent)
func TestRequestedHomeAgent(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.PermittedHomeAgents = []netip.Prefix{netip.PrefixFrom(external, 32)} })
	requested := func(a netip.Addr) wire.Extension {
		e, err := wire.DynamicHomeAgent(wire.RequestedHomeAgent, a)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	r := f.unnamed(requested(external))
	r.HomeAgent = netip.IPv4Unspecified()
	if out := f.relayed(f.arrive(r, nil)); out.Remote != netip.AddrPortFrom(external, wire.Port) {
		t.Errorf("relayed to %v", out.Remote)
	}
	if told, err := f.answer(r, external, nil); err != nil || !told.Code.Accepted() || f.m.Table().Deliver(homeOut, external) == nil {
		t.Errorf("told %+v, %v", told, err)
	}
	for want, extensions := range map[wire.Code]wire.Extensions{
		wire.CodeFANonzeroHomeAgentRequired: {},
		wire.CodeFAProhibited:               {requested(internal)},
	} {
		f.advance(2 * denialInterval)
		r := f.unnamed(extensions...)
		r.HomeAgent = netip.AddrFrom4([4]byte{255, 255, 255, 255})
		f.denied(f.arrive(r, nil), want)
	}
	f.advance(2 * denialInterval)
	group := f.unnamed(requested(netip.MustParseAddr("224.0.0.1")))
	group.HomeAgent = netip.IPv4Unspecified()
	f.denied(f.arrive(group, nil), wire.CodeFANonzeroHomeAgentRequired)
}
