package ike

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
)

var (
	assigned6 = netip.MustParseAddr("2001:db8:0:1:2:3:4:5")
	inside6   = netip.MustParsePrefix("2001:db8:0:1::/64")
	dns6      = netip.MustParseAddr("2001:db8:99:88:77:66:55:44")
	anchor1   = TrustAnchor{43547, 8, 1, "b6225ab2cc613e0dca7962bdc2342ea4"}
	anchor2   = TrustAnchor{31406, 8, 2, "f78cf3344f72137235098ecbbd08947c"}
)

// everything is a configuration with all that there is (RFC 8598 §3.4.2).
func everything() Configuration {
	return Configuration{
		Addresses: []netip.Addr{assigned, assigned6}, DNS: []netip.Addr{dnsServer, dns6}, Subnets: []netip.Prefix{inside, inside6},
		Domains: []Domain{{Name: "example.com", Anchors: []TrustAnchor{anchor1, anchor2}}, {Name: "city.other.test"}},
	}
}

// Shows: IKE-4. Addresses, name servers and networks of both families, internal domains with trust anchors and versions go
// over, the child SA is narrowed to both addresses, and nothing comes that was not asked for.
func TestConfigurationOfBothFamilies(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*InitiatorConfig)
		want   func(Configuration) Configuration
	}{
		"all":        {func(*InitiatorConfig) {}, func(c Configuration) Configuration { return c }},
		"no anchors": {func(i *InitiatorConfig) { i.RequestTrustAnchors = false }, func(c Configuration) Configuration { c.Domains[0].Anchors = nil; return c }},
		"no domains": {func(i *InitiatorConfig) { i.RequestTrustAnchors, i.RequestDomains = false, false }, func(c Configuration) Configuration { c.Domains = nil; return c }},
		"IPv6 alone": {func(i *InitiatorConfig) { i.RequestAddress = false }, func(c Configuration) Configuration { c.Addresses = c.Addresses[1:]; return c }},
		"IPv4 alone": {func(i *InitiatorConfig) { i.RequestAddress6 = false }, func(c Configuration) Configuration {
			c.Addresses, c.DNS, c.Subnets = c.Addresses[:1], c.DNS[:1], c.Subnets[:1]
			return c
		}},
		"without version": {func(i *InitiatorConfig) { i.Version = "" }, func(c Configuration) Configuration { c.Version = ""; return c }},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 330, func(i *InitiatorConfig, r *ResponderConfig, policy *testPolicy) {
				i.RequestAddress6, i.RequestDomains, i.RequestTrustAnchors, i.Version, r.Version = true, true, true, "client 1", "gateway 2"
				i.WantedAddress6 = assigned6
				c.change(i)
				policy.localSide = append(policy.localSide, esp.PrefixSelector(inside6))
				policy.assign = func(r Request) (Configuration, error) {
					given := everything()
					if len(r.IPv4) == 0 {
						given.Addresses = given.Addresses[1:]
					} else if len(r.IPv6) == 0 {
						given.Addresses = given.Addresses[:1]
					}
					return given, nil
				}
			})
			p.start()
			p.drive()
			p.agree(1)
			up, _ := find[Established](p.a.events)
			want := everything()
			want.Version = "gateway 2"
			want = c.want(want)
			if !reflect.DeepEqual(up.Configuration, want) {
				t.Errorf("got %+v, want %+v", up.Configuration, want)
			}
			var local []esp.Selector
			for _, a := range want.Addresses {
				local = append(local, esp.AddrSelector(a))
			}
			if got := p.a.sending().Inbound.Local; !slices.Equal(got, local) {
				t.Errorf("selectors %v, want %v", got, local)
			}
			if name == "all" && (p.policy.asked.Version != "client 1" || !slices.Equal(p.policy.asked.IPv6, []netip.Addr{assigned6})) {
				t.Errorf("asked for %+v", p.policy.asked)
			}
		})
	}
}

