package mobilenode

import (
	"errors"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// Shows: MOD-home, MIP-1 (at home a registration is a deregistration of all bindings, again and again, and is never renewed by
// itself).
func TestAtHome(t *testing.T) {
	cfg := direct(t)
	cfg.AtHome, cfg.CareOfAddress, cfg.Simultaneous = true, homeAddress, true
	cfg.Encapsulation = EncapsulationAuto
	m := newNode(t, cfg)
	for _, d := range []time.Duration{0, 30 * time.Second} {
		m.Register(at(d))
		q, ok := m.PollTransmit()
		if !ok {
			t.Fatal("nothing is sent")
		}
		r, err := wire.ParseRegistrationRequest(q.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Deregistration() || !r.DeregistersAll() || r.Flags != 0 || r.HomeAddress != homeAddress || r.CareOfAddress != homeAddress || len(r.Extensions) != 1 {
			t.Errorf("request %+v", r)
		}
		answer := r.Reply(wire.CodeAccepted, 0)
		answer.HomeAgent = homeAgent
		answer.Extensions = wire.Extensions{wire.TrustedNetworksConfigured()}
		b, err := answer.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.HandleReply(at(d+time.Millisecond), m.peer.AppendExtension(b, wire.ExtMobileHomeAuthentication)); err != nil {
			t.Fatal(err)
		}
		e, _ := m.PollEvent()
		a, ok := e.(Accepted)
		if !ok || a.Reply.Lifetime() != 0 || !a.Reply.TrustedNetwork() || a.Reply.CareOfAddress() != homeAddress || a.Reply.SentAt() != boot(d) || a.Reply.Origin() != origin {
			t.Errorf("event %+v", e)
		}
		if m.Stop(at(d + time.Millisecond)); m.State() != StateRegistered {
			t.Errorf("state %v", m.State())
		}
		if due, armed := m.Deadline(); armed {
			t.Errorf("something is due at %v", due)
		}
	}
}

// At home through a foreign agent, or with another care-of address, is a contradiction.
func TestAtHomeConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"care-of address": func(*Config) {},
		"foreign agent":   func(c *Config) { c.CareOfAddress, c.ForeignAgent = homeAddress, foreignAgent },
	} {
		cfg := direct(t)
		cfg.AtHome = true
		change(&cfg)
		if _, err := NewMachine(cfg, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
