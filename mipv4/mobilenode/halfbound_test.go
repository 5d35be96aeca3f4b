package mobilenode

import (
	"errors"
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// aside is a registration of a co-located care-of address through a foreign agent, whose U bit is set or not.
func aside(t *testing.T, e Encapsulation, u bool) Config {
	c := viaAgent(t)
	c.CareOfAddress, c.CoLocated, c.AgentUDPTunnel, c.Encapsulation = careOf, true, u, e
	return c
}

// tunnelRequest returns the UDP Tunnel Request of r, which stands before the authenticator, and false without one.
func tunnelRequest(t *testing.T, r sent) (wire.UDPTunnelRequest, bool) {
	t.Helper()
	i := r.Extensions.Index(wire.ExtUDPTunnelRequest)
	if i < 0 {
		return wire.UDPTunnelRequest{}, false
	}
	if i > r.Extensions.Index(wire.ExtMobileHomeAuthentication) || !r.CoLocated() {
		t.Errorf("UDP Tunnel Request at %d of %+v, flags %v", i, r.Extensions, r.Flags)
	}
	u, err := wire.ParseUDPTunnelRequest(r.Extensions[i])
	if err != nil {
		t.Error(err)
	}
	return u, true
}

// Shows: MIP-7 (RFC 3519 §4.4: a co-located care-of address through a foreign agent; with its U bit the R flag, without it no UDP
// Tunnel Request, and neither with the agent's own care-of address)
func TestHalfBoundRequest(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  Config
		want bool
	}{
		{"automatic", aside(t, EncapsulationAuto, true), true},
		{"demanded", aside(t, EncapsulationUDP, true), true},
		{"where there is a NAT", aside(t, EncapsulationNAT, true), true},
		{"IP-in-IP", aside(t, EncapsulationIPIP, true), false},
		{"without U", aside(t, EncapsulationAuto, false), false},
		{"the agent's care-of address", func() Config {
			c := viaAgent(t)
			c.Encapsulation, c.AgentUDPTunnel = EncapsulationAuto, true
			return c
		}(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t, c.cfg)
			n.Register(at(0))
			r := n.request()
			u, asked := tunnelRequest(t, r)
			if asked != c.want || asked && u != (wire.UDPTunnelRequest{ThroughForeignAgent: true, Encapsulation: 4}) {
				t.Fatalf("asked for: %t, %+v", asked, u)
			}
			if r.To.Addr() != foreignAgent || r.TTL != 255 {
				t.Errorf("sent to %v with TTL %d", r.To, r.TTL)
			}
			n.handle(0, n.answer(r, 0, withUDP(wire.UDPTunnelReply{KeepAlive: 25 * time.Second})))
			v := event[Accepted](n).Reply
			want := Tunnel{}
			if c.want {
				want = Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 25 * time.Second, HalfBound: true}
			}
			if v.Tunnel() != want || v.NAT() || v.TunnelReason() == "" {
				t.Errorf("tunnel %+v, want %+v, NAT %t: %s", v.Tunnel(), want, v.NAT(), v.TunnelReason())
			}
			n.Deregister(at(time.Minute))
			if u, asked := tunnelRequest(t, n.request()); asked != c.want || u.ThroughForeignAgent != c.want {
				t.Errorf("the deregistration asks: %t, %+v", asked, u)
			}
		})
	}
	if _, err := NewMachine(aside(t, EncapsulationUDP, false), nil); !errors.Is(err, ErrConfig) {
		t.Errorf("UDP tunnelling demanded without U: %v", err)
	}
}

// A home agent that grants no UDP tunnel: declined, skipped, or refused, after which none is asked for.
//
// Shows: MIP-7
func TestHalfBoundNotGranted(t *testing.T) {
	for name, change := range map[string]func(*wire.RegistrationReply){"declined": withUDP(wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined}), "skipped": nil} {
		n := newNode(t, aside(t, EncapsulationAuto, true))
		if v := n.registered(0, change); v.Tunnel() != (Tunnel{}) || v.TunnelReason() == "" {
			t.Errorf("%s: tunnel %+v: %s", name, v.Tunnel(), v.TunnelReason())
		}
	}
	n := newNode(t, aside(t, EncapsulationAuto, true))
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), wire.CodeProhibited, nil))
	if e := event[Refused](n); !e.Retrying {
		t.Fatalf("%+v", e)
	}
	r := n.request()
	if u, asked := tunnelRequest(t, r); asked {
		t.Errorf("asked again: %+v", u)
	}
	n.handle(0, n.answer(r, 0, nil))
	if v := event[Accepted](n).Reply; v.Tunnel() != (Tunnel{}) {
		t.Errorf("tunnel %+v", v.Tunnel())
	}
}

// The way of the registration is not that of the data: TNC proves nothing then, as it does through an agent that is the tunnel's end.
//
// Shows: DET-3
func TestNoProofAside(t *testing.T) {
	for _, u := range []bool{false, true} {
		if v := newNode(t, aside(t, EncapsulationAuto, u)).registered(0, withTNC); v.TrustedNetwork() {
			t.Errorf("U %t: a proof for a way that no request has taken", u)
		}
	}
	if v := newNode(t, viaAgent(t)).registered(0, withTNC); !v.TrustedNetwork() {
		t.Error("no proof through the agent's own care-of address")
	}
}
