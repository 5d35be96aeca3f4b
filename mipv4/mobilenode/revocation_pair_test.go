package mobilenode_test

import (
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
)

// The administrator of our home agent takes the binding back: our mobile node hears of it and has another one within a second, and
// the home agent is told that it has been heard.
//
// Shows: MIP-9, AGT-1
func TestPairRevocation(t *testing.T) {
	for _, from := range []netip.AddrPort{plain, natted} {
		p := newPair(t, mobilenode.EncapsulationNAT, "a key of the home agent", nil)
		cfg := p.mn.Config()
		cfg.Revocation = true
		var err error
		if p.mn, err = mobilenode.NewMachine(cfg, mathrand.NewChaCha8([32]byte{9})); err != nil {
			t.Fatal(err)
		}
		p.source = from
		p.mn.Register(p.now(0, 0))
		p.run(10 * time.Second)
		last[mobilenode.Accepted](p)

		now := p.now(10*time.Second, 0)
		if n := p.ha.Drop(now, home); n != 1 {
			t.Fatalf("%d bindings dropped", n)
		}
		v, ok := p.ha.PollTransmit()
		if !ok || v.To != from {
			t.Fatalf("revocation to %v, want %v", v.To, from)
		}
		if err := p.mn.HandleReply(now, v.Payload); err != nil {
			t.Fatal(err)
		}
		if e, ok := p.mn.PollEvent(); !ok || e != (mobilenode.Event(mobilenode.Revoked{})) {
			t.Fatalf("event %+v", e)
		}
		k, ok := p.mn.PollTransmit()
		if typ, _ := wire.TypeOf(k.Payload); !ok || typ != wire.TypeRevocationAcknowledgment {
			t.Fatalf("sent %x", k.Payload)
		}
		if err := p.ha.HandleRevocation(now, from, k.Payload); err != nil {
			t.Fatal(err)
		}
		q, ok := p.mn.PollTransmit()
		if !ok {
			t.Fatal("the mobile node does not register again")
		}
		if err := p.ha.HandleRequest(now, homeagent.Request{Source: from, Payload: q.Payload}); err != nil {
			t.Fatal(err)
		}
		a, _ := p.ha.PollTransmit()
		if err := p.mn.HandleReply(now, a.Payload); err != nil {
			t.Fatal(err)
		}
		if p.ha.Table().Route(home) == nil || p.mn.State() != mobilenode.StateRegistered {
			t.Errorf("state %v", p.mn.State())
		}
		if _, ok := p.ha.PollTransmit(); ok {
			t.Error("the home agent goes on revoking")
		}
	}
}
