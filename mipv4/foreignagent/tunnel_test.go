package foreignagent

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// inGateway makes the agent one that is in a VPN gateway.
func inGateway(c *Config) {
	c.Address, c.Prefix, c.NoCoLocated, c.NoEncapsulatingDelivery = careOf, 0, true, true
	c.PermittedHomeAgents = []netip.Prefix{netip.PrefixFrom(internal, 32)}
}

// byTunnel is a request that has come through the VPN session with the number.
func (f *fixture) byTunnel(r *wire.RegistrationRequest, session uint64) Request {
	f.t.Helper()
	q := f.arrive(r, nil)
	q.Station, q.HomeAddress, q.Destination = Station{Session: session}, homeIn, careOf
	return q
}

func (f *fixture) internalRequest() *wire.RegistrationRequest {
	r := f.request()
	r.HomeAddress, r.HomeAgent = homeIn, internal
	return r
}

// Shows: MEC-B (an agent in a gateway finds stations by their VPN session: registration through another one moves the visitor, and
// only from there it is served)
func TestStationInTunnel(t *testing.T) {
	f := newFixture(t, inGateway)
	for _, session := range []uint64{7, 8} {
		at := Station{Session: session}
		r := f.internalRequest()
		f.relayed(f.byTunnel(r, session))
		if f.m.Table().Reverse(f.now.Boot, homeIn, at) != nil {
			t.Fatal("a station is served before the home agent has answered")
		}
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(internal, 434), f.reply(r, 1, 600, nil)); err != nil {
			t.Fatal(err)
		}
		down := f.transmits()
		if len(down) != 1 || down[0].To != ToMobileNode || down[0].Station != at || down[0].Local.Addr() != careOf || down[0].Remote.Addr() != homeIn {
			t.Fatalf("sent %+v", down)
		}
		if v := f.m.Table().Deliver(homeIn, internal); v == nil || v.Station != at || v != f.m.Table().Reverse(f.now.Boot, homeIn, at) {
			t.Fatalf("visitor %+v", v)
		}
	}
	f.advance(handoverTime)
	if f.m.Table().Reverse(f.now.Boot, homeIn, Station{Session: 7}) != nil {
		t.Error("the former session is still served")
	}
	for s, want := range map[Station]string{{Session: 7}: "session 7", {Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}: "02:00:00:00:00:07"} {
		if s.String() != want {
			t.Errorf("station %v, want %s", s, want)
		}
	}
	q := f.byTunnel(f.internalRequest(), 0)
	if err := f.m.HandleRequest(f.now, q); !errors.Is(err, ErrSource) {
		t.Errorf("a request from nowhere: %v", err)
	}
}

// Shows: MEC-B (another home address than the identity's, a co-located care-of address, a home agent that is not permitted, no
// reverse tunnel: denied by the agent)
func TestGatewayAgentDenies(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.RegistrationRequest)
		code   wire.Code
	}{
		"another home address": {func(r *wire.RegistrationRequest) { r.HomeAddress = homeOut }, wire.CodeFAProhibited},
		"another home agent":   {func(r *wire.RegistrationRequest) { r.HomeAgent = external }, wire.CodeFAProhibited},
		"co-located":           {func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagDecapsulation; r.CareOfAddress = homeIn }, wire.CodeFAInvalidCareOfAddress},
		"another care-of":      {func(r *wire.RegistrationRequest) { r.CareOfAddress = homeIn }, wire.CodeFAInvalidCareOfAddress},
		"no reverse tunnel":    {func(r *wire.RegistrationRequest) { r.Flags &^= wire.FlagReverseTunnel }, wire.CodeFAReverseTunnelMandatory},
	} {
		f := newFixture(t, inGateway)
		r := f.internalRequest()
		c.change(r)
		t.Log(name)
		f.denied(f.byTunnel(r, 7), c.code)
		if f.m.Table().Len() != 0 || f.m.pendings != 0 {
			t.Errorf("%s: something is left", name)
		}
	}
}

// Shows: MEC-B (extensions of the advertisement are passed on as they are configured)
func TestAdvertisementExtensions(t *testing.T) {
	extensions := []byte{200, 3, 'a', 'b', 'c'}
	f := newFixture(t, func(c *Config) { inGateway(c); c.Extensions, c.NAI = extensions, "agent7@corp.example" })
	for sequence := range uint16(3) {
		message := f.m.Advertisement()
		ad, err := discovery.ParseAdvertisement(message)
		if err != nil || ad.Sequence != sequence || ad.NAI != "agent7@corp.example" || !bytes.Contains(message, extensions) ||
			ad.CareOfAddresses[0] != careOf || !ad.Flags.Has(discovery.FlagForeignAgent|discovery.FlagReverseTunnel) {
			t.Errorf("%+v, %v, octets %x", ad, err, message)
		}
	}
	for _, bad := range [][]byte{{200}, {200, 2, 0}, {16, 6, 0, 0, 0, 0, 0, 0}, {19, 1, 8}} {
		c := Config{Address: visited, CareOfAddress: careOf, Extensions: bad}
		if _, err := c.check(); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "extensions") {
			t.Errorf("extensions %x: %v", bad, err)
		}
	}
}
