package mobilenode_test

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
)

var (
	agent  = netip.MustParseAddr("192.0.2.20")
	home   = netip.MustParseAddr("198.51.100.100")
	local  = netip.MustParseAddr("192.168.1.50")
	natted = netip.MustParseAddrPort("192.0.2.30:61000")
	plain  = netip.AddrPortFrom(local, 40000)
)

// pair is the machine and this project's home agent on a path with a delay, a loss pattern, and clocks that differ.
type pair struct {
	t      *testing.T
	mn     *mobilenode.Machine
	ha     *homeagent.Machine
	source netip.AddrPort
	offset time.Duration    // of the mobile node's wall clock
	lost   func(i int) bool // whether message i of the path, both directions counted together, is lost
	sent   int
	queue  []flying
	events []mobilenode.Event
}

type flying struct {
	at      time.Duration
	toAgent bool
	payload []byte
}

const delay = 20 * time.Millisecond

func associate(t *testing.T, key string, replay auth.ReplayProtection) *auth.SecurityAssociation {
	t.Helper()
	s, err := auth.New(auth.Parameters{SPI: 1000, Algorithm: auth.HMACSHA256, Key: auth.Key(key), ReplayProtection: replay})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newPair(t *testing.T, e mobilenode.Encapsulation, key string, change func(*homeagent.Config)) *pair {
	t.Helper()
	return newPairOf(t, e, key, auth.Timestamps, change)
}

func newPairOf(t *testing.T, e mobilenode.Encapsulation, key string, replay auth.ReplayProtection, change func(*homeagent.Config)) *pair {
	t.Helper()
	cfg := homeagent.Config{
		Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		MobileNodes: []homeagent.MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{associate(t, "a key of the home agent", replay)}}},
	}
	if change != nil {
		change(&cfg)
	}
	ha, err := homeagent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mn, err := mobilenode.NewMachine(mobilenode.Config{
		HomeAgent: agent, HomeAddress: home, CareOfAddress: local, Association: associate(t, key, replay),
		Lifetime: 10 * time.Minute, ReverseTunnel: true, Encapsulation: e,
	}, mathrand.NewChaCha8([32]byte{9}))
	if err != nil {
		t.Fatal(err)
	}
	return &pair{t: t, mn: mn, ha: ha, source: plain, lost: func(int) bool { return false }}
}

func (p *pair) now(d time.Duration, offset time.Duration) link.Instant {
	return link.Instant{Boot: time.Hour + d, Wall: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC).Add(d + offset)}
}

func (p *pair) send(d time.Duration, toAgent bool, payload []byte) {
	if !p.lost(p.sent) {
		p.queue = append(p.queue, flying{d + delay, toAgent, payload})
	}
	p.sent++
}

func (p *pair) drain(d time.Duration) {
	for {
		tr, ok := p.mn.PollTransmit()
		if !ok {
			break
		}
		p.send(d, true, tr.Payload)
	}
	for {
		tr, ok := p.ha.PollTransmit()
		if !ok {
			break
		}
		p.send(d, false, tr.Payload)
	}
	for {
		e, ok := p.mn.PollEvent()
		if !ok {
			break
		}
		p.events = append(p.events, e)
	}
}

// run lets the two talk from time to time, until the time end.
func (p *pair) run(end time.Duration) {
	p.t.Helper()
	p.drain(0)
	for range 1000 {
		next, deliver := end, -1
		for i, f := range p.queue {
			if f.at < next {
				next, deliver = f.at, i
			}
		}
		if at, ok := p.mn.Deadline(); ok && at-time.Hour < next {
			next, deliver = at-time.Hour, -1
		}
		if next >= end {
			return
		}
		if deliver < 0 {
			p.mn.HandleTimeout(p.now(next, p.offset))
		} else {
			f := p.queue[deliver]
			p.queue = append(p.queue[:deliver], p.queue[deliver+1:]...)
			// A refusal is told by events; a message that the other end rejects is as good as lost.
			if f.toAgent {
				_ = p.ha.HandleRequest(p.now(next, 0), homeagent.Request{Source: p.source, Payload: f.payload})
			} else {
				_ = p.mn.HandleReply(p.now(next, p.offset), f.payload)
			}
		}
		p.drain(next)
	}
	p.t.Fatal("the two talk without end")
}

// last returns the last event, which must be of type E.
func last[E mobilenode.Event](p *pair) E {
	p.t.Helper()
	var e E
	if len(p.events) > 0 {
		if e, ok := p.events[len(p.events)-1].(E); ok {
			return e
		}
	}
	p.t.Fatalf("events %+v, want the last to be %T", p.events, e)
	return e
}

