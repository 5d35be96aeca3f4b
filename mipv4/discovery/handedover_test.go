package discovery

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/link"
)

// handed is the advertisement of a VPN gateway's agent.
func handed() Advertisement {
	return Advertisement{
		Code: CodeMobileTraffic, Lifetime: time.Hour, Sequence: 7, RegistrationLifetime: 600, Flags: FlagForeignAgent | FlagReverseTunnel,
		CareOfAddresses: []netip.Addr{netip.MustParseAddr("10.0.1.1")}, NAI: "fa@gateway.corp.example",
	}
}

// Shows: MEC-B (the advertisement that a gateway hands over is taken as far as a mobile node can be served by it)
func TestHandedOver(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Advertisement)
		want   error
		at     string
	}{
		"as it is": {at: "10.0.1.1"},
		"a router address and another care-of address": {func(a *Advertisement) {
			a.Routers = []Router{{netip.MustParseAddr("10.0.1.2"), 9}}
			a.CareOfAddresses = append(a.CareOfAddresses, netip.MustParseAddr("10.0.1.3"))
		}, nil, "10.0.1.1"},
		"without a limit": {func(a *Advertisement) { a.RegistrationLifetime = LifetimeInfinite }, nil, "10.0.1.1"},

		"a home agent":        {func(a *Advertisement) { a.Flags = FlagHomeAgent | FlagReverseTunnel }, ErrUnusable, ""},
		"busy":                {func(a *Advertisement) { a.Flags |= FlagBusy }, ErrUnusable, ""},
		"no reverse tunnel":   {func(a *Advertisement) { a.Flags = FlagForeignAgent }, ErrUnusable, ""},
		"taken back":          {func(a *Advertisement) { a.Lifetime = 0 }, ErrUnusable, ""},
		"no registration":     {func(a *Advertisement) { a.RegistrationLifetime = 0 }, ErrUnusable, ""},
		"no care-of address":  {func(a *Advertisement) { a.CareOfAddresses = nil }, ErrMalformed, ""},
		"everybody's address": {func(a *Advertisement) { a.CareOfAddresses[0] = netip.MustParseAddr("255.255.255.255") }, ErrSource, ""},
		"nobody's address":    {func(a *Advertisement) { a.CareOfAddresses[0] = netip.IPv4Unspecified() }, ErrSource, ""},
		"a group's address": {func(a *Advertisement) {
			a.CareOfAddresses = append(a.CareOfAddresses, netip.MustParseAddr("224.0.0.1"))
		}, ErrSource, ""},
		"the laptop's address": {func(a *Advertisement) { a.CareOfAddresses[0] = netip.MustParseAddr("127.0.0.1") }, ErrSource, ""},
	} {
		a := handed()
		if c.change != nil {
			c.change(&a)
		}
		m, err := a.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := HandedOver(link.Instant{Boot: time.Minute}, m)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
			continue
		}
		if err == nil && (got.Address.String() != c.at || got.NAI != a.NAI || got.RegistrationLifetime != a.RegistrationLifetime || !got.Offers(a.CareOfAddresses[0])) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if _, err := HandedOver(link.Instant{}, []byte("no advertisement at all")); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v", err)
	}
}

// FuzzHandedOver has whatever is taken be an agent that requests can be sent to.
func FuzzHandedOver(f *testing.F) {
	a := handed()
	a.Routers = []Router{{netip.MustParseAddr("10.0.1.2"), 3}}
	m, err := a.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m)
	f.Fuzz(func(t *testing.T, message []byte) {
		a, err := HandedOver(link.Instant{}, message)
		if err != nil {
			return
		}
		if !a.ForeignAgent() || a.Busy() || !a.Address.Is4() || a.Address.IsUnspecified() || a.Address.IsMulticast() || a.RegistrationLifetime == 0 {
			t.Errorf("%+v of %x", a, message)
		}
	})
}
