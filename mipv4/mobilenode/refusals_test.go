package mobilenode

import (
	"strings"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// agentOf is a home agent's answer to what is asked of it: the code for "forced", "asked" and "none", and the UDP Tunnel
// Reply where it accepts, nil for none.
type agentOf map[string]struct {
	code  wire.Code
	reply *wire.UDPTunnelReply
}

var (
	grants       = &wire.UDPTunnelReply{Forced: true, KeepAlive: time.Minute}
	seesNAT      = &wire.UDPTunnelReply{KeepAlive: time.Minute}
	seesNone     = &wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined}
	noForce      = agentOf{"forced": {code: wire.CodeProhibited}, "asked": {reply: seesNone}, "none": {}}
	noForceNAT   = agentOf{"forced": {reply: seesNAT}, "asked": {reply: seesNAT}, "none": {code: wire.CodeProhibited}}
	neverAsk     = agentOf{"forced": {code: wire.CodePoorlyFormedRequest}, "asked": {code: wire.CodePoorlyFormedRequest}, "none": {}}
	upgraded     = agentOf{"forced": {reply: grants}, "asked": {reply: seesNone}, "none": {}}
	neverRefused = agentOf{"forced": {}, "asked": {}, "none": {}}
)

// sharing is a machine that shares what k knows.
func sharing(t *testing.T, e Encapsulation, k *Refusals) *node {
	c := direct(t)
	c.Encapsulation, c.Refusals = e, k
	return newNode(t, c)
}

// converse registers n at d with the agent given, until it is accepted, and returns what was asked for and the last reply.
func (n *node) converse(d time.Duration, a agentOf) (asked []string, v VerifiedReply) {
	n.t.Helper()
	n.Register(at(d))
	for range 8 {
		r := n.request()
		o := offered(n.t.(*testing.T), r)
		asked = append(asked, o)
		answer := a[o]
		n.handle(d, n.answer(r, answer.code, func(m *wire.RegistrationReply) {
			if answer.reply != nil {
				withUDP(*answer.reply)(m)
			}
		}))
		for _, e := range n.all() {
			switch e := e.(type) {
			case Accepted:
				return asked, e.Reply
			case Refused:
				if !e.Retrying {
					n.t.Fatalf("asked %v: gave up: %v", asked, e.Err)
				}
			}
		}
	}
	n.t.Fatalf("asked %v without an end", asked)
	return nil, VerifiedReply{}
}

// What one machine has been refused the next one with the same home agent does not ask for: a move costs no exchange more.
//
// Shows: MIP-7 (refusals remembered)
func TestRefusalsShared(t *testing.T) {
	const soon = time.Minute
	for _, c := range []struct {
		name       string
		first      Encapsulation
		agent      agentOf
		asked      string // of the first machine, up to its acceptance
		second     Encapsulation
		next       string // of the second machine
		why        string // of its tunnel
		later      string // of its renewal after RefusalTime
		laterAgent agentOf
	}{
		{"no force", EncapsulationAuto, noForce, "forced asked", EncapsulationAuto, "asked", "where there is none (code 129", "forced asked", noForce},
		{"no force, upgraded", EncapsulationAuto, noForce, "forced asked", EncapsulationAuto, "asked", "where there is none (code 129", "forced", upgraded},
		{"not even a question", EncapsulationAuto, neverAsk, "forced none", EncapsulationAuto, "none", "refuses to be asked", "forced none", neverAsk},
		{"not even a question, upgraded", EncapsulationAuto, neverAsk, "forced none", EncapsulationAuto, "none", "refuses to be asked", "forced", upgraded},
		{"against a NAT alone", EncapsulationAuto, neverAsk, "forced none", EncapsulationNAT, "none", "refuses to be asked", "asked", upgraded},
		{"against a NAT alone, no force", EncapsulationAuto, noForce, "forced asked", EncapsulationNAT, "asked", "sees no NAT", "asked", noForce},
		{"nothing to remember", EncapsulationAuto, neverRefused, "forced", EncapsulationAuto, "forced", "knows no UDP", "forced", neverRefused},
		{"nothing known", EncapsulationIPIP, noForce, "none", EncapsulationAuto, "forced asked", "where there is none", "forced", upgraded},
	} {
		t.Run(c.name, func(t *testing.T) {
			var k Refusals
			asked, _ := sharing(t, c.first, &k).converse(0, c.agent)
			if got := strings.Join(asked, " "); got != c.asked {
				t.Errorf("the first machine asked %s, want %s", got, c.asked)
			}
			n := sharing(t, c.second, &k)
			asked, v := n.converse(soon, c.agent)
			if got := strings.Join(asked, " "); got != c.next {
				t.Errorf("the second machine asked %s, want %s", got, c.next)
			}
			if !strings.Contains(v.TunnelReason(), c.why) {
				t.Errorf("its tunnel is what it is because %s; want %q", v.TunnelReason(), c.why)
			}
			// The machine of a move that comes after a day is not refused either. Its first renewal asks again.
			moved := sharing(t, c.second, &k)
			if asked, _ := moved.converse(2*RefusalTime, c.agent); strings.Join(asked, " ") != strings.TrimPrefix(c.next, "forced ") {
				t.Errorf("after a day a move asked %v, want %s", asked, c.next)
			}
			if asked, _ := moved.converse(2*RefusalTime+soon, c.laterAgent); strings.Join(asked, " ") != c.later {
				t.Errorf("after a day the renewal asked %v, want %s", asked, c.later)
			}
		})
	}
}

