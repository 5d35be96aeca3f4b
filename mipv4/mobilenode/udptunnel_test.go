package mobilenode

import (
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// offered returns what UDP tunnel r asks for: "forced", "asked" or "none".
func offered(t *testing.T, r sent) string {
	t.Helper()
	i := r.Extensions.Index(wire.ExtUDPTunnelRequest)
	if i < 0 {
		return "none"
	}
	if i > r.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		t.Error("the UDP Tunnel Request stands behind the authenticator")
	}
	u, err := wire.ParseUDPTunnelRequest(r.Extensions[i])
	if err != nil || u.Encapsulation != 4 || u.ThroughForeignAgent {
		t.Errorf("UDP Tunnel Request %+v, %v", u, err)
	}
	if !r.CoLocated() {
		t.Error("UDP tunnelling is asked for without the D bit (RFC 3519 §3.1.5)")
	}
	if u.Force {
		return "forced"
	}
	return "asked"
}

func withEncapsulation(t *testing.T, e Encapsulation) *node {
	c := direct(t)
	c.Encapsulation = e
	return newNode(t, c)
}

// Shows: MIP-7
func TestUDPTunnel(t *testing.T) {
	for _, c := range []struct {
		name string
		e    Encapsulation
		ext  *wire.UDPTunnelReply
		want Tunnel
		next string // what the renewal asks for
	}{
		{"assent", EncapsulationAuto, &wire.UDPTunnelReply{Forced: true, KeepAlive: 25 * time.Second}, Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 25 * time.Second}, "forced"},
		{"assent with a code of its own", EncapsulationAuto, &wire.UDPTunnelReply{Code: 63}, Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, "forced"},
		{"keepalive left to us", EncapsulationUDP, &wire.UDPTunnelReply{}, Tunnel{Encapsulation: tunnel.UDP, KeepAlive: 110 * time.Second}, "forced"},
		{"declined", EncapsulationAuto, &wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined, KeepAlive: time.Second}, Tunnel{}, "forced"},
		{"not understood", EncapsulationAuto, nil, Tunnel{}, "forced"},
		{"never asked, still assented", EncapsulationIPIP, &wire.UDPTunnelReply{KeepAlive: time.Second}, Tunnel{}, "none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := withEncapsulation(t, c.e)
			n.Register(at(0))
			r := n.request()
			want := "forced"
			if c.e == EncapsulationIPIP {
				want = "none"
			}
			if got := offered(t, r); got != want {
				t.Errorf("UDP tunnelling is %s, want %s", got, want)
			}
			n.handle(0, n.answer(r, 0, func(m *wire.RegistrationReply) {
				if c.ext != nil {
					withUDP(*c.ext)(m)
				}
			}))
			v := event[Accepted](n).Reply
			if v.Tunnel() != c.want {
				t.Errorf("tunnel %+v, want %+v", v.Tunnel(), c.want)
			}
			if got, want := v.NAT(), c.e != EncapsulationIPIP && c.ext != nil && c.ext.Assents() && !c.ext.Forced; got != want {
				t.Errorf("NAT %v, want %v", got, want)
			}
			n.Register(at(time.Minute))
			if got := offered(t, n.request()); got != c.next {
				t.Errorf("UDP tunnelling is %s the next time, want %s", got, c.next)
			}
		})
	}
}

// An assent behind the authenticator is not the home agent's word.
func TestUDPTunnelReplyNotCovered(t *testing.T) {
	n := withEncapsulation(t, EncapsulationAuto)
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), 0, nil, wire.UDPTunnelReply{}.Extension()))
	if v := event[Accepted](n).Reply; v.Tunnel().UDP() {
		t.Errorf("tunnel %+v", v.Tunnel())
	}
}