// What the two agree on, for each policy of the home agent, with and without a NAT.
//
// Shows: MIP-7, MIP-4
func TestPairAgreesOnTunnel(t *testing.T) {
	forbid := func(c *homeagent.Config) { c.NoUDPTunnel = true }
	unforced := func(c *homeagent.Config) { c.NoForcedUDPTunnel = true }
	keep := func(c *homeagent.Config) { c.KeepAlive = 25 * time.Second }
	for _, c := range []struct {
		name   string
		e      mobilenode.Encapsulation
		ha     func(*homeagent.Config)
		nat    bool
		want   mobilenode.Tunnel
		refuse bool
	}{
		{"auto", mobilenode.EncapsulationAuto, keep, false, mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 25 * time.Second}, false},
		{"auto, NAT", mobilenode.EncapsulationAuto, nil, true, mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, false},
		{"auto, not forced", mobilenode.EncapsulationAuto, unforced, false, mobilenode.Tunnel{}, false},
		{"auto, not forced, NAT", mobilenode.EncapsulationAuto, unforced, true, mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, false},
		{"auto, none", mobilenode.EncapsulationAuto, forbid, false, mobilenode.Tunnel{}, false},
		{"auto, none, NAT", mobilenode.EncapsulationAuto, forbid, true, mobilenode.Tunnel{}, true},
		{"IP-in-IP", mobilenode.EncapsulationIPIP, nil, false, mobilenode.Tunnel{}, false},
		{"IP-in-IP, NAT", mobilenode.EncapsulationIPIP, nil, true, mobilenode.Tunnel{}, true},
		{"UDP", mobilenode.EncapsulationUDP, nil, false, mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, false},
		{"where there is a NAT", mobilenode.EncapsulationNAT, nil, false, mobilenode.Tunnel{}, false},
		{"where there is a NAT, NAT", mobilenode.EncapsulationNAT, nil, true, mobilenode.Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, false},
		{"where there is a NAT, none", mobilenode.EncapsulationNAT, forbid, false, mobilenode.Tunnel{}, false},
		{"UDP, none", mobilenode.EncapsulationUDP, forbid, false, mobilenode.Tunnel{}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair(t, c.e, "a key of the home agent", c.ha)
			if c.nat {
				p.source = natted
			}
			p.mn.Register(p.now(0, 0))
			p.run(5 * time.Second)
			if c.refuse {
				if _, ok := p.mn.Binding(); ok || p.ha.Table().Len() != 0 {
					t.Fatalf("registered; events %+v", p.events)
				}
				return
			}
			v := last[mobilenode.Accepted](p).Reply
			if v.Tunnel() != c.want || v.TrustedNetwork() {
				t.Errorf("tunnel %+v, want %+v", v.Tunnel(), c.want)
			}
			r := p.ha.Table().Route(home)
			if r == nil || len(r.Tunnels) != 1 {
				t.Fatalf("route %+v", r)
			}
			p.mn.Deregister(p.now(5*time.Second, 0))
			p.run(10 * time.Second)
			last[mobilenode.Deregistered](p)
			if p.ha.Table().Len() != 0 {
				t.Error("the home agent keeps the binding")
			}
		})
	}
}

// Whichever of the first messages are lost, the two end registered, renew in time and never expire.
//
// Shows: MIP-1, MIP-3
func TestPairUnderLoss(t *testing.T) {
	for pattern := range 1 << 5 { // a series has six transmissions
		for _, offset := range []time.Duration{0, -24 * time.Hour} {
			p := newPair(t, mobilenode.EncapsulationAuto, "a key of the home agent", nil)
			p.lost = func(i int) bool { return i < 5 && pattern&(1<<i) != 0 }
			p.offset = offset
			p.mn.Register(p.now(0, offset))
			p.run(29 * time.Minute)
			accepted := 0
			for _, e := range p.events {
				switch e.(type) {
				case mobilenode.Accepted:
					accepted++
				case mobilenode.Expired, mobilenode.Unanswered:
					t.Errorf("pattern %05b, clock %v: %+v", pattern, offset, e)
				}
			}
			if accepted < 3 || p.mn.State() != mobilenode.StateRegistered || p.ha.Table().Len() != 1 {
				t.Errorf("pattern %05b, clock %v: accepted %d times, state %v", pattern, offset, accepted, p.mn.State())
			}
		}
	}
}

// TNC comes from an internal home agent to a trusted network, and nothing comes to any other.
//
// Shows: DET-3
func TestPairTrustedNetworks(t *testing.T) {
	internal := func(c *homeagent.Config) {
		c.Internal, c.TrustedNetworks = true, []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	}
	p := newPair(t, mobilenode.EncapsulationAuto, "a key of the home agent", internal)
	p.mn.Register(p.now(0, 0))
	p.run(5 * time.Second)
	if v := last[mobilenode.Accepted](p).Reply; !v.TrustedNetwork() || !v.StrongKey() {
		t.Errorf("reply %+v", v)
	}
	p = newPair(t, mobilenode.EncapsulationAuto, "a key of the home agent", internal)
	p.source = natted
	p.mn.Register(p.now(0, 0))
	p.run(10 * time.Minute)
	last[mobilenode.Unanswered](p)
	if p.ha.Table().Len() != 0 {
		t.Error("an untrusted network has a binding")
	}
}

// A wrong key ends in a message that names the code, and in no registration.
func TestPairWrongKey(t *testing.T) {
	p := newPair(t, mobilenode.EncapsulationAuto, "not that key, but another", nil)
	p.mn.Register(p.now(0, 0))
	p.run(500 * time.Millisecond)
	if e := last[mobilenode.Unverified](p); e.Code != 131 || e.Err == nil {
		t.Errorf("event %+v", e)
	}
	p.run(10 * time.Minute)
	if _, ok := p.mn.Binding(); ok || p.ha.Table().Len() != 0 {
		t.Error("registered with the wrong key")
	}
}