// Shows: IKE-4. What of a CFG_REPLY is no address, prefix, domain or trust anchor is left out, and so is a trust anchor that does
// not follow its domain (RFC 8598 §4.2).
func TestReadConfiguration(t *testing.T) {
	type attribute = message.ConfigurationAttribute
	at := func(t message.AttributeType, v []byte) attribute { return attribute{Type: t, Value: v} }
	digest := append([]byte{1, 2, 8, 2}, "ABCDEF"...)
	for name, c := range map[string]struct {
		attributes []attribute
		want       Configuration
	}{
		"empty": {nil, Configuration{}},
		"short": {[]attribute{at(message.InternalIP4Address, []byte{1, 2, 3}), at(message.InternalIP4DNS, nil), at(message.InternalIP4Subnet, make([]byte, 7)),
			at(message.InternalIP6Address, make([]byte, 16)), at(message.InternalIP6DNS, make([]byte, 4)), at(message.InternalIP6Subnet, make([]byte, 16)),
			at(message.InternalDNSDomain, nil), at(message.InternalDNSSECTA, []byte{1}), at(message.ApplicationVersion, nil)}, Configuration{}},
		"no prefixes": {[]attribute{at(message.InternalIP4Subnet, []byte{10, 0, 0, 0, 255, 0, 255, 0}), at(message.InternalIP4Subnet, []byte{10, 0, 0, 0, 0, 0, 0, 1}),
			at(message.InternalIP6Subnet, append(make([]byte, 16), 129)), at(message.InternalIP6Address, append(make([]byte, 16), 129))}, Configuration{}},
		"masks": {[]attribute{at(message.InternalIP4Subnet, make([]byte, 8)), at(message.InternalIP4Subnet, []byte{10, 1, 2, 3, 255, 255, 255, 255})},
			Configuration{Subnets: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("10.1.2.3/32")}}},
		"domains": {[]attribute{at(message.InternalDNSDomain, []byte("Example.COM.")), at(message.InternalDNSDomain, []byte(".")), at(message.InternalDNSDomain, []byte("a..b")),
			at(message.InternalDNSDomain, []byte("a b")), at(message.InternalDNSDomain, []byte("x\x00")), at(message.InternalDNSDomain, []byte(strings.Repeat("a", 64))),
			at(message.InternalDNSDomain, []byte(strings.Repeat("ab.", 90)))}, Configuration{Domains: []Domain{{Name: "example.com"}}}},
		"anchors": {[]attribute{at(message.InternalDNSSECTA, digest), at(message.InternalDNSDomain, []byte("a.test")), at(message.InternalDNSSECTA, digest),
			at(message.InternalDNSSECTA, digest[:5]), at(message.InternalDNSSECTA, []byte{1, 2, 8, 2, 'x', 'y'}), at(message.InternalDNSSECTA, digest),
			at(message.InternalIP4DHCP, nil), at(message.InternalDNSSECTA, digest), at(message.InternalDNSDomain, []byte("no name")), at(message.InternalDNSSECTA, digest)},
			Configuration{Domains: []Domain{{Name: "a.test", Anchors: []TrustAnchor{{0x0102, 8, 2, "abcdef"}, {0x0102, 8, 2, "abcdef"}}}}}},
		"version": {[]attribute{at(message.ApplicationVersion, []byte("x\x1b[2J\xff\n"+strings.Repeat("y", 300)))}, Configuration{Version: "x[2J" + strings.Repeat("y", 248)}},
	} {
		if got := readConfiguration(message.Configuration{Kind: message.CFGReply, Attributes: c.attributes}); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
	var many []attribute
	for range 5000 {
		many = append(many, at(message.InternalIP4Address, []byte{1, 2, 3, 4}), at(message.InternalIP4DNS, []byte{1, 2, 3, 4}),
			at(message.InternalDNSDomain, []byte("x.test")), at(message.InternalDNSSECTA, digest))
	}
	if got := readConfiguration(message.Configuration{Attributes: many}); len(got.Addresses) != maxAddresses || len(got.DNS) != maxListed || len(got.Domains) != maxListed {
		t.Errorf("%d addresses, %d servers, %d domains are kept of 5000", len(got.Addresses), len(got.DNS), len(got.Domains))
	}
}

func FuzzReadConfiguration(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0, 1, 0, 4, 10, 0, 0, 1, 0, 25, 0, 6, 'a', '.', 't', 'e', 's', 't', 0, 26, 0, 6, 0, 1, 8, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := (&message.Message{Payloads: []message.Payload{message.Unknown{PayloadType: message.TypeConfiguration, Body: body}}}).Append(nil)
		if err != nil {
			return
		}
		in, err := message.Parse(m)
		if err != nil {
			return
		}
		p, ok := message.Find[message.Configuration](in.Payloads)
		if !ok {
			return
		}
		c := readConfiguration(p)
		if err := c.Check(); err != nil {
			t.Errorf("what was read cannot be sent: %v", err)
		}
		readRequest(in)
		// What a reply is made of comes out again.
		r := Request{IPv4: make([]netip.Addr, maxAddresses), IPv6: make([]netip.Addr, maxAddresses), Domains: true, TrustAnchors: true}
		again := readConfiguration(reply(r, c))
		if len(c.DNS) == 0 {
			c.Domains = nil
		}
		if c.Version = ""; !reflect.DeepEqual(again, c) && len(c.DNS)+len(c.Subnets) <= maxListed {
			t.Errorf("%+v comes out as %+v", c, again)
		}
	})
}

