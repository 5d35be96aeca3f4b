package foreignagent

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	visited   = netip.MustParseAddr("172.16.5.1")
	careOf    = netip.MustParseAddr("192.0.2.40")
	internal  = netip.MustParseAddr("10.0.1.10")
	external  = netip.MustParseAddr("192.0.2.20")
	homeIn    = netip.MustParseAddr("10.0.8.100")
	homeOut   = netip.MustParseAddr("198.51.100.100")
	laptop    = Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}
	neighbour = Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 8}}
)

func association(t testing.TB, spi uint32) *auth.SecurityAssociation {
	t.Helper()
	a, err := auth.New(auth.Parameters{SPI: spi, Key: bytes.Repeat([]byte{byte(spi)}, 16)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// fixture is a foreign agent with a mobile node and its home agents beside it.
type fixture struct {
	t   testing.TB
	m   *Machine
	now link.Instant
	mn  *auth.SecurityAssociation // mobile node and home agent
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, mn: association(t, 1000)}
	f.now = link.Instant{Boot: time.Hour, Wall: time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)}
	cfg := Config{Address: visited, Prefix: 24, CareOfAddress: careOf, Interval: -1}
	if change != nil {
		change(&cfg)
	}
	var err error
	if f.m, err = New(cfg, f.now, bytes.NewReader(make([]byte, 1000))); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) advance(d time.Duration) { f.now = f.now.Add(d) }

func (f *fixture) request() *wire.RegistrationRequest {
	f.advance(20 * time.Millisecond)
	return &wire.RegistrationRequest{
		Flags: wire.FlagReverseTunnel, Lifetime: 600,
		HomeAddress: homeOut, HomeAgent: external, CareOfAddress: careOf,
		Identification: wire.IdentificationAt(f.now.Wall),
	}
}

// arrive puts a request into the form in which it arrives, signed by the mobile node; tail appends behind that.
func (f *fixture) arrive(r *wire.RegistrationRequest, tail func([]byte) []byte) Request {
	f.t.Helper()
	p, err := r.Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	p = f.mn.AppendExtension(p, wire.ExtMobileHomeAuthentication)
	if tail != nil {
		p = tail(p)
	}
	return Request{Station: laptop, Source: netip.AddrPortFrom(r.HomeAddress, 5000), Destination: visited, TTL: 255, Payload: p}
}

func (f *fixture) transmits() []Transmit {
	var out []Transmit
	for x, ok := f.m.PollTransmit(); ok; x, ok = f.m.PollTransmit() {
		out = append(out, x)
	}
	return out
}

func (f *fixture) events() []Event {
	var out []Event
	for x, ok := f.m.PollEvent(); ok; x, ok = f.m.PollEvent() {
		out = append(out, x)
	}
	return out
}

// relayed hands the request over and returns what goes to the home agent.
func (f *fixture) relayed(q Request) Transmit {
	f.t.Helper()
	if err := f.m.HandleRequest(f.now, q); err != nil {
		f.t.Fatal(err)
	}
	out := f.transmits()
	if len(out) != 1 || out[0].To != ToHomeAgent {
		f.t.Fatalf("sent %+v, want one message to the home agent", out)
	}
	return out[0]
}

// denied hands the request over and wants the denial with the code sent to the mobile node.
func (f *fixture) denied(q Request, want wire.Code) *wire.RegistrationReply {
	f.t.Helper()
	var d *Denied
	if err := f.m.HandleRequest(f.now, q); !errors.As(err, &d) || d.Code != want || d.Suppressed {
		f.t.Fatalf("error %v, want code %v", err, want)
	}
	out := f.transmits()
	if len(out) != 1 || out[0].To != ToMobileNode || out[0].Station != q.Station {
		f.t.Fatalf("sent %+v, want one denial to the mobile node", out)
	}
	reply, err := wire.ParseRegistrationReply(out[0].Payload)
	if err != nil || reply.Code != want {
		f.t.Fatalf("%+v, %v; want code %v", reply, err, want)
	}
	return reply
}

// reply returns the home agent's reply to the request.
func (f *fixture) reply(r *wire.RegistrationRequest, code wire.Code, lifetime uint16, tail func([]byte) []byte) []byte {
	f.t.Helper()
	p, err := r.Reply(code, lifetime).Append(nil)
	if err != nil {
		f.t.Fatal(err)
	}
	p = f.mn.AppendExtension(p, wire.ExtMobileHomeAuthentication)
	if tail != nil {
		p = tail(p)
	}
	return p
}

// register takes a request through to its acceptance.
func (f *fixture) register(r *wire.RegistrationRequest, tail func([]byte) []byte) {
	f.t.Helper()
	f.relayed(f.arrive(r, tail))
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(r.HomeAgent, 434), f.reply(r, 1, r.Lifetime, nil)); err != nil {
		f.t.Fatal(err)
	}
	f.transmits()
}

