package mobilenode

import (
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-4, MIP-6 (M and G bits: asked for where the agent may have them, IP-in-IP after codes 139 and 72, remembered; a foreign
// agent is not asked for what it does not advertise, RFC 5944 §3.6.1.2)
func TestAlternativeEncapsulations(t *testing.T) {
	options := tunnel.GREOptions{Keyed: true, Key: 5}
	for _, c := range []struct {
		name   string
		via    bool // a foreign agent
		change func(*Config)
		flags  wire.Flags
		denial wire.Code
		want   Tunnel
	}{
		{"minimal", false, func(c *Config) { c.Encapsulation = EncapsulationMinimal }, wire.FlagMinimal, 0, Tunnel{Encapsulation: tunnel.Minimal}},
		{"GRE", false, func(c *Config) { c.Encapsulation, c.GRE = EncapsulationGRE, options }, wire.FlagGRE, 0, Tunnel{Encapsulation: tunnel.GRE, GRE: options}},
		{"minimal, refused", false, func(c *Config) { c.Encapsulation = EncapsulationMinimal }, wire.FlagMinimal, wire.CodeEncapsulationUnavailable, Tunnel{}},
		{"GRE, refused", false, func(c *Config) { c.Encapsulation = EncapsulationGRE }, wire.FlagGRE, wire.CodeEncapsulationUnavailable, Tunnel{}},
		{"minimal, advertised", true, func(c *Config) { c.Encapsulation, c.AgentMinimal = EncapsulationMinimal, true }, wire.FlagMinimal, 0, Tunnel{Encapsulation: tunnel.Minimal}},
		{"minimal, not advertised", true, func(c *Config) { c.Encapsulation, c.AgentGRE = EncapsulationMinimal, true }, 0, 0, Tunnel{}},
		{"GRE, advertised", true, func(c *Config) { c.Encapsulation, c.AgentGRE = EncapsulationGRE, true }, wire.FlagGRE, 0, Tunnel{Encapsulation: tunnel.GRE}},
		{"GRE, not advertised", true, func(c *Config) { c.Encapsulation, c.AgentMinimal = EncapsulationGRE, true }, 0, 0, Tunnel{}},
		{"GRE, advertised and refused by the home agent", true, func(c *Config) { c.Encapsulation, c.AgentGRE = EncapsulationGRE, true }, wire.FlagGRE, wire.CodeEncapsulationUnavailable, Tunnel{}},
		{"automatic, through an agent that has both", true, func(c *Config) { c.AgentMinimal, c.AgentGRE = true, true }, 0, 0, Tunnel{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := direct(t)
			if c.via {
				cfg = viaAgent(t)
				cfg.Association, cfg.ForeignAssociation = direct(t).Association, nil
			}
			c.change(&cfg)
			n := newNode(t, cfg)
			n.Register(at(0))
			asked := n.request()
			if got := flagsOf(t, asked); got&(wire.FlagMinimal|wire.FlagGRE) != c.flags {
				t.Fatalf("flags %v, want %v", got, c.flags)
			}
			if c.denial != 0 {
				n.handle(0, n.answer(asked, c.denial, nil))
				if e := event[Refused](n); !e.Retrying || e.Code != c.denial {
					t.Fatalf("%+v", e)
				}
				asked = n.request()
				if got := flagsOf(t, asked); got&(wire.FlagMinimal|wire.FlagGRE) != 0 {
					t.Fatalf("flags %v after the denial", got)
				}
			}
			n.handle(0, n.answer(asked, 0, nil))
			v := event[Accepted](n).Reply
			if v.Tunnel() != c.want || v.TunnelReason() == "" {
				t.Errorf("tunnel %+v, want %+v: %s", v.Tunnel(), c.want, v.TunnelReason())
			}
			if c.denial == 0 {
				return
			}
			n.Register(at(10 * time.Second))
			if got := flagsOf(t, n.request()); got&(wire.FlagMinimal|wire.FlagGRE) != 0 {
				t.Errorf("what was refused is asked for again: flags %v", got)
			}
		})
	}
}

func flagsOf(t *testing.T, m sent) wire.Flags {
	t.Helper()
	r, err := wire.ParseRegistrationRequest(m.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return r.Flags
}
