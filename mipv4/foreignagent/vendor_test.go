package foreignagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
)

// Critical vendor extensions for the foreign agent, which knows none, and those of a reply that it passes on: the mobile node is
// told. One that the mobile node has for its home agent is none of the foreign agent's business.
//
// Shows: AGT-4, MEC-D (RFC 3115 §2.3, codes 100 and 101)
func TestCriticalVendorExtensions(t *testing.T) {
	critical := func(p []byte) []byte {
		p, err := wire.VendorCritical{Vendor: 32473, Type: 1, Value: make([]byte, 4)}.Extension().Append(p)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	f := newFixture(t, nil)
	f.denied(f.arrive(f.request(), critical), wire.CodeFAVendorFromMobileNode)

	f = newFixture(t, nil)
	r := f.request()
	r.Extensions = wire.Extensions{wire.VendorCritical{Vendor: 32473, Type: 1}.Extension()}
	f.relayed(f.arrive(r, nil))
	var denied *Denied
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, 1, 600, critical)); !errors.As(err, &denied) || denied.Code != wire.CodeFAVendorFromHomeAgent {
		t.Fatalf("%v", err)
	}
	out := f.transmits()
	if len(out) != 1 || out[0].To == ToHomeAgent {
		t.Fatalf("sent %+v", out)
	}
	if reply, err := wire.ParseRegistrationReply(out[0].Payload); err != nil || reply.Code != wire.CodeFAVendorFromHomeAgent {
		t.Errorf("%+v, %v", reply, err)
	}
}