// Shows: AGT-4 (relay both ways, nothing changed up to the Mobile-Home authentication, addresses of RFC 5944 §3.7.2).
func TestRelay(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	delivery := wire.EncapsulatingDelivery()
	q := f.arrive(r, func(b []byte) []byte { return append(b, uint8(delivery.Type), 0) })
	up := f.relayed(q)
	if up.Remote != netip.AddrPortFrom(external, 434) {
		t.Errorf("relayed to %v", up.Remote)
	}
	if want := q.Payload[:len(q.Payload)-2]; !bytes.Equal(up.Payload, want) {
		t.Errorf("relayed\n%x, want\n%x: the delivery style is for the foreign agent alone (RFC 3024 §3.3)", up.Payload, want)
	}
	if f.m.Table().Len() != 0 {
		t.Error("a visitor before the home agent has answered")
	}
	message := f.reply(r, 1, 300, nil)
	extra := append(append([]byte(nil), message...), 200, 1, 9) // what is behind the authentication is taken off
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), extra); err != nil {
		t.Fatal(err)
	}
	down := f.transmits()
	if len(down) != 1 {
		t.Fatalf("sent %+v", down)
	}
	want := Transmit{
		To: ToMobileNode, Station: laptop, Local: netip.AddrPortFrom(visited, 434),
		Remote: netip.AddrPortFrom(homeOut, 5000), Payload: message,
	}
	if d := down[0]; d.To != want.To || d.Station != want.Station || d.Local != want.Local || d.Remote != want.Remote || !bytes.Equal(d.Payload, want.Payload) {
		t.Errorf("relayed\n%+v, want\n%+v", d, want)
	}
	v := f.m.Table().Deliver(homeOut, external)
	if v == nil || v.Station != laptop || !v.Encapsulating || v != f.m.Table().Reverse(f.now.Boot, homeOut, laptop) {
		t.Fatalf("visitor %+v", v)
	}
	if f.m.Table().Reverse(f.now.Boot, homeOut, neighbour) != nil || f.m.Table().Deliver(homeOut, internal) != nil {
		t.Error("another station or another home agent uses the visitor's tunnel")
	}
	if e := f.events(); len(e) != 1 || e[0].Kind != Arrived || e[0].Lifetime != 300 {
		t.Errorf("events %+v", e)
	}
}

