package homeagent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-7, AGT-1 (RFC 3519 §4.6: NAT detection, F and R, refusals, encapsulation).
func TestUDPTunnel(t *testing.T) {
	const declined, accepted, absent = 64, 0, -1
	ipip := netip.AddrPortFrom(careOf, 0)
	for _, c := range []struct {
		name   string
		config func(*Config)
		ask    wire.UDPTunnelRequest
		flags  wire.Flags
		from   netip.AddrPort
		want   wire.Code
		reply  int
		remote netip.AddrPort
		forced bool
	}{
		{"nat", nil, wire.UDPTunnelRequest{}, 0, nat, 1, accepted, nat, false},
		{"nat, ip asked", nil, wire.UDPTunnelRequest{Encapsulation: 4}, wire.FlagGRE, nat, 1, accepted, nat, false},
		{"no nat", nil, wire.UDPTunnelRequest{}, 0, direct(), 1, declined, ipip, false},
		{"forced", nil, wire.UDPTunnelRequest{Force: true}, 0, direct(), 1, accepted, direct(), true},
		{"forced behind nat", nil, wire.UDPTunnelRequest{Force: true}, 0, nat, 1, accepted, nat, false},
		{"through fa", nil, wire.UDPTunnelRequest{ThroughForeignAgent: true}, 0, nat, 1, accepted, netip.AddrPortFrom(nat.Addr(), 0), false},
		{"nat, udp off", func(c *Config) { c.NoUDPTunnel = true }, wire.UDPTunnelRequest{}, 0, nat, wire.CodeProhibited, absent, netip.AddrPort{}, false},
		{"no nat, udp off", func(c *Config) { c.NoUDPTunnel = true }, wire.UDPTunnelRequest{}, 0, direct(), 1, declined, ipip, false},
		{"force not allowed", func(c *Config) { c.NoForcedUDPTunnel = true }, wire.UDPTunnelRequest{Force: true}, 0, direct(), wire.CodeProhibited, absent, netip.AddrPort{}, false},
		{"force not allowed, nat", func(c *Config) { c.NoForcedUDPTunnel = true }, wire.UDPTunnelRequest{Force: true}, 0, nat, 1, accepted, nat, false},
		{"gre in udp", nil, wire.UDPTunnelRequest{Encapsulation: 47}, 0, nat, wire.CodeUDPEncapsulationUnavailable, absent, netip.AddrPort{}, false},
		{"minimal by flag", nil, wire.UDPTunnelRequest{}, wire.FlagMinimal, nat, wire.CodeUDPEncapsulationUnavailable, absent, netip.AddrPort{}, false},
		{"gre, no nat", nil, wire.UDPTunnelRequest{}, wire.FlagGRE, direct(), wire.CodeEncapsulationUnavailable, absent, netip.AddrPort{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(cfg *Config) {
				cfg.KeepAlive = 45 * time.Second
				if c.config != nil {
					c.config(cfg)
				}
			})
			r := f.request()
			r.Flags |= c.flags
			r.Extensions = wire.Extensions{c.ask.Extension()}
			reply := f.must(f.sign(r, f.mn, nil), c.from, c.want, f.mn)
			i := reply.Extensions.Index(wire.ExtUDPTunnelReply)
			if c.reply == absent {
				if i >= 0 || f.m.Table().Route(home) != nil {
					t.Errorf("denied, but %+v", reply.Extensions)
				}
				return
			}
			if i < 0 || i > reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
				t.Fatalf("UDP Tunnel Reply at %d", i)
			}
			u, err := wire.ParseUDPTunnelReply(reply.Extensions[i])
			if err != nil {
				t.Fatal(err)
			}
			if int(u.Code) != c.reply || u.Forced != c.forced || c.reply == accepted && u.KeepAlive != 45*time.Second {
				t.Errorf("%+v", u)
			}
			got := f.m.Table().Route(home).Tunnels[0]
			if got.Remote != c.remote || (got.Encapsulation == tunnel.UDP) != (c.reply == accepted) {
				t.Errorf("tunnel %v to %v, want %v", got.Encapsulation, got.Remote, c.remote)
			}
		})
	}
}

