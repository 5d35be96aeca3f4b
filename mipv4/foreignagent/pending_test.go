package foreignagent

import (
	"errors"
	"net/netip"
	"testing"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// forger returns the station number i of one that makes link-layer addresses up.
func forger(i int) Station {
	return Station{Hardware: packet.HardwareAddr{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}}
}

// Shows: AGT-4, GDL-4 (who forges stations without end, and home agents that nobody has, fills the table, and every mobile node
// registers all the same; those that give way are denied with code 66, those that have waited longest first)
func TestForgedStations(t *testing.T) {
	const most = 64
	f := newFixture(t, func(c *Config) { c.MaxPending = most })
	var forged []*wire.RegistrationRequest
	flood := func(n int) {
		for range n {
			i := len(forged)
			r := f.request()
			r.HomeAddress, r.HomeAgent = netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}), netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
			q := f.arrive(r, nil)
			q.Station = forger(i)
			if err := f.m.HandleRequest(f.now, q); err != nil {
				t.Fatal(err)
			}
			forged = append(forged, r)
			if out := f.transmits(); len(out) != 1 && len(forged) <= most {
				t.Fatalf("request %d: sent %+v, want it relayed", i, out)
			}
		}
	}
	flood(most)
	for round := range 3 {
		mine := f.request()
		if err := f.m.HandleRequest(f.now, f.arrive(mine, nil)); err != nil {
			t.Fatal(err)
		}
		out := f.transmits()
		if len(out) != 2 || out[0].To != ToMobileNode || out[1].To != ToHomeAgent || out[1].Remote.Addr() != external {
			t.Fatalf("round %d: sent %+v, want a denial and the request", round, out)
		}
		reply, err := wire.ParseRegistrationReply(out[0].Payload)
		if first := len(forged) - most; err != nil || reply.Code != wire.CodeFAInsufficientResources || out[0].Station != forger(first) || reply.Identification != forged[first].Identification {
			t.Errorf("round %d: %+v to %v, %v; want the request that has waited longest denied", round, reply, out[0].Station, err)
		}
		flood(most - 1) // while the reply is on its way
		if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, 434), f.reply(mine, 1, 600, nil)); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		f.transmits()
		if f.m.Table().Len() != 1 || f.m.pendings != most-1 {
			t.Errorf("round %d: %d visitors, %d pending requests", round, f.m.Table().Len(), f.m.pendings)
		}
		flood(1)
	}
	f.advance(PendingTime)
	f.m.HandleTimeout(f.now)
	f.transmits()
	if f.m.pendings != 0 || len(f.m.stations) != 0 || len(f.m.registrations) != 1 {
		t.Errorf("%d pending requests of %d stations are left, %d registrations", f.m.pendings, len(f.m.stations), len(f.m.registrations))
	}
}

// Shows: AGT-4, GDL-4 (requests of another station in the name of a mobile node take nothing from it: neither they nor the home agent's
// refusals of them end its own request, and it is told alone when that gets no answer)
func TestForgedMobileNode(t *testing.T) {
	f := newFixture(t, nil)
	mine := f.request()
	f.relayed(f.arrive(mine, nil))
	var forged []*wire.RegistrationRequest
	for range 3 * PendingPerRegistration {
		r := f.request()
		q := f.arrive(r, nil)
		q.Station = neighbour
		f.relayed(q)
		forged = append(forged, r)
	}
	home := netip.AddrPortFrom(external, 434)
	if err := f.m.HandleReply(f.now, home, f.reply(forged[0], wire.CodeAccepted, 600, nil)); !errors.Is(err, ErrNoPending) {
		t.Errorf("a forged request that had to give way to the forger's own: %v", err)
	}
	if err := f.m.HandleReply(f.now, home, f.reply(forged[len(forged)-2], wire.CodeMobileNodeAuthentication, 0, nil)); err != nil {
		t.Fatal(err)
	}
	if out := f.transmits(); len(out) != 1 || out[0].Station != neighbour {
		t.Errorf("sent %+v, want the refusal to the forger", out)
	}
	if n := f.m.stations[neighbour]; n != 1 {
		t.Errorf("%d requests of the forger are pending, want the one behind the refused one", n)
	}
	if err := f.m.HandleReply(f.now, home, f.reply(mine, wire.CodeAccepted, 600, nil)); err != nil {
		t.Fatal(err)
	}
	if v := f.m.Table().Reverse(f.now.Boot, homeOut, laptop); v == nil {
		t.Error("the mobile node is no visitor")
	}
	f.transmits()

	again := f.request()
	f.relayed(f.arrive(again, nil))
	q := f.arrive(f.request(), nil)
	q.Station = neighbour
	f.relayed(q)
	f.m.HandleUnreachable(f.now, external, 1)
	told := map[Station]int{}
	for _, x := range f.transmits() {
		told[x.Station]++
	}
	if len(told) != 2 || told[laptop] != 1 || told[neighbour] != 1 {
		t.Errorf("told that the home agent cannot be reached: %v, want each of both once", told)
	}
	f.relayed(f.arrive(f.request(), nil))
	q = f.arrive(f.request(), nil)
	q.Station = neighbour
	f.relayed(q)
	f.advance(PendingTime)
	f.m.HandleTimeout(f.now)
	told = map[Station]int{}
	for _, x := range f.transmits() {
		told[x.Station]++
	}
	if len(told) != 2 || told[laptop] != 1 || told[neighbour] != 1 {
		t.Errorf("told that there was no reply: %v, want each of both once", told)
	}
}