// Shows: IKE-4. Short, empty and unasked Configuration payloads: the known failure classes.
func TestHostileConfiguration(t *testing.T) {
	raw := func(body ...byte) func([]message.Payload) []message.Payload {
		return replaced(message.Unknown{PayloadType: message.TypeConfiguration, Body: body})
	}
	for name, c := range map[string]struct {
		change func([]message.Payload) []message.Payload
		want   error
	}{
		"no octet":           {raw(), message.ErrMalformed},
		"three octets":       {raw(2, 0, 0), message.ErrMalformed},
		"header alone":       {raw(2, 0, 0, 0), ErrConfiguration},
		"half an attribute":  {raw(2, 0, 0, 0, 0, 1), message.ErrMalformed},
		"longer than it is":  {raw(2, 0, 0, 0, 0, 1, 0, 4, 10, 0, 0), message.ErrMalformed},
		"no value":           {raw(2, 0, 0, 0, 0, 1, 0, 0), ErrConfiguration},
		"another kind":       {raw(1, 0, 0, 0, 0, 1, 0, 4, 10, 0, 9, 5), ErrConfiguration},
		"an unknown kind":    {raw(77, 0, 0, 0, 0, 1, 0, 4, 10, 0, 9, 5), ErrConfiguration},
		"another family":     {raw(append([]byte{2, 0, 0, 0, 0, 8, 0, 17}, make([]byte, 17)...)...), ErrConfiguration},
		"the reserved bit":   {raw(2, 0, 0, 0, 0x80, 1, 0, 4, 10, 0, 9, 5), nil},
		"more than asked of": {raw(2, 0, 0, 0, 0, 1, 0, 4, 10, 0, 9, 5, 0, 1, 0, 4, 10, 0, 9, 6), nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, 331)
			p.lax = true
			p.start()
			for range 3 {
				p.next()
			}
			p.rewrite(&p.queue[0], c.change)
			p.next()
			if !errors.Is(p.a.m.Err(), c.want) {
				t.Errorf("%v, want %v", p.a.m.Err(), c.want)
			}
			if up, ok := find[Established](p.a.events); c.want == nil && (!ok || len(up.Configuration.Addresses) != 1) {
				t.Errorf("established with %+v", up.Configuration)
			}
		})
	}
	for name, c := range map[string]struct {
		change func([]message.Payload) []message.Payload
		dead   bool
	}{
		"short": {raw(1, 0), true}, "empty": {raw(1, 0, 0, 0), false}, "none": {without(message.TypeConfiguration), false}, "a set": {raw(3, 0, 0, 0), false},
	} {
		t.Run("request "+name, func(t *testing.T) {
			p := newPair(t, 332, func(_ *InitiatorConfig, _ *ResponderConfig, policy *testPolicy) {
				policy.assign = func(r Request) (Configuration, error) {
					if len(r.IPv4) == 0 {
						return Configuration{}, ErrConfigurationRequired
					}
					return Configuration{Addresses: []netip.Addr{assigned}}, nil
				}
			})
			p.lax = true
			p.start()
			for range 2 {
				p.next()
			}
			p.rewrite(&p.queue[0], c.change)
			p.next()
			if (p.b.m.Err() != nil) != c.dead || count[ChildInstalled](p.b.events) != 0 {
				t.Errorf("the gateway: %v, %d child SAs", p.b.m.Err(), count[ChildInstalled](p.b.events))
			}
			p.driveFor(time.Minute)
			if err := p.a.m.Err(); err == nil || !c.dead && !errors.Is(err, &NotifyError{Type: message.FailedCPRequired}) {
				t.Errorf("the client: %v", err)
			}
		})
	}
}

// Shows: IKE-4 (policy pulled and pushed). In INFORMATIONAL a CFG_REQUEST is answered by a gateway, a CFG_SET with an empty
// CFG_ACK by both ends, and a CFG_REPLY or CFG_ACK that nobody asked for changes nothing.
func TestConfigurationLater(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    message.ConfigurationType
		toA     bool
		want    string
		address bool
	}{
		{"request to the gateway", message.CFGRequest, false, "response 2: CP", true},
		{"request to the client", message.CFGRequest, true, "response 0:", false},
		{"set to the gateway", message.CFGSet, false, "response 2: CP", false},
		{"set to the client", message.CFGSet, true, "response 0: CP", false},
		{"reply to the client", message.CFGReply, true, "response 0:", false},
		{"ack to the client", message.CFGAck, true, "response 0:", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := established(t, 333)
			e := p.a
			if c.toA {
				e = p.b
			}
			if err := e.m.CheckLiveness(p.now); err != nil {
				t.Fatal(err)
			}
			p.drain()
			before := p.a.m.assigned
			p.rewrite(&p.queue[0], func([]message.Payload) []message.Payload {
				return []message.Payload{message.Configuration{Kind: c.kind, Attributes: []message.ConfigurationAttribute{{Type: message.InternalIP4Address}, {Type: message.SupportedAttributes}}}}
			})
			p.next()
			last := p.seen[len(p.seen)-1]
			if !strings.HasSuffix(last.text, c.want) {
				t.Errorf("answered with %s, want %s", last.text, c.want)
			}
			m, err := p.open(last.Payload)
			if err != nil {
				t.Fatal(err)
			}
			cp, _ := message.Find[message.Configuration](m.Payloads)
			if c.kind == message.CFGSet && (cp.Kind != message.CFGAck || len(cp.Attributes) != 0) {
				t.Errorf("CFG_SET was answered with %+v", cp)
			}
			if got := readConfiguration(cp).Addresses; c.address != slices.Equal(got, []netip.Addr{assigned}) {
				t.Errorf("assigned %v", got)
			}
			if !reflect.DeepEqual(p.a.m.assigned, before) {
				t.Error("the client's configuration has changed")
			}
			p.drive()
			p.agree(1)
		})
	}
}