// Shows: DET-15, AGT-4 (two registrations of one mobile node at once, even of one home address).
func TestTwoRegistrations(t *testing.T) {
	for _, home := range []netip.Addr{homeIn, homeOut} {
		f := newFixture(t, nil)
		a, b := f.request(), f.request()
		a.HomeAddress, a.HomeAgent = home, internal
		b.HomeAddress, b.HomeAgent = homeOut, external
		b.Identification = a.Identification // the worst case
		f.relayed(f.arrive(a, nil))
		f.relayed(f.arrive(b, nil))
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(b, 1, 600, nil)); err != nil {
			t.Fatal(err)
		}
		f.transmits()
		if f.m.Table().Deliver(homeOut, external) == nil || f.m.Table().Deliver(home, internal) != nil {
			t.Fatal("the reply of one home agent counted for the other's registration")
		}
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(internal, 434), f.reply(a, 1, 600, nil)); err != nil {
			t.Fatal(err)
		}
		if f.m.Table().Deliver(home, internal) == nil || f.m.Table().Deliver(homeOut, external) == nil || f.m.Table().Len() != 2 {
			t.Fatal("one registration displaced the other")
		}
		if v := f.m.Table().Reverse(f.now.Boot, home, laptop); v == nil || v.HomeAgent != internal {
			t.Errorf("packets of %v go to %+v", home, v)
		}
	}
}

// Shows: AGT-4 (codes 65 to 79, 96 and 194, each for its reason).
func TestDenials(t *testing.T) {
	for _, c := range []struct {
		name   string
		config func(*Config)
		change func(*wire.RegistrationRequest)
		arrive func(*Request)
		tail   []byte
		want   wire.Code
	}{
		{"home agent not permitted", func(c *Config) { c.PermittedHomeAgents = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, nil, nil, nil, wire.CodeFAProhibited},
		{"lifetime", func(c *Config) { c.MaxLifetime = time.Minute }, nil, nil, nil, wire.CodeRequestedLifetimeTooLong},
		{"reserved bit", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagReservedX }, nil, nil, wire.CodeFAPoorlyFormedRequest},
		{"delivery style without T", nil, func(r *wire.RegistrationRequest) { r.Flags = 0 }, nil, []byte{130, 0}, wire.CodeFAPoorlyFormedRequest},
		{"group as home address", nil, func(r *wire.RegistrationRequest) { r.HomeAddress = netip.MustParseAddr("224.0.0.5") }, nil, nil, wire.CodeFAPoorlyFormedRequest},
		{"no authentication", nil, nil, func(q *Request) { q.Payload = q.Payload[:wire.RequestLen] }, nil, wire.CodeFAPoorlyFormedRequest},
		{"minimal", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagMinimal }, nil, nil, wire.CodeFAEncapsulationUnavailable},
		{"gre", nil, func(r *wire.RegistrationRequest) { r.Flags |= wire.FlagGRE }, nil, nil, wire.CodeFAEncapsulationUnavailable},
		{"no T", nil, func(r *wire.RegistrationRequest) { r.Flags = 0 }, nil, nil, wire.CodeFAReverseTunnelMandatory},
		{"ttl", nil, nil, func(q *Request) { q.TTL = 254 }, nil, wire.CodeFATooDistant},
		{"care-of address", nil, func(r *wire.RegistrationRequest) { r.CareOfAddress = external }, nil, nil, wire.CodeFAInvalidCareOfAddress},
		{"delivery style", func(c *Config) { c.NoEncapsulatingDelivery = true }, nil, nil, []byte{130, 0}, wire.CodeFADeliveryStyle},
		{"no home address", nil, func(r *wire.RegistrationRequest) { r.HomeAddress = netip.IPv4Unspecified() }, nil, nil, wire.CodeFANonzeroHomeAddressRequired},
		{"home agent is this agent", nil, func(r *wire.RegistrationRequest) { r.HomeAgent = careOf }, nil, nil, wire.CodeInvalidHomeAgentAddress},
		{"any home agent", nil, func(r *wire.RegistrationRequest) { r.HomeAgent = netip.MustParseAddr("255.255.255.255") }, nil, nil, wire.CodeFANonzeroHomeAgentRequired},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.config)
			r := f.request()
			if c.change != nil {
				c.change(r)
			}
			q := f.arrive(r, func(b []byte) []byte { return append(b, c.tail...) })
			if c.arrive != nil {
				c.arrive(&q)
			}
			reply := f.denied(q, c.want)
			if reply.HomeAddress != r.HomeAddress || reply.HomeAgent != r.HomeAgent || reply.Identification != r.Identification {
				t.Errorf("reply %+v does not copy the request's fields", reply)
			}
			if want := uint16(60); c.want == wire.CodeRequestedLifetimeTooLong && reply.Lifetime != want {
				t.Errorf("lifetime %d, want %d", reply.Lifetime, want)
			}
			var d *Denied
			if err := f.m.HandleRequest(f.now, q); !errors.As(err, &d) || !d.Suppressed || len(f.transmits()) != 0 {
				t.Errorf("a second denial within a second was sent (%v)", err)
			}
			f.advance(time.Second)
			f.denied(q, c.want)
			if at, ok := f.m.Deadline(); ok {
				t.Errorf("a denied request left a deadline at %v", at)
			}
		})
	}
}

