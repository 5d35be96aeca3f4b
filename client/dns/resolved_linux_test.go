package dns

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"mipvpn/detect/resolve/bustest"
	"mipvpn/detect/resolve/query"
)

// fakeLink is a link that only counts.
type fakeLink struct {
	index       int
	there, fail bool
}

func (f *fakeLink) Make(netip.Addr) (int, error) {
	if f.fail {
		return 0, errors.New("no link")
	}
	f.there = true
	return f.index, nil
}

func (f *fakeLink) Find() (int, error) {
	if !f.there {
		return 0, nil
	}
	return f.index, nil
}

func (f *fakeLink) Remove() error {
	f.there = false
	return nil
}

var sameAddrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Shows: HST-3 (systemd-resolved over a real bus: the server before the domains, the domains that other links' search lists
// make, taken back whole)
func TestResolved(t *testing.T) {
	bus := bustest.Start(t)
	l := &fakeLink{index: 7}
	r := &Resolved{Bus: bus.Connect, Link: l}
	p := plan()
	p.Domains, p.Reverse = query.Domains{"corp.example."}, query.Domains{"0.10.in-addr.arpa."}
	if _, err := r.Set(p); !errors.Is(err, ErrNoResolved) || l.there {
		t.Fatalf("without the service: %v, link there %v", err, l.there)
	}
	service := bustest.StartResolved(t, bus, map[int]bustest.Link{2: {
		Servers: []netip.Addr{netip.MustParseAddr("192.168.1.1")},
		Domains: []bustest.Domain{{Name: "hotel.example"}, {Name: ".", RoutingOnly: true}, {Name: "corp.example"}, {Name: "b.corp.example"}},
	}})
	if changed, err := r.Set(p); err != nil || !changed {
		t.Fatalf("changed %v, %v", changed, err)
	}
	want := bustest.Link{
		Servers: []netip.Addr{forwarderAddr}, DNSSEC: "no", DNSOverTLS: "no", LLMNR: "no", MulticastDNS: "no",
		Domains: []bustest.Domain{{Name: "corp.example"}, {Name: "0.10.in-addr.arpa", RoutingOnly: true}, {Name: "corp.example.hotel.example", RoutingOnly: true}},
	}
	check := func(when string) {
		t.Helper()
		got, _ := service.Link(7)
		if d := cmp.Diff(want, got, sameAddrs, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	check("set")
	// Both links would be asked about what is the enterprise's, and believed.
	if got, _ := service.Link(2); !cmp.Equal(got.Domains, []bustest.Domain{{Name: "hotel.example"}, {Name: ".", RoutingOnly: true}}) {
		t.Errorf("the network's link has the domains %v", got.Domains)
	}
	calls := service.Calls()
	if s, d := slices.Index(calls, "SetLinkDNS"), slices.Index(calls, "SetLinkDomains"); s < 0 || d < s || calls[len(calls)-1] != "FlushCaches" {
		t.Errorf("calls %v", calls)
	}
	if changed, err := r.Set(p); err != nil || changed || len(service.Calls()) != len(calls) {
		t.Errorf("again: changed %v, %v, calls %v", changed, err, service.Calls()[len(calls):])
	}
	// The laptop comes to another network.
	service.SetLink(2, bustest.Link{Domains: []bustest.Domain{{Name: "cafe.example", RoutingOnly: true}}})
	want.Domains[2].Name = "corp.example.cafe.example"
	if changed, err := r.Set(p); err != nil || !changed {
		t.Errorf("in another network: changed %v, %v", changed, err)
	}
	check("in another network")
	// The service was restarted and knows nothing.
	service.SetLink(7, bustest.Link{})
	if changed, err := r.Set(p); err != nil || !changed {
		t.Errorf("after a restart: changed %v, %v", changed, err)
	}
	check("after a restart")
	// The other network's link is systemd-networkd's.
	service.SetLink(2, bustest.Link{Domains: []bustest.Domain{{Name: "cafe.example", RoutingOnly: true}, {Name: "0.0.10.in-addr.arpa"}}, Managed: true})
	if changed, err := r.Set(p); err == nil || changed || !strings.Contains(err.Error(), "UseDomains=") {
		t.Errorf("with a domain of the enterprise's that cannot be taken away: changed %v, %v", changed, err)
	}
	service.SetLink(2, bustest.Link{Domains: []bustest.Domain{{Name: "cafe.example", RoutingOnly: true}}, Managed: true})
	if changed, err := r.Set(p); err != nil || changed {
		t.Errorf("once that is mended: changed %v, %v", changed, err)
	}
	service.SetLink(2, bustest.Link{Domains: []bustest.Domain{{Name: "cafe.example", RoutingOnly: true}, {Name: ".", RoutingOnly: true}}})
	p.Search, p.Full = false, true
	if changed, err := r.Set(p); err != nil || !changed {
		t.Errorf("full: changed %v, %v", changed, err)
	}
	want.DefaultRoute = true
	want.Domains = []bustest.Domain{{Name: "corp.example", RoutingOnly: true}, {Name: "0.10.in-addr.arpa", RoutingOnly: true}, {Name: ".", RoutingOnly: true}}
	check("full")
	// The café would be asked about all names, or about those that it calls its own: "com", for example.
	if got, _ := service.Link(2); len(got.Domains) != 0 {
		t.Errorf("full: the network's link has the domains %v", got.Domains)
	}
	if changed, err := r.Set(p); err != nil || changed {
		t.Errorf("full again: changed %v, %v", changed, err)
	}

	next := &Resolved{Bus: bus.Connect, Link: l} // after kill -9
	if standing, err := next.Standing(); err != nil || !standing {
		t.Errorf("standing %v, %v", standing, err)
	}
	if err := next.Clear(); err != nil || l.there {
		t.Errorf("Clear: %v, link there %v", err, l.there)
	}
	if got, _ := service.Link(7); !cmp.Equal(got, bustest.Link{}, sameAddrs, cmpopts.EquateEmpty()) {
		t.Errorf("left %+v", got)
	}
	if standing, err := next.Standing(); err != nil || standing {
		t.Errorf("after Clear: standing %v, %v", standing, err)
	}
	n := len(service.Calls())
	if err := next.Clear(); err != nil || len(service.Calls()) != n {
		t.Errorf("a second Clear: %v, calls %v", err, service.Calls()[n:])
	}
}

// Shows: HST-3 (what is taken off other links: also where one of them keeps its own, and given back as it was, unless the network has told
// of other domains since)
func TestResolvedGivesBack(t *testing.T) {
	bus := bustest.Start(t)
	hotel, corp, all := bustest.Domain{Name: "hotel.example"}, bustest.Domain{Name: "corp.example"}, bustest.Domain{Name: ".", RoutingOnly: true}
	links := map[int]bustest.Link{11: {Domains: []bustest.Domain{corp}, Managed: true}}
	for index := 2; index <= 10; index++ {
		links[index] = bustest.Link{Domains: []bustest.Domain{corp, hotel, all}}
	}
	service := bustest.StartResolved(t, bus, links)
	r := &Resolved{Bus: bus.Connect, Link: &fakeLink{index: 70}}
	check := func(when string, from int, want ...bustest.Domain) {
		t.Helper()
		for index := from; index <= 10; index++ {
			if got, _ := service.Link(index); !cmp.Equal(got.Domains, want, cmpopts.EquateEmpty()) {
				t.Errorf("%s link %d has the domains %v, expected %v", when, index, got.Domains, want)
			}
		}
	}
	p := plan()
	p.Domains = query.Domains{"corp.example."}
	if changed, err := r.Set(p); err == nil || !changed || !strings.Contains(err.Error(), "interface 11 ") {
		t.Errorf("with a link that keeps its own: changed %v, %v", changed, err)
	}
	check("beside one that keeps its own", 2, hotel, all)
	service.SetLink(11, bustest.Link{})
	p.Full = true
	if changed, err := r.Set(p); err != nil || !changed {
		t.Errorf("full: changed %v, %v", changed, err)
	}
	check("full", 2)
	cafe := bustest.Link{Domains: []bustest.Domain{{Name: "cafe.example"}}}
	service.SetLink(2, cafe)
	if err := r.Clear(); err != nil {
		t.Fatal(err)
	}
	check("in the end", 3, corp, hotel, all)
	if got, _ := service.Link(2); !cmp.Equal(got, cafe, sameAddrs, cmpopts.EquateEmpty()) {
		t.Errorf("the link that had other domains meanwhile was left %+v", got)
	}
}

func TestResolvedFails(t *testing.T) {
	bus := bustest.Start(t)
	service := bustest.StartResolved(t, bus, nil)
	l := &fakeLink{index: 7}
	r := &Resolved{Bus: bus.Connect, Link: l}
	for _, method := range []string{"SetLinkDNS", "SetLinkDomains", "SetLinkDefaultRoute", "SetLinkDNSSEC"} {
		service.Fail(method, true)
		if changed, err := r.Set(plan()); err == nil || changed {
			t.Errorf("%s fails: changed %v, %v", method, changed, err)
		}
		service.Fail(method, false)
	}
	if changed, err := r.Set(plan()); err != nil || !changed {
		t.Errorf("then: changed %v, %v", changed, err)
	}
	dead := errors.New("no bus")
	r.Bus = func(context.Context) (*dbus.Conn, error) { return nil, dead }
	if _, err := r.Set(plan()); !errors.Is(err, dead) {
		t.Errorf("without a bus: %v", err)
	}
	if err := r.Clear(); err != nil || l.there {
		t.Errorf("Clear without a bus: %v, link there %v", err, l.there)
	}
	l.fail = true
	r.Bus = bus.Connect
	if _, err := r.Set(plan()); err == nil {
		t.Error("without a link it was set")
	}
}

// TestLinkDomainsBounded shows that another network's search lists cannot make the list longer than is taken.
func TestLinkDomainsBounded(t *testing.T) {
	p := Plan{}
	for i := range 100 {
		p.Domains = append(p.Domains, "d"+string(rune('a'+i%26))+string(rune('a'+i/26))+".example.")
	}
	others := map[int32][]wireDomain{}
	for i := range 100 {
		others[1] = append(others[1], wireDomain{"s" + string(rune('a'+i%26)) + string(rune('a'+i/26)) + ".example", false})
	}
	others[1] = append(others[1], wireDomain{"not a name", false}, wireDomain{"", true})
	if n := len(linkDomains(p, others)); n != maxDomains {
		t.Errorf("%d domains", n)
	}
}
