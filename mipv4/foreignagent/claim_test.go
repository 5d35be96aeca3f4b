package foreignagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
)

// A neighbour that claims a visitor's home address takes nothing away from it: neither by asking, whatever the home agent says to it,
// nor by packets, nor with a reply that it makes up.
//
// Shows: AGT-4 (a visitor that claims another's address; visitors are told apart by their link-layer addresses alone)
func TestClaimedAddress(t *testing.T) {
	f := newFixture(t, nil)
	f.register(f.request(), nil)
	f.events()
	mine := f.m.Table().Deliver(homeOut, external)
	if mine == nil || mine.Station != laptop {
		t.Fatalf("visitor %+v", mine)
	}
	r := f.request()
	q := f.arrive(r, nil)
	q.Station, q.Payload = neighbour, append([]byte(nil), q.Payload...)
	q.Payload[len(q.Payload)-1] ^= 1 // it has not got the key
	f.relayed(q)
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(internal, 434), f.reply(r, wire.CodeAccepted, 600, nil)); !errors.Is(err, ErrNoPending) {
		t.Errorf("a reply that another host has made up: %v", err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(r, wire.CodeMobileNodeAuthentication, 0, nil)); err != nil {
		t.Fatal(err)
	}
	out := f.transmits()
	if len(out) != 1 || out[0].Station != neighbour {
		t.Errorf("the denial goes to %+v", out)
	}
	// A deregistration without the key is no better.
	d := f.request()
	d.Lifetime = 0
	q = f.arrive(d, nil)
	q.Station = neighbour
	f.relayed(q)
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(d, wire.CodeMobileNodeAuthentication, 0, nil)); err != nil {
		t.Fatal(err)
	}
	f.transmits()
	if got := f.m.Table().Deliver(homeOut, external); got != mine || f.m.Table().Len() != 1 || len(f.events()) != 0 {
		t.Errorf("visitor %+v", got)
	}
	if f.m.Table().Reverse(f.now.Boot, homeOut, neighbour) != nil || f.m.Table().Reverse(f.now.Boot, homeOut, laptop) != mine {
		t.Error("the neighbour's packets go into the visitor's tunnel")
	}
}