func TestDiscards(t *testing.T) {
	f := newFixture(t, nil)
	q := f.arrive(f.request(), nil)
	q.Station = Station{Hardware: allSystemsHardware}
	if err := f.m.HandleRequest(f.now, q); !errors.Is(err, ErrSource) {
		t.Errorf("a frame from a group: %v", err)
	}
	q = f.arrive(f.request(), nil)
	q.Payload = append(q.Payload[:wire.RequestLen:wire.RequestLen], 100, 0)
	if err := f.m.HandleRequest(f.now, q); !errors.Is(err, wire.ErrUnknownExtension) {
		t.Errorf("an unknown extension that must be understood: %v", err)
	}
	if len(f.transmits()) != 0 {
		t.Error("what is discarded was answered")
	}
}

// Shows: AGT-4 (RFC 5944 §3.7.3.1: replies only to what is pending, from the home agent asked, port 434).
func TestReplyMatching(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	f.relayed(f.arrive(r, nil))
	other := *r
	other.Identification++
	good := f.reply(r, 1, 600, nil)
	for _, c := range []struct {
		name    string
		from    netip.AddrPort
		payload []byte
		want    error
	}{
		{"other home agent", netip.AddrPortFrom(internal, 434), good, ErrNoPending},
		{"other port", netip.AddrPortFrom(external, 4340), good, ErrNoPending},
		{"other Identification", netip.AddrPortFrom(external, 434), f.reply(&other, 1, 600, nil), ErrNoPending},
		{"cut", netip.AddrPortFrom(external, 434), good[:10], wire.ErrTruncated},
	} {
		if err := f.m.HandleReply(f.now, c.from, c.payload); !errors.Is(err, c.want) || len(f.transmits()) != 0 {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), good); err != nil {
		t.Error(err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), good); !errors.Is(err, ErrNoPending) {
		t.Errorf("a duplicate: %v", err)
	}
}

