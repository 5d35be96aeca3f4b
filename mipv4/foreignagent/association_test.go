package foreignagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
)

// Shows: AGT-4, MIP-2 (Mobile-Foreign authentication: RFC 5944 §3.7.2.1 and §3.7.3.2, code 67).
func TestMobileForeign(t *testing.T) {
	a := association(t, 3000)
	sign := func(b []byte) []byte { return a.AppendExtension(b, wire.ExtMobileForeignAuthentication) }
	spoil := func(b []byte) []byte { b = sign(b); b[len(b)-1]++; return b }
	twice := func(b []byte) []byte { return sign(sign(b)) }
	for name, tail := range map[string]func([]byte) []byte{"missing": nil, "wrong": spoil, "twice": twice} {
		f := newFixture(t, func(c *Config) { c.MobileNodes = []Peer{{homeOut, a}} })
		r := f.request()
		if err := f.m.HandleRequest(f.now, f.arrive(r, tail)); !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: error %v", name, err)
		}
		out := f.transmits()
		if len(out) != 1 {
			t.Fatalf("%s: sent %+v", name, out)
		}
		reply, err := wire.ParseRegistrationReply(out[0].Payload)
		if err != nil || reply.Code != wire.CodeFAMobileNodeAuthentication {
			t.Fatalf("%s: %+v, %v", name, reply, err)
		}
		i := reply.Extensions.Index(wire.ExtMobileForeignAuthentication)
		if i < 0 || a.Verify(out[0].Payload, reply.Offset(i), wire.ExtMobileForeignAuthentication) != nil {
			t.Errorf("%s: the denial is not authenticated", name)
		}
	}
	f := newFixture(t, func(c *Config) { c.MobileNodes = []Peer{{homeOut, a}} })
	r := f.request()
	up := f.relayed(f.arrive(r, sign))
	if p, err := wire.ParseRegistrationRequest(up.Payload); err != nil || p.Extensions.Count(wire.ExtMobileForeignAuthentication) != 0 {
		t.Errorf("relayed %+v, %v: the extension is for the foreign agent alone", p, err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, nil)); err != nil {
		t.Fatal(err)
	}
	down := f.transmits()[0].Payload
	reply, err := wire.ParseRegistrationReply(down)
	if err != nil {
		t.Fatal(err)
	}
	last := len(reply.Extensions) - 1
	if err := a.Verify(down, reply.Offset(last), wire.ExtMobileForeignAuthentication); err != nil {
		t.Errorf("relayed reply: %v", err)
	}
}

// Shows: AGT-4, MIP-2 (Foreign-Home authentication: RFC 5944 §3.7.2.2 and §3.7.3.1, code 68).
func TestForeignHome(t *testing.T) {
	a := association(t, 2000)
	sign := func(b []byte) []byte { return a.AppendExtension(b, wire.ExtForeignHomeAuthentication) }
	with := func(c *Config) { c.HomeAgents = []Peer{{external, a}} }
	f := newFixture(t, with)
	r := f.request()
	q := f.arrive(r, nil)
	up := f.relayed(q)
	p, err := wire.ParseRegistrationRequest(up.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Verify(up.Payload, p.Offset(len(p.Extensions)-1), wire.ExtForeignHomeAuthentication); err != nil {
		t.Fatalf("relayed request: %v", err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, sign)); err != nil {
		t.Fatal(err)
	}
	if reply, err := wire.ParseRegistrationReply(f.transmits()[0].Payload); err != nil || reply.Extensions.Count(wire.ExtForeignHomeAuthentication) != 0 {
		t.Errorf("relayed reply %+v, %v: the extension is for the foreign agent alone", reply, err)
	}

	r = f.request()
	r.Lifetime = 0
	if up := f.relayed(f.arrive(r, nil)); len(up.Payload) != len(q.Payload) {
		t.Error("a deregistration got a Foreign-Home extension")
	}

	for name, tail := range map[string]func([]byte) []byte{
		"missing": nil, "twice": func(b []byte) []byte { return sign(sign(b)) },
		"wrong": func(b []byte) []byte { b = sign(b); b[len(b)-1]++; return b },
	} {
		f := newFixture(t, with)
		r := f.request()
		f.relayed(f.arrive(r, nil))
		var d *Denied
		err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, tail))
		if !errors.As(err, &d) || d.Code != wire.CodeFAHomeAgentAuthentication || !errors.Is(err, ErrAuthentication) {
			t.Errorf("%s: error %v", name, err)
		}
		if out := f.transmits(); len(out) != 1 || out[0].To != ToMobileNode || f.m.Table().Len() != 0 {
			t.Errorf("%s: sent %+v, %d visitors", name, out, f.m.Table().Len())
		}
	}
}

func TestReplyWithoutAuthentication(t *testing.T) {
	f := newFixture(t, nil)
	r := f.request()
	f.relayed(f.arrive(r, nil))
	var d *Denied
	err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, nil)[:wire.ReplyLen])
	if !errors.As(err, &d) || d.Code != wire.CodeFAPoorlyFormedReply || f.m.Table().Len() != 0 {
		t.Errorf("error %v, want code %v", err, wire.CodeFAPoorlyFormedReply)
	}
}

func FuzzMachine(f *testing.F) {
	x := newFixture(f, nil)
	r := x.request()
	f.Add(x.arrive(r, nil).Payload, x.reply(r, 1, 600, nil))
	f.Add(x.arrive(r, func(b []byte) []byte { return append(b, 130, 0) }).Payload, x.reply(r, 133, 0, nil))
	f.Fuzz(func(t *testing.T, request, reply []byte) {
		x := newFixture(t, nil)
		q := x.arrive(x.request(), nil)
		q.Payload = request
		err := x.m.HandleRequest(x.now, q)
		out := x.transmits()
		if err == nil && (len(out) != 1 || out[0].To != ToHomeAgent || len(out[0].Payload) > len(request)) {
			t.Fatalf("relayed %+v", out)
		}
		if err := x.m.HandleReply(x.now, netip.AddrPortFrom(external, 434), reply); err == nil && x.m.Table().Len() > 1 {
			t.Fatalf("%d visitors", x.m.Table().Len())
		}
		if at, ok := x.m.Deadline(); ok {
			x.now.Boot = at
			x.m.HandleTimeout(x.now)
		}
	})
}
