package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
)

// mobilityAgent is a role that takes part in registrations: a home agent or a foreign agent.
type mobilityAgent interface {
	Registrations() agent.Registrations
	TunnelTraffic() (in, out agent.Traffic)
	// Drop takes away what there is of a home address, and says how much.
	Drop(home netip.Addr) int
}

// homeAgent is a role with bindings.
type homeAgent interface {
	mobilityAgent
	Bindings(within netip.Prefix) []homeagent.Entry
	Len() int
	SwitchedPackets() (to, from uint64)
}

// foreignAgent is a role with visitors: a foreign agent, or a VPN gateway with one in it.
type foreignAgent interface {
	mobilityAgent
	VisitorList(within netip.Prefix) []foreignagent.Entry
	Visitors() int
}

// homeAgentOf returns the home agent of a role, nil for a role of another kind and for one that stands by.
func homeAgentOf(r running) homeAgent {
	if c, ok := r.(*clusteredHomeAgent); ok {
		if a := c.current(); a != nil {
			return a
		}
		return nil
	}
	a, _ := r.(homeAgent)
	return a
}

// foreignAgentOf returns the foreign agent of a role, nil for a role of another kind.
func foreignAgentOf(r running) foreignAgent {
	a, _ := r.(foreignAgent)
	return a
}

// bindingDocument is one mobility binding in JSON. Lifetimes are null for a binding that does not end.
type bindingDocument struct {
	Role          string         `json:"role"`
	Home          netip.Addr     `json:"home_address"`
	NAI           string         `json:"nai,omitempty"`
	CareOf        netip.Addr     `json:"care_of_address"`
	Encapsulation string         `json:"encapsulation"`
	Remote        netip.AddrPort `json:"remote"` // the tunnel's other end; port 0 where it has none
	ReverseTunnel bool           `json:"reverse_tunnel"`
	Switched      *netip.Addr    `json:"switched_to,omitempty"`
	Granted       *int           `json:"lifetime_seconds"`
	Left          *float64       `json:"left_seconds"`
}

// bindingsDocument is the answer to GET /v1/bindings.
type bindingsDocument struct {
	Schema   int               `json:"schema"`
	Bindings []bindingDocument `json:"bindings"`
}

// visitorDocument is one registration of a visiting mobile node in JSON. Lifetimes are null for one that does not end.
type visitorDocument struct {
	Role          string     `json:"role"`
	Home          netip.Addr `json:"home_address"`
	HomeAgent     netip.Addr `json:"home_agent"`
	Station       string     `json:"station"`
	CoLocated     bool       `json:"co_located"`
	Encapsulating bool       `json:"encapsulating_delivery"`
	Granted       *int       `json:"lifetime_seconds"`
	Left          *float64   `json:"left_seconds"`
}

// visitorsDocument is the answer to GET /v1/visitors.
type visitorsDocument struct {
	Schema   int               `json:"schema"`
	Visitors []visitorDocument `json:"visitors"`
}

// dropRequest is the body of POST /v1/drop.
type dropRequest struct {
	Home netip.Addr `json:"home_address"`
}

// dropDocument is the answer to it: how much was taken away at each role that had something.
type dropDocument struct {
	Schema  int            `json:"schema"`
	Dropped map[string]int `json:"dropped"`
}

// lifetimes returns those of an entry as they stand in the documents.
func lifetimes(granted uint16, left time.Duration) (*int, *float64) {
	if granted == wire.LifetimeInfinite {
		return nil, nil
	}
	g, l := int(granted), left.Seconds()
	return &g, &l
}

// maxListed is how many bindings or visitors are listed at once.
const maxListed = 100_000

// within returns the network of home addresses that a request asks about, the zero Prefix for all.
func within(w http.ResponseWriter, r *http.Request) (p netip.Prefix, ok bool) {
	text := r.URL.Query().Get("home_address")
	if text == "" {
		return p, true
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(text); err == nil {
			p = netip.PrefixFrom(a, a.BitLen())
		}
	}
	if err != nil || !p.Addr().Is4() {
		answer(w, http.StatusBadRequest, problemDocument{fmt.Sprintf("home_address %q: expected an IPv4 address, or a network such as 10.0.8.0/24", text)})
		return p, false
	}
	return p.Masked(), true
}