// Shows: AGT-4 (RFC 5944 §3.7.2: the visitor stays until a reply says otherwise).
func TestVisitorLifetimes(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxLifetime = 10 * time.Minute })
	f.register(f.request(), nil)
	first := f.m.Table().Deliver(homeOut, external)

	// A denial changes nothing, nor does silence.
	r := f.request()
	f.relayed(f.arrive(r, nil))
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, wire.CodeIdentificationMismatch, 0, nil)); err != nil {
		t.Fatal(err)
	}
	if out := f.transmits(); len(out) != 1 {
		t.Fatalf("the denial was not relayed: %+v", out)
	}
	r = f.request()
	r.Lifetime = 0
	f.relayed(f.arrive(r, nil))
	f.advance(PendingTime)
	f.m.HandleTimeout(f.now)
	if f.m.Table().Deliver(homeOut, external) != first {
		t.Fatal("a request without success changed the visitor list")
	}
	f.transmits()

	// A renewal keeps the entry; its lifetime begins when the reply is relayed and is at most what was asked for.
	r = f.request()
	f.relayed(f.arrive(r, nil))
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 60000, nil)); err != nil {
		t.Fatal(err)
	}
	if f.m.Table().Deliver(homeOut, external) != first {
		t.Error("a renewal replaced the entry")
	}
	at, ok := f.m.Deadline()
	if want := f.now.Boot + 600*time.Second; !ok || at != want {
		t.Errorf("deadline %v, want %v", at, want)
	}
	f.transmits()
	f.m.HandleTimeout(link.Instant{Boot: at})
	if f.m.Table().Len() != 0 || len(f.transmits()) != 0 {
		t.Error("the visitor outlived its lifetime, or a message was sent about that (RFC 5944 §3.7)")
	}
	e := f.events()
	if len(e) != 3 || e[0].Kind != Arrived || e[1].Kind != Renewed || e[2].Kind != Expired {
		t.Errorf("events %+v", e)
	}

	// Deregistration, first of another care-of address, then of this one.
	f.register(f.request(), nil)
	for _, c := range []struct {
		careOf netip.Addr
		left   int
	}{{internal, 1}, {careOf, 0}} {
		r = f.request()
		r.Lifetime, r.CareOfAddress = 0, c.careOf
		f.relayed(f.arrive(r, nil))
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 0, nil)); err != nil {
			t.Fatal(err)
		}
		f.transmits()
		if n := f.m.Table().Len(); n != c.left {
			t.Errorf("after %v was deregistered: %d visitors, want %d", c.careOf, n, c.left)
		}
	}
}

// Shows: AGT-4 (code 78 after 7 s, for the newest request alone; retransmissions are each answered).
func TestPending(t *testing.T) {
	f := newFixture(t, nil)
	var requests []*wire.RegistrationRequest
	for range PendingPerRegistration + 2 {
		r := f.request()
		requests = append(requests, r)
		f.relayed(f.arrive(r, nil))
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(requests[1], 1, 600, nil)); !errors.Is(err, ErrNoPending) {
		t.Errorf("the request that had to give way: %v", err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(requests[3], 1, 600, nil)); err != nil {
		t.Fatal(err)
	}
	f.transmits()
	f.advance(PendingTime)
	f.m.HandleTimeout(f.now)
	out := f.transmits()
	if len(out) != 1 {
		t.Fatalf("%d messages after the time for replies, want one", len(out))
	}
	reply, err := wire.ParseRegistrationReply(out[0].Payload)
	if err != nil || reply.Code != wire.CodeFARegistrationTimeout || reply.Identification != requests[len(requests)-1].Identification {
		t.Errorf("%+v, %v", reply, err)
	}
}

func TestShortLifetimePending(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	r.Lifetime = 3
	f.relayed(f.arrive(r, nil))
	if at, _ := f.m.Deadline(); at != f.now.Boot+3*time.Second {
		t.Errorf("pending until %v, want for the 3 s asked for (RFC 5944 §3.7.2.2)", at-f.now.Boot)
	}
}

func TestLimits(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxVisitors, c.MaxPending = 1, 1 })
	r := f.request()
	r.HomeAddress, r.HomeAgent = homeIn, internal
	f.relayed(f.arrive(r, nil))
	f.advance(PendingTime)
	f.m.HandleTimeout(f.now)
	f.transmits()
	f.register(f.request(), nil)
	f.advance(time.Second)
	f.denied(f.arrive(r, nil), wire.CodeFAInsufficientResources)
	f.register(f.request(), nil) // one who is there already may renew
	if err := f.m.HandleSolicitation(f.now, laptop.Hardware, homeOut, discovery.AppendSolicitation(nil)); err != nil {
		t.Fatal(err)
	}
	ad, err := discovery.ParseAdvertisement(f.transmits()[0].Payload)
	if err != nil || !ad.Flags.Has(discovery.FlagBusy) {
		t.Errorf("advertisement %+v, %v; want the B bit", ad, err)
	}
}

