package mobilenode_test

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

var (
	agent2  = netip.MustParseAddr("192.0.2.21")
	network = netip.MustParsePrefix("198.51.100.0/24")
	dynamic = netip.MustParsePrefix("198.51.100.128/25")
)

const nai = "laptop@corp.example"

// company is a mobile node and home agents on a network without delay; what goes to nobody is lost.
type company struct {
	t      *testing.T
	mn     *mobilenode.Machine
	agents map[netip.Addr]*homeagent.Machine
	asked  []netip.Addr // where requests went
	events []mobilenode.Event
	at     time.Duration
}

func newCompany(t *testing.T, mn func(*mobilenode.Config), agents ...func(*homeagent.Config)) *company {
	t.Helper()
	c := &company{t: t, agents: make(map[netip.Addr]*homeagent.Machine)}
	for i, change := range agents {
		cfg := homeagent.Config{
			Address: [...]netip.Addr{agent, agent2}[i], HomeNetworks: []netip.Prefix{network}, DynamicAddresses: []netip.Prefix{dynamic},
			MobileNodes: []homeagent.MobileNode{{NAI: nai, Associations: []*auth.SecurityAssociation{associate(t, pairKey, auth.Timestamps)}}},
		}
		if change != nil {
			change(&cfg)
		}
		m, err := homeagent.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.agents[cfg.Address] = m
	}
	cfg := mobilenode.Config{
		HomeAgent: agent, CareOfAddress: local, NAI: nai, Association: associate(t, pairKey, auth.Timestamps),
		Lifetime: 10 * time.Minute, ReverseTunnel: true, Encapsulation: mobilenode.EncapsulationIPIP,
	}
	if mn != nil {
		mn(&cfg)
	}
	var err error
	if c.mn, err = mobilenode.NewMachine(cfg, mathrand.NewChaCha8([32]byte{3})); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *company) now() link.Instant {
	return link.Instant{Boot: time.Hour + c.at, Wall: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC).Add(c.at)}
}

// run goes on until the time end.
func (c *company) run(end time.Duration) {
	c.t.Helper()
	for range 1000 {
		for tr, ok := c.mn.PollTransmit(); ok; tr, ok = c.mn.PollTransmit() {
			c.asked = append(c.asked, tr.To.Addr())
			c.at += 10 * time.Millisecond
			a := c.agents[tr.To.Addr()]
			if a == nil {
				continue
			}
			_ = a.HandleRequest(c.now(), homeagent.Request{Source: plain, Payload: tr.Payload}) // the mobile node is told
			for reply, ok := a.PollTransmit(); ok; reply, ok = a.PollTransmit() {
				if err := c.mn.HandleReply(c.now(), reply.Payload); err != nil {
					c.t.Fatal(err)
				}
			}
		}
		for e, ok := c.mn.PollEvent(); ok; e, ok = c.mn.PollEvent() {
			c.events = append(c.events, e)
		}
		at, ok := c.mn.Deadline()
		if !ok || at-time.Hour >= end {
			c.at = end
			return
		}
		c.at = max(c.at, at-time.Hour)
		c.mn.HandleTimeout(c.now())
	}
	c.t.Fatal("no end")
}

func (c *company) accepted() mobilenode.VerifiedReply {
	c.t.Helper()
	for i := len(c.events) - 1; i >= 0; i-- {
		if e, ok := c.events[i].(mobilenode.Accepted); ok {
			return e.Reply
		}
	}
	c.t.Fatalf("not accepted: %+v", c.events)
	return mobilenode.VerifiedReply{}
}

// A mobile node that knows nothing but its NAI gets a home address, renews and deregisters it.
//
// Shows: MIP-9 (NAI, dynamic home address)
func TestPairAssignsHomeAddress(t *testing.T) {
	c := newCompany(t, nil, nil)
	c.mn.Register(c.now())
	c.run(25 * time.Minute)
	v := c.accepted()
	ha := c.agents[agent]
	if !dynamic.Contains(v.HomeAddress()) || ha.Table().Route(v.HomeAddress()) == nil || v.HomeAgent() != agent {
		t.Fatalf("reply %+v", v)
	}
	homes := make(map[netip.Addr]int)
	for _, e := range c.events {
		if a, ok := e.(mobilenode.Accepted); ok {
			homes[a.Reply.HomeAddress()]++
		}
	}
	if len(homes) != 1 || homes[v.HomeAddress()] < 2 {
		t.Errorf("home addresses %v", homes)
	}
	c.mn.DeregisterAll(c.now())
	c.run(c.at + 10*time.Second)
	if ha.Len() != 0 {
		t.Error("the binding is still there")
	}
}

