package mobilenode

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

var (
	homeAgent    = netip.MustParseAddr("10.0.1.10")
	homeAddress  = netip.MustParseAddr("10.0.8.100")
	careOf       = netip.MustParseAddr("10.0.2.50")
	foreignAgent = netip.MustParseAddr("10.0.3.1")
	foreignCoA   = netip.MustParseAddr("10.0.1.40")
	origin       = Origin{Interface: 3, Epoch: 7, Direct: true}
	wall         = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
)

// at is d after a boot time that is not zero.
func at(d time.Duration) link.Instant {
	return link.Instant{Boot: 1000*time.Second + d, Wall: wall.Add(d)}
}

func boot(d time.Duration) time.Duration { return at(d).Boot }

func associate(t testing.TB, spi uint32, a auth.Algorithm, key string) *auth.SecurityAssociation {
	t.Helper()
	s, err := auth.New(auth.Parameters{SPI: spi, Algorithm: a, Key: auth.Key(key)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const sharedKey = "sixteen octets!!"

// direct is a registration with a co-located care-of address that asks for IP-in-IP.
func direct(t testing.TB) Config {
	return Config{
		HomeAgent: homeAgent, HomeAddress: homeAddress, CareOfAddress: careOf,
		Association: associate(t, 1024, auth.HMACMD5, sharedKey),
		Lifetime:    600 * time.Second, ReverseTunnel: true,
		Encapsulation: EncapsulationIPIP, Origin: origin,
	}
}

// viaAgent is a registration through a foreign agent.
func viaAgent(t testing.TB) Config {
	c := direct(t)
	c.CareOfAddress, c.ForeignAgent = foreignCoA, foreignAgent
	return c
}

// node is a machine under test with the other end's view of it.
type node struct {
	t testing.TB
	*Machine
	peer *auth.SecurityAssociation // the home agent's
}

func newNode(t testing.TB, cfg Config) *node {
	t.Helper()
	m, err := NewMachine(cfg, mathrand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	return &node{t: t, Machine: m, peer: associate(t, 1024, auth.HMACMD5, sharedKey)}
}

// sent is a request as the other end sees it.
type sent struct {
	Transmit
	*wire.RegistrationRequest
}

// requests takes the machine's transmissions and checks what is always true of them.
func (n *node) requests() []sent {
	n.t.Helper()
	var out []sent
	for {
		tr, ok := n.PollTransmit()
		if !ok {
			return out
		}
		m, err := wire.ParseRegistrationRequest(tr.Payload)
		if err != nil {
			n.t.Fatalf("a request that cannot be parsed: %v", err)
		}
		i := m.Extensions.Index(wire.ExtMobileHomeAuthentication)
		if i < 0 || m.Extensions.Count(wire.ExtMobileHomeAuthentication) != 1 {
			n.t.Fatalf("Mobile-Home Authentication extensions in %+v", m.Extensions)
		}
		if err := n.cfg.Association.Verify(tr.Payload, m.Offset(i), wire.ExtMobileHomeAuthentication); err != nil {
			n.t.Fatal(err)
		}
		out = append(out, sent{tr, m})
	}
}

// request takes the one transmission that must be there.
func (n *node) request() sent {
	n.t.Helper()
	r := n.requests()
	if len(r) != 1 {
		n.t.Fatalf("%d requests, want 1", len(r))
	}
	return r[0]
}

func (n *node) all() []Event {
	var es []Event
	for {
		e, ok := n.PollEvent()
		if !ok {
			return es
		}
		es = append(es, e)
	}
}

// event takes the one event that must be there, of type E.
func event[E Event](n *node) E {
	n.t.Helper()
	es := n.all()
	if len(es) == 1 {
		if e, ok := es[0].(E); ok {
			return e
		}
	}
	var want E
	n.t.Fatalf("events %+v, want one %T", es, want)
	return want
}

// none fails when there are events or transmissions.
func (n *node) none(what string) {
	n.t.Helper()
	if es := n.all(); len(es) != 0 {
		n.t.Errorf("%s: events %+v", what, es)
	}
	if r := n.requests(); len(r) != 0 {
		n.t.Errorf("%s: %d requests", what, len(r))
	}
}

// answer is what the home agent says to r; change may alter the reply before it is authenticated, and behind is put
// behind the authenticator.
func (n *node) answer(r sent, code wire.Code, change func(*wire.RegistrationReply), behind ...wire.Extension) []byte {
	n.t.Helper()
	m := r.Reply(code, r.Lifetime)
	if change != nil {
		change(m)
	}
	b, err := m.Append(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	b = n.peer.AppendExtension(b, wire.ExtMobileHomeAuthentication)
	for _, e := range behind {
		if b, err = e.Append(b); err != nil {
			n.t.Fatal(err)
		}
	}
	return b
}

// deny is what a foreign agent says to r, not authenticated.
func (n *node) deny(r sent, code wire.Code, lifetime uint16) []byte {
	n.t.Helper()
	b, err := r.Reply(code, lifetime).Append(nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}

// handle gives the machine a reply that it must take.
func (n *node) handle(d time.Duration, p []byte) {
	n.t.Helper()
	if err := n.HandleReply(at(d), p); err != nil {
		n.t.Fatalf("reply refused: %v", err)
	}
}

// registered registers the node at d with what change does to the reply, and returns the reply.
func (n *node) registered(d time.Duration, change func(*wire.RegistrationReply)) VerifiedReply {
	n.t.Helper()
	n.Register(at(d))
	n.handle(d+10*time.Millisecond, n.answer(n.request(), wire.CodeAccepted, change))
	return event[Accepted](n).Reply
}

func withTNC(m *wire.RegistrationReply) {
	m.Extensions = append(m.Extensions, wire.TrustedNetworksConfigured())
}

func withUDP(r wire.UDPTunnelReply) func(*wire.RegistrationReply) {
	return func(m *wire.RegistrationReply) { m.Extensions = append(m.Extensions, r.Extension()) }
}

// step runs the machine's timers up to d and returns when requests left, in time since at(0).
func (n *node) step(d time.Duration) (times []time.Duration, reqs []sent) {
	n.t.Helper()
	for range 1000 {
		when, ok := n.Deadline()
		if !ok || when > boot(d) {
			return times, reqs
		}
		now := when - boot(0)
		n.HandleTimeout(at(now))
		for _, r := range n.requests() {
			times, reqs = append(times, now), append(reqs, r)
		}
	}
	n.t.Fatal("the machine's timers do not come to an end")
	return nil, nil
}
