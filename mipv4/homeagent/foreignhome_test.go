package homeagent

import (
	"net/netip"
	"testing"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
)

// Shows: AGT-1 (Foreign-Home authentication: RFC 5944 §3.8.2.1 a, c, d and §3.8.3.3).
func TestForeignHome(t *testing.T) {
	from := netip.AddrPortFrom(faAddr, 434)
	fa := association(t, 2000)
	f := newFixture(t, func(c *Config) { c.ForeignAgents = []ForeignAgent{{Address: faAddr, Association: fa}} })
	relayed := func(a *auth.SecurityAssociation, lifetime uint16, tail func([]byte) []byte) []byte {
		r := f.request()
		r.Flags, r.CareOfAddress, r.Lifetime = wire.FlagReverseTunnel, faAddr, lifetime
		return f.sign(r, a, tail)
	}
	sign := func(b []byte) []byte { return fa.AppendExtension(b, wire.ExtForeignHomeAuthentication) }
	spoil := func(b []byte) []byte { b = sign(b); b[len(b)-1]++; return b }

	reply, raw, err := f.send(relayed(f.mn, 600, sign), from)
	if err != nil || reply.Code != 1 {
		t.Fatalf("%+v, %v", reply, err)
	}
	last := len(reply.Extensions) - 1
	if reply.Extensions[last].Type != wire.ExtForeignHomeAuthentication {
		t.Fatalf("the reply ends with %v", reply.Extensions[last].Type)
	}
	if err := fa.Verify(raw, reply.Offset(last), wire.ExtForeignHomeAuthentication); err != nil {
		t.Error(err)
	}
	f.must(relayed(f.mn, 600, nil), from, wire.CodeForeignAgentAuthentication, f.mn)
	f.must(relayed(f.mn, 600, spoil), from, wire.CodeForeignAgentAuthentication, f.mn)
	f.must(relayed(f.mn, 600, func(b []byte) []byte { return sign(sign(b)) }), from, wire.CodeForeignAgentAuthentication, f.mn)
	f.must(relayed(f.mn, 0, nil), from, 1, f.mn) // not needed to deregister

	f.silent(relayed(association(t, 999), 600, spoil), from, ErrForeignHome)
	f.must(relayed(association(t, 999), 600, sign), from, wire.CodeMobileNodeAuthentication, f.mn)

	r := f.request()
	f.silent(f.sign(r, f.mn, sign), direct(), ErrForeignHome) // no association with that source
}