// Shows: MIP-7 (RFC 3519 §4.6.1: the extension's place and the D bit; §3.1.3: Reserved 3).
func TestUDPTunnelPlace(t *testing.T) {
	ext := wire.UDPTunnelRequest{}.Extension()
	f := newFixture(t, nil)
	r := f.request()
	r.Flags &^= wire.FlagDecapsulation
	r.Extensions = wire.Extensions{ext}
	f.must(f.sign(r, f.mn, nil), nat, wire.CodePoorlyFormedRequest, f.mn)

	behind := func(b []byte) []byte { return append(append(b, uint8(ext.Type), 6), ext.Data...) }
	f.must(f.sign(f.request(), f.mn, behind), nat, wire.CodePoorlyFormedRequest, f.mn)

	// A foreign agent behind a NAT puts it behind, and the answer stands behind too.
	r = f.request()
	r.Flags, r.CareOfAddress = wire.FlagReverseTunnel, faAddr
	reply := f.must(f.sign(r, f.mn, behind), nat, 1, f.mn)
	if i := reply.Extensions.Index(wire.ExtUDPTunnelReply); i < reply.Extensions.Index(wire.ExtMobileHomeAuthentication) {
		t.Errorf("UDP Tunnel Reply for a foreign agent at %d of %+v", i, reply.Extensions)
	}
	if got := f.m.Table().Route(home).Tunnels[0]; got.Encapsulation != tunnel.UDP || got.Remote != nat {
		t.Errorf("tunnel %+v", got)
	}

	// With Reserved 3 set it is skipped: without a NAT that makes a plain registration.
	ext.Data[5] = 1
	r = f.request()
	r.Extensions = wire.Extensions{ext}
	reply = f.must(f.sign(r, f.mn, nil), direct(), 1, f.mn)
	if reply.Extensions.Index(wire.ExtUDPTunnelReply) >= 0 {
		t.Error("an extension that is not understood was answered")
	}
}

// Shows: MIP-7 (RFC 3519 §4.6 and §4.11: with the R flag the port is learnt from the first keepalive, the address not).
func TestHalfBound(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	r.Extensions = wire.Extensions{wire.UDPTunnelRequest{ThroughForeignAgent: true}.Extension()}
	f.must(f.sign(r, f.mn, nil), nat, 1, f.mn)
	route := f.m.Table().Route(home)
	if !route.Tunnels[0].HalfBound() {
		t.Fatal("the tunnel is not half bound")
	}
	at := netip.AddrPortFrom(nat.Addr(), 7777)
	if route.Admits(tunnel.UDP, at) == nil || route.Admits(tunnel.UDP, netip.MustParseAddrPort("192.0.2.31:7777")) != nil {
		t.Error("half bound tunnels admit any port of the address alone")
	}
	f.m.HandleKeepalive(f.now, home, netip.MustParseAddrPort("192.0.2.31:7777"))
	f.m.HandleKeepalive(f.now, home, at)
	f.m.HandleKeepalive(f.now, home, netip.AddrPortFrom(nat.Addr(), 8888)) // bound already
	if got := f.m.Table().Route(home).Tunnels[0].Remote; got != at {
		t.Fatalf("bound to %v, want %v", got, at)
	}
	r = f.request()
	r.Extensions = wire.Extensions{wire.UDPTunnelRequest{ThroughForeignAgent: true}.Extension()}
	f.must(f.sign(r, f.mn, nil), nat, 1, f.mn)
	if got := f.m.Table().Route(home).Tunnels[0].Remote; got != at {
		t.Errorf("a renewal forgot the port: %v", got)
	}
}

// Shows: MIP-7 (a NAT that maps anew: a new registration moves the tunnel).
func TestNATRebinding(t *testing.T) {
	f := newFixture(t, nil)
	for _, from := range []netip.AddrPort{nat, netip.AddrPortFrom(nat.Addr(), 5000)} {
		r := f.request()
		r.Extensions = wire.Extensions{wire.UDPTunnelRequest{}.Extension()}
		f.must(f.sign(r, f.mn, nil), from, 1, f.mn)
		route := f.m.Table().Route(home)
		if len(route.Tunnels) != 1 || route.Tunnels[0].Remote != from {
			t.Errorf("tunnels %+v, want one to %v", route.Tunnels, from)
		}
	}
}