// The renewal that asks again keeps the binding while it is refused, and puts the next question off for another day.
func TestRefusalsRenewed(t *testing.T) {
	var k Refusals
	n := sharing(t, EncapsulationAuto, &k)
	n.converse(0, noForce)
	n.Register(at(RefusalTime))
	r := n.request()
	if got := offered(t, r); got != "forced" {
		t.Fatalf("the renewal asked %s", got)
	}
	n.handle(RefusalTime, n.answer(r, wire.CodeProhibited, nil))
	if e := event[Refused](n); !e.Retrying || n.State() != StateRegistered {
		t.Errorf("state %v, event %+v", n.State(), e)
	}
	n.handle(RefusalTime, n.answer(n.request(), 0, withUDP(*seesNone)))
	event[Accepted](n)
	for _, d := range []time.Duration{time.Minute, RefusalTime - time.Second} {
		if asked, _ := n.converse(RefusalTime+d, noForce); strings.Join(asked, " ") != "asked" {
			t.Errorf("%v after that it asked %v", d, asked)
		}
	}
}

// What was refused where there is no NAT hinders nothing behind one.
//
// Shows: MIP-7
func TestRefusalsBehindNAT(t *testing.T) {
	var k Refusals
	sharing(t, EncapsulationAuto, &k).converse(0, noForce)
	asked, v := sharing(t, EncapsulationAuto, &k).converse(time.Minute, noForceNAT)
	if strings.Join(asked, " ") != "asked" || !v.Tunnel().UDP() || !v.NAT() || v.TunnelReason() != "the home agent sees a NAT" {
		t.Errorf("asked %v, tunnel %+v: %s", asked, v.Tunnel(), v.TunnelReason())
	}

	k = Refusals{}
	sharing(t, EncapsulationAuto, &k).converse(0, neverAsk)
	asked, v = sharing(t, EncapsulationAuto, &k).converse(time.Minute, noForceNAT)
	if strings.Join(asked, " ") != "none forced" || !v.Tunnel().UDP() {
		t.Errorf("asked %v, tunnel %+v: %s", asked, v.Tunnel(), v.TunnelReason())
	}
	if asked, _ := sharing(t, EncapsulationAuto, &k).converse(2*time.Minute, noForceNAT); strings.Join(asked, " ") != "forced" {
		t.Errorf("asked %v after the home agent was found to take it", asked)
	}
}

// What the configuration demands is asked for whatever has been refused, and IP-in-IP never touches what is known.
func TestRefusalsAndDemands(t *testing.T) {
	var k Refusals
	sharing(t, EncapsulationAuto, &k).converse(0, noForce)
	n := sharing(t, EncapsulationUDP, &k)
	n.Register(at(time.Minute))
	if got := offered(t, n.request()); got != "forced" {
		t.Errorf("demanded, and asked %s", got)
	}
	before := k
	_, v := sharing(t, EncapsulationIPIP, &k).converse(time.Minute, noForce)
	if k != before || v.TunnelReason() != "asked for by the configuration" {
		t.Errorf("known %+v, before %+v; %s", k, before, v.TunnelReason())
	}
}

// Why the tunnel is what it is, for people.
func TestTunnelReason(t *testing.T) {
	declined := agentOf{"forced": {reply: seesNone}}
	for _, c := range []struct {
		e     Encapsulation
		agent agentOf
		want  string
	}{
		{EncapsulationAuto, upgraded, "asked for, and granted without a NAT"},
		{EncapsulationAuto, noForceNAT, "asked for, and granted"},
		{EncapsulationAuto, declined, "the home agent declines UDP tunnelling (reply code 64)"},
		{EncapsulationNAT, noForceNAT, "the home agent sees a NAT"},
		{EncapsulationNAT, noForce, "the home agent sees no NAT"},
		{EncapsulationNAT, neverAsk, `the home agent refuses to be asked for UDP tunnelling (code 134 "poorly formed Request"); it is asked again after 24h0m0s`},
	} {
		if _, v := sharing(t, c.e, nil).converse(0, c.agent); v.TunnelReason() != c.want {
			t.Errorf("%v: %s, want %s", c.e, v.TunnelReason(), c.want)
		}
	}
	n := newNode(t, viaAgent(t))
	if v := n.registered(0, nil); v.TunnelReason() != "registered through a foreign agent" {
		t.Errorf("%s", v.TunnelReason())
	}
}
