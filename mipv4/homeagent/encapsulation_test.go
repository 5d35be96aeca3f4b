package homeagent

import (
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// Shows: MIP-6, AGT-1 (M and G bits, RFC 5944 §3.3: granted where offered, code 139 elsewhere; whose packets the tunnel admits; what
// a restart makes of it)
func TestEncapsulations(t *testing.T) {
	minimal, gre := tunnel.Offered{Minimal: true}, tunnel.Offered{GRE: true}
	both := tunnel.Offered{Minimal: true, GRE: true, Options: tunnel.GREOptions{Keyed: true, Key: 9}}
	end := netip.AddrPortFrom(careOf, 0)
	for _, c := range []struct {
		name    string
		offered tunnel.Offered
		flags   wire.Flags
		code    wire.Code
		want    tunnel.Encapsulation
		admits  []tunnel.Encapsulation
	}{
		{"nothing asked", both, 0, 1, tunnel.IPIP, []tunnel.Encapsulation{tunnel.IPIP}},
		{"minimal", minimal, wire.FlagMinimal, 1, tunnel.Minimal, []tunnel.Encapsulation{tunnel.Minimal, tunnel.IPIP}},
		{"GRE", gre, wire.FlagGRE, 1, tunnel.GRE, []tunnel.Encapsulation{tunnel.GRE}},
		{"both", both, wire.FlagMinimal | wire.FlagGRE, 1, tunnel.Minimal, []tunnel.Encapsulation{tunnel.Minimal, tunnel.IPIP}},
		{"both, one offered", gre, wire.FlagMinimal | wire.FlagGRE, 1, tunnel.GRE, []tunnel.Encapsulation{tunnel.GRE}},
		{"minimal, not offered", gre, wire.FlagMinimal, wire.CodeEncapsulationUnavailable, 0, nil},
		{"GRE, not offered", minimal, wire.FlagGRE, wire.CodeEncapsulationUnavailable, 0, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(cfg *Config) { cfg.Encapsulations, cfg.Durable = c.offered, true })
			r := f.request()
			r.Flags |= c.flags
			f.must(f.sign(r, f.mn, nil), direct(), c.code, f.mn)
			route := f.m.Table().Route(home)
			if c.admits == nil {
				if route != nil {
					t.Errorf("denied, but there is %+v", route)
				}
				return
			}
			if got := route.Tunnels[0]; got.Encapsulation != c.want || got.Remote != end {
				t.Fatalf("tunnel %+v, want %v to %v", got, c.want, end)
			}
			for e := range tunnel.Encapsulation(tunnel.NumEncapsulations) {
				admits := false
				for _, a := range c.admits {
					admits = admits || a == e
				}
				if got := route.Admits(e, end) != nil; got != admits {
					t.Errorf("packets of %v are admitted: %t, want %t", e, got, admits)
				}
			}
			for _, e := range c.admits { // errors about each of them are the tunnel's
				if f.m.Table().State(e, end) != route.Tunnels[0].State {
					t.Errorf("errors about %v are not taken for the tunnel's", e)
				}
			}
			stored := f.records()
			after := f.restart(time.Second, stored, func(cfg *Config) { cfg.Encapsulations = c.offered })
			if again := after.m.Table().Route(home); again == nil || again.Tunnels[0].Encapsulation != c.want {
				t.Errorf("after a restart %+v", again)
			}
			without := f.restart(time.Second, stored, func(cfg *Config) { cfg.Encapsulations = tunnel.Offered{} })
			if again := without.m.Table().Route(home); (again != nil) != (c.want == tunnel.IPIP) {
				t.Errorf("after a restart without the encapsulation %+v", again)
			}
		})
	}
}