// Refusals of UDP tunnelling are stepped down from, at once. A home agent that then refuses altogether has another reason:
// nothing is remembered.
//
// Shows: MIP-7, MIP-4 (encapsulation adapted)
func TestUDPTunnelRefused(t *testing.T) {
	for _, c := range []struct {
		code  wire.Code
		steps []string
	}{
		{wire.CodeProhibited, []string{"forced", "asked", "none"}},
		{wire.CodeReasonUnspecified, []string{"forced", "asked", "none"}},
		{wire.CodePoorlyFormedRequest, []string{"forced", "none"}},
		{wire.CodeUDPEncapsulationUnavailable, []string{"forced", "none"}},
	} {
		n := withEncapsulation(t, EncapsulationAuto)
		n.Register(at(0))
		r := n.request()
		for i, want := range c.steps {
			if got := offered(t, r); got != want {
				t.Errorf("code %v: step %d is %s, want %s", c.code, i, got, want)
			}
			last := i == len(c.steps)-1
			n.handle(0, n.answer(r, c.code, nil))
			if e := event[Refused](n); e.Retrying == last || e.Code != c.code {
				t.Errorf("code %v: step %d: event %+v", c.code, i, e)
			}
			if !last {
				r = n.request()
			}
		}
		n.none("refused for good")
		if n.State() != StateIdle {
			t.Errorf("code %v: state %v", c.code, n.State())
		}
		n.Register(at(time.Minute))
		if got := offered(t, n.request()); got != "forced" {
			t.Errorf("code %v: UDP tunnelling is %s the next time", c.code, got)
		}
	}
}

// A home agent that allows UDP tunnelling only where it sees a NAT.
//
// Shows: MIP-7
func TestUDPTunnelOnlyUnforced(t *testing.T) {
	n := withEncapsulation(t, EncapsulationAuto)
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), wire.CodeProhibited, nil))
	n.all()
	n.handle(0, n.answer(n.request(), 0, withUDP(wire.UDPTunnelReply{KeepAlive: time.Minute})))
	if v := event[Accepted](n).Reply; v.Tunnel() != (Tunnel{Encapsulation: tunnel.UDP, KeepAlive: time.Minute}) {
		t.Errorf("tunnel %+v", v.Tunnel())
	}
}

// With UDP tunnelling demanded, nothing else is asked for or taken.
func TestUDPTunnelDemanded(t *testing.T) {
	n := withEncapsulation(t, EncapsulationUDP)
	n.Register(at(0))
	n.handle(0, n.answer(n.request(), wire.CodeProhibited, nil))
	if e := event[Refused](n); e.Retrying {
		t.Errorf("event %+v", e)
	}
	n.none("refused")

	for _, change := range []func(*wire.RegistrationReply){nil, withUDP(wire.UDPTunnelReply{Code: wire.UDPTunnelDeclined})} {
		n := withEncapsulation(t, EncapsulationUDP)
		n.Register(at(0))
		n.handle(0, n.answer(n.request(), 0, change))
		if e := event[Refused](n); e.Retrying || e.Code != 0 || e.Err == nil {
			t.Errorf("event %+v", e)
		}
		r := n.request() // a binding that nobody uses is taken back
		if r.Lifetime != 0 || n.State() != StateDeregistering {
			t.Errorf("lifetime %d, state %v", r.Lifetime, n.State())
		}
		n.handle(0, n.answer(r, 0, nil))
		event[Deregistered](n)
	}
}

// Deregistration offers what registration does, so that it passes the same NAT; deregistration of all does not.
func TestUDPTunnelDeregistration(t *testing.T) {
	n := withEncapsulation(t, EncapsulationAuto)
	n.registered(0, withUDP(wire.UDPTunnelReply{}))
	n.Deregister(at(time.Second))
	if got := offered(t, n.request()); got != "forced" {
		t.Errorf("UDP tunnelling is %s", got)
	}
	n.DeregisterAll(at(2 * time.Second))
	if got := offered(t, n.request()); got != "none" {
		t.Errorf("UDP tunnelling is %s", got)
	}
}