// An address that was assigned before is asked for again; where it is not to be had any more, another one is taken.
//
// Shows: MIP-9 (dynamic home address), MIP-4
func TestPairAssignedBefore(t *testing.T) {
	for name, before := range map[string]struct {
		home netip.Addr
		same bool
	}{"still to be had": {netip.MustParseAddr("198.51.100.200"), true}, "not in the pool": {netip.MustParseAddr("198.51.100.9"), false}} {
		t.Run(name, func(t *testing.T) {
			c := newCompany(t, func(m *mobilenode.Config) { m.HomeAddress, m.Assigned = before.home, true }, nil)
			c.mn.Register(c.now())
			c.run(5 * time.Second)
			if v := c.accepted(); (v.HomeAddress() == before.home) != before.same || !dynamic.Contains(v.HomeAddress()) {
				t.Errorf("home address %v, had %v", v.HomeAddress(), before.home)
			}
			r, denied := c.events[0].(mobilenode.Refused)
			if denied == before.same || denied && (r.Code != wire.CodeProhibited || !r.Retrying) {
				t.Errorf("events %+v", c.events)
			}
		})
	}
}

// Whoever is asked serves, or names another home agent; from then on that one is named in requests.
//
// Shows: MIP-9 (dynamic home agent), MIP-4
func TestPairFindsHomeAgent(t *testing.T) {
	for _, d := range []mobilenode.DynamicHomeAgent{mobilenode.HomeAgentAny, mobilenode.HomeAgentAtHome} {
		c := newCompany(t, func(m *mobilenode.Config) { m.DynamicHomeAgent = d },
			func(h *homeagent.Config) { h.RedirectTo = agent2 }, nil)
		c.mn.Register(c.now())
		c.run(25 * time.Minute)
		v := c.accepted()
		if v.HomeAgent() != agent2 || c.agents[agent].Len() != 0 || c.agents[agent2].Len() != 1 {
			t.Fatalf("served by %v", v.HomeAgent())
		}
		r, ok := c.events[0].(mobilenode.Refused)
		if !ok || r.Code != wire.CodeRedirectHomeAgent || r.HomeAgent != agent2 || !r.Retrying {
			t.Errorf("event %+v", c.events[0])
		}
		if len(c.asked) < 3 || c.asked[0] != agent {
			t.Errorf("asked %v", c.asked)
		}
		for _, a := range c.asked[1:] {
			if a != agent2 {
				t.Errorf("asked %v", c.asked)
			}
		}
	}
}

// Home agents that send to each other are found out.
//
// Shows: MIP-9 (dynamic home agent), MIP-4
func TestPairRedirectedInACircle(t *testing.T) {
	c := newCompany(t, func(m *mobilenode.Config) { m.DynamicHomeAgent = mobilenode.HomeAgentAny },
		func(h *homeagent.Config) { h.RedirectTo = agent2 }, func(h *homeagent.Config) { h.RedirectTo = agent })
	c.mn.Register(c.now())
	c.run(time.Minute)
	last, ok := c.events[len(c.events)-1].(mobilenode.Refused)
	if !ok || last.Retrying || last.Code != wire.CodeRedirectHomeAgent || len(c.asked) != 2 {
		t.Errorf("asked %v, last event %+v", c.asked, last)
	}
}

// An agent that does not know RFC 4433 is named in the next series, be it silent or denying with code 136.
//
// Shows: MIP-9 (dynamic home agent), MIP-4
func TestPairHomeAgentThatMustBeNamed(t *testing.T) {
	c := newCompany(t, func(m *mobilenode.Config) { m.DynamicHomeAgent = mobilenode.HomeAgentAny }, nil)
	named := 0
	c.mn.Register(c.now())
	for c.at < 4*time.Minute && named == 0 {
		for tr, ok := c.mn.PollTransmit(); ok; tr, ok = c.mn.PollTransmit() {
			if r := mustParse(t, tr.Payload); r.HomeAgent == agent {
				named++
				if r.Extensions.Index(wire.ExtDynamicHomeAgent) >= 0 {
					t.Error("the extension that such agents misread is there")
				}
			} else if !r.HomeAgent.IsUnspecified() || r.Extensions.Index(wire.ExtDynamicHomeAgent) < 0 {
				t.Errorf("request %+v", r)
			}
		}
		if at, ok := c.mn.Deadline(); ok {
			c.at = max(c.at, at-time.Hour)
			c.mn.HandleTimeout(c.now())
		} else {
			c.mn.Register(c.now())
		}
	}
	if named == 0 {
		t.Error("the home agent was never named")
	}
	other := newCompany(t, func(m *mobilenode.Config) {
		m.DynamicHomeAgent, m.HomeAgent = mobilenode.HomeAgentResolved, netip.MustParseAddr("198.51.100.255")
	})
	other.mn.Register(other.now())
	tr, _ := other.mn.PollTransmit()
	ha := c.agents[agent]
	err := ha.HandleRequest(other.now(), homeagent.Request{Source: plain, Destination: tr.To.Addr(), Payload: tr.Payload})
	denial, ok := ha.PollTransmit()
	if !ok {
		t.Fatal(err)
	}
	if err := other.mn.HandleReply(other.now(), denial.Payload); err != nil {
		t.Fatal(err)
	}
	other.agents[agent] = ha
	other.run(5 * time.Second)
	if v := other.accepted(); v.HomeAgent() != agent || other.asked[0] != agent {
		t.Errorf("found %v, asked %v", v.HomeAgent(), other.asked)
	}
}