// Shows: AGT-4, GDL-4 (one station cannot fill the table of pending requests: others are served, and it is again when its time is over)
func TestPendingOfOneStation(t *testing.T) {
	f := newFixture(t, nil)
	flood := func(i int) Request {
		r := f.request()
		r.HomeAddress = netip.AddrFrom4([4]byte{198, 51, 200, byte(i)})
		return f.arrive(r, nil)
	}
	for range 2 {
		for i := range PendingPerStation {
			f.relayed(flood(i))
		}
		f.denied(flood(PendingPerStation), wire.CodeFAInsufficientResources)
		other := f.arrive(f.request(), nil)
		other.Station = neighbour
		f.relayed(other)
		if f.m.pendings != PendingPerStation+1 || len(f.m.stations) != 2 {
			t.Errorf("%d pending requests of %d stations", f.m.pendings, len(f.m.stations))
		}
		f.advance(PendingTime)
		f.m.HandleTimeout(f.now)
		f.transmits()
		if f.m.pendings != 0 || len(f.m.stations) != 0 {
			t.Errorf("%d pending requests of %d stations are left", f.m.pendings, len(f.m.stations))
		}
	}
}

// Shows: AGT-4 (codes 80 to 88 from ICMP errors).
func TestUnreachable(t *testing.T) {
	for icmp, want := range map[uint8]wire.Code{
		0: wire.CodeFAHomeNetworkUnreachable, 1: wire.CodeFAHomeAgentHostUnreachable,
		3: wire.CodeFAHomeAgentPortUnreachable, 13: wire.CodeFAHomeAgentUnreachable,
	} {
		f := newFixture(t, nil)
		f.relayed(f.arrive(f.request(), nil))
		f.m.HandleUnreachable(f.now, internal, icmp)
		if len(f.transmits()) != 0 {
			t.Error("told about a home agent that was not asked")
		}
		f.m.HandleUnreachable(f.now, external, icmp)
		out := f.transmits()
		if len(out) != 1 {
			t.Fatalf("%d messages, want one", len(out))
		}
		if reply, err := wire.ParseRegistrationReply(out[0].Payload); err != nil || reply.Code != want {
			t.Errorf("ICMP code %d: %+v, %v; want %v", icmp, reply, err, want)
		}
		if _, ok := f.m.Deadline(); ok {
			t.Error("the request is still pending")
		}
	}
}

// A mobile node that registers through another of its interfaces sends through the former one until it has the reply: what
// comes from there is taken for a while, and then only what comes from the new one.
//
// Shows: AGT-4
func TestAnotherInterfaceOfTheMobileNode(t *testing.T) {
	f := newFixture(t, nil)
	f.register(f.request(), nil)
	r := f.request()
	q := f.arrive(r, nil)
	q.Station = neighbour
	f.relayed(q)
	if f.m.Table().Reverse(f.now.Boot, homeOut, neighbour) != nil {
		t.Error("the new interface counts before the home agent has answered")
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 0, 600, nil)); err != nil {
		t.Fatal(err)
	}
	if d := f.m.Table().Deliver(homeOut, external); d == nil || d.Station != neighbour || f.m.Table().Len() != 1 {
		t.Fatalf("packets go to %+v", d)
	}
	for _, c := range []struct {
		after          time.Duration
		former, latter bool
	}{{0, true, true}, {handoverTime - 1, true, true}, {1, false, true}, {time.Minute, false, true}} {
		f.advance(c.after)
		now := f.now.Boot
		if got := f.m.Table().Reverse(now, homeOut, laptop) != nil; got != c.former {
			t.Errorf("after %v more, the former interface counts: %v", c.after, got)
		}
		if got := f.m.Table().Reverse(now, homeOut, neighbour) != nil; got != c.latter {
			t.Errorf("after %v more, the new interface counts: %v", c.after, got)
		}
	}
	if f.m.Table().Reverse(f.now.Boot, homeOut, Station{}) != nil {
		t.Error("a frame without a source counts")
	}
}