// tooMany answers a request that asks for more than is listed at once.
func tooMany(w http.ResponseWriter, n int) bool {
	if n <= maxListed {
		return false
	}
	answer(w, http.StatusRequestEntityTooLarge, problemDocument{fmt.Sprintf("%d would be listed, at most %d are at once: ask for those of a network, such as 10.0.8.0/24", n, maxListed)})
	return true
}

func (s *controlServer) listBindings(w http.ResponseWriter, r *http.Request) {
	p, ok := within(w, r)
	if !ok {
		return
	}
	document, there := bindingsDocument{Schema: controlSchema, Bindings: []bindingDocument{}}, false
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		a := homeAgentOf(s.roles[role])
		if a == nil {
			continue
		}
		there = true
		for _, e := range a.Bindings(p) {
			d := bindingDocument{Role: role, Home: e.HomeAddress, NAI: e.NAI, CareOf: e.CareOfAddress, Encapsulation: e.Tunnel.Encapsulation.String(),
				Remote: e.Tunnel.Remote, ReverseTunnel: e.Tunnel.ReverseTunnel}
			if e.Tunnel.Switched.IsValid() {
				d.Switched = &e.Tunnel.Switched
			}
			d.Granted, d.Left = lifetimes(e.Granted, e.Left)
			document.Bindings = append(document.Bindings, d)
		}
	}
	if !there {
		answer(w, http.StatusNotFound, problemDocument{"no home agent runs here"})
		return
	}
	if !tooMany(w, len(document.Bindings)) {
		answer(w, http.StatusOK, document)
	}
}

func (s *controlServer) listVisitors(w http.ResponseWriter, r *http.Request) {
	p, ok := within(w, r)
	if !ok {
		return
	}
	document, there := visitorsDocument{Schema: controlSchema, Visitors: []visitorDocument{}}, false
	for _, role := range slices.Sorted(maps.Keys(s.roles)) {
		a := foreignAgentOf(s.roles[role])
		if a == nil {
			continue
		}
		there = true
		for _, e := range a.VisitorList(p) {
			d := visitorDocument{Role: role, Home: e.Visitor.Home, HomeAgent: e.Visitor.HomeAgent, Station: e.Visitor.Station.String(),
				CoLocated: e.Visitor.CoLocated, Encapsulating: e.Visitor.Encapsulating}
			d.Granted, d.Left = lifetimes(e.Granted, e.Left)
			document.Visitors = append(document.Visitors, d)
		}
	}
	if !there {
		answer(w, http.StatusNotFound, problemDocument{"no foreign agent runs here"})
		return
	}
	if !tooMany(w, len(document.Visitors)) {
		answer(w, http.StatusOK, document)
	}
}

func (s *controlServer) drop(w http.ResponseWriter, r *http.Request) {
	var request dropRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&request); err != nil {
		answer(w, http.StatusBadRequest, problemDocument{"the request: " + err.Error()})
		return
	}
	if !request.Home.Is4() {
		answer(w, http.StatusBadRequest, problemDocument{fmt.Sprintf("home_address %v: expected an IPv4 address", request.Home)})
		return
	}
	document, there := dropDocument{Schema: controlSchema, Dropped: make(map[string]int)}, false
	for role, r := range s.roles {
		a, ok := r.(mobilityAgent)
		if h := homeAgentOf(r); h != nil {
			a, ok = h, true
		}
		if !ok {
			continue
		}
		there = true
		if n := a.Drop(request.Home); n > 0 {
			document.Dropped[role] = n
		}
	}
	if !there {
		answer(w, http.StatusNotFound, problemDocument{"neither a home agent nor a foreign agent runs here"})
		return
	}
	answer(w, http.StatusOK, document)
}
