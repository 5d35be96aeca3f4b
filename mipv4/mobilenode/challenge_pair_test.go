package mobilenode_test

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	visited = netip.MustParseAddr("172.16.5.1")
	agentCo = netip.MustParseAddr("192.0.2.40")
	laptop  = foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}
)

// trio is a mobile node, a foreign agent that challenges and a home agent, without delays.
type trio struct {
	t      *testing.T
	now    link.Instant
	mn     *mobilenode.Machine
	fa     *foreignagent.Machine
	ha     *homeagent.Machine
	aaa    *auth.AAA      // what the AAA server has
	from   netip.AddrPort // what the home agent sees of the foreign agent
	heard  bool           // the mobile node hears advertisements
	events []mobilenode.Event
	codes  []wire.Code // of the foreign agent's replies
}

func newTrio(t *testing.T, secret string, change func(*mobilenode.Config)) *trio {
	t.Helper()
	x := &trio{t: t, from: netip.AddrPortFrom(agentCo, wire.Port), now: link.Instant{Boot: time.Hour, Wall: time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)}}
	var err error
	if x.aaa, err = auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key("secret of the user")}); err != nil {
		t.Fatal(err)
	}
	key := associate(t, "a key of the home agent", auth.Timestamps)
	if x.ha, err = homeagent.New(homeagent.Config{
		Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")},
		MobileNodes: []homeagent.MobileNode{{HomeAddress: home, Associations: []*auth.SecurityAssociation{key}}},
	}); err != nil {
		t.Fatal(err)
	}
	if x.fa, err = foreignagent.New(foreignagent.Config{
		Address: visited, CareOfAddress: agentCo, Challenge: true, AAA: true,
	}, x.now, mathrand.NewChaCha8([32]byte{1})); err != nil {
		t.Fatal(err)
	}
	cfg := mobilenode.Config{
		HomeAgent: agent, HomeAddress: home, CareOfAddress: agentCo, ForeignAgent: visited, Association: associate(t, "a key of the home agent", auth.Timestamps),
		Lifetime: 10 * time.Minute, ReverseTunnel: true, NAI: "mn@corp.example",
	}
	if secret != "" {
		if cfg.AAA, err = auth.NewAAA(auth.Parameters{SPI: wire.CHAPSPI, Key: auth.Key(secret)}); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(&cfg)
	}
	if x.mn, err = mobilenode.NewMachine(cfg, mathrand.NewChaCha8([32]byte{2})); err != nil {
		t.Fatal(err)
	}
	x.fa.HandleTimeout(x.now)
	return x
}

// settle carries messages until nobody has any.
func (x *trio) settle() {
	x.t.Helper()
	for busy := true; busy; {
		busy = false
		for tr, ok := x.mn.PollTransmit(); ok; tr, ok = x.mn.PollTransmit() {
			busy = true
			_ = x.fa.HandleRequest(x.now, foreignagent.Request{
				Station: laptop, Source: netip.AddrPortFrom(home, 5000), Destination: visited, TTL: tr.TTL, Payload: tr.Payload,
			})
		}
		for q, ok := x.fa.PollQuestion(); ok; q, ok = x.fa.PollQuestion() {
			busy = true
			v := auth.Rejected
			if q.NAI == "mn@corp.example" && x.aaa.Answers(q.Credentials) {
				v = auth.Granted
			}
			_ = x.fa.HandleVerdict(x.now, q.ID, v)
		}
		for tr, ok := x.fa.PollTransmit(); ok; tr, ok = x.fa.PollTransmit() {
			busy = true
			switch tr.To {
			case foreignagent.Advertise:
				ad, err := discovery.ParseAdvertisement(tr.Payload)
				if err != nil {
					x.t.Fatal(err)
				}
				if x.heard {
					x.mn.SetChallenge(ad.Challenge)
				}
			case foreignagent.ToHomeAgent:
				_ = x.ha.HandleRequest(x.now, homeagent.Request{Source: x.from, Payload: tr.Payload})
			case foreignagent.ToMobileNode:
				if r, err := wire.ParseRegistrationReply(tr.Payload); err == nil {
					x.codes = append(x.codes, r.Code)
				}
				_ = x.mn.HandleReply(x.now, tr.Payload)
			}
		}
		for tr, ok := x.ha.PollTransmit(); ok; tr, ok = x.ha.PollTransmit() {
			busy = true
			_ = x.fa.HandleReply(x.now, netip.AddrPortFrom(agent, 434), tr.Payload)
		}
		for e, ok := x.mn.PollEvent(); ok; e, ok = x.mn.PollEvent() {
			x.events = append(x.events, e)
		}
	}
}

// Our mobile node, foreign agent and home agent with challenges that an AAA server checks: registered at the first request where an
// advertisement was heard, at the second where not, and renewed with the challenges of the replies.
//
// Shows: MIP-9, MIP-4, AGT-4
func TestTrioChallenge(t *testing.T) {
	for _, heard := range []bool{true, false} {
		x := newTrio(t, "secret of the user", nil)
		x.heard = heard
		x.settle()
		for i := range 3 {
			x.codes, x.events = nil, nil
			x.mn.Register(x.now)
			x.settle()
			if want := 1; len(x.codes) != want && (heard || i > 0) || len(x.codes) == 0 || !x.codes[len(x.codes)-1].Accepted() {
				t.Fatalf("heard %v, registration %d: codes %v, events %+v", heard, i, x.codes, x.events)
			}
			if !heard && i == 0 && (len(x.codes) != 2 || x.codes[0] != wire.CodeFAMissingChallenge) {
				t.Errorf("codes %v", x.codes)
			}
			if x.mn.State() != mobilenode.StateRegistered || x.fa.Table().Len() != 1 {
				t.Fatalf("state %v", x.mn.State())
			}
			x.now = x.now.Add(20 * time.Second)
		}
	}
}

// Shows: MIP-4, MIP-9 (codes 105 and 108 without the right secret: no registration, and advice)
func TestTrioWrongSecret(t *testing.T) {
	for secret, want := range map[string]wire.Code{"another secret": wire.CodeFABadAAAAuthentication, "": wire.CodeFAMissingChallenge} {
		x := newTrio(t, secret, nil)
		x.heard = true
		x.settle()
		x.mn.Register(x.now)
		x.settle()
		e := x.events[len(x.events)-1]
		r, ok := e.(mobilenode.Refused)
		if !ok || r.Code != want || r.Retrying || !r.ByForeignAgent {
			t.Fatalf("events %+v", x.events)
		}
		if x.mn.State() != mobilenode.StateIdle || x.fa.Table().Len() != 0 {
			t.Errorf("state %v", x.mn.State())
		}
	}
}
