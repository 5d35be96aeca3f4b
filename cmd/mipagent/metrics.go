package main

import (
	"maps"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// What the agents count, by its name in Prometheus' format. Octets and packets are those of users, without tunnels.
var (
	descDropped  = prometheus.NewDesc("mipvpn_agent_dropped_packets_total", "Packets that were not passed on.", []string{"role", "reason"}, nil)
	descSwitched = prometheus.NewDesc("mipvpn_agent_switched_packets_total", "Packets between mobile nodes and VPN gateways that travelled with switched addresses.", []string{"role", "direction"}, nil)

	descReplies       = prometheus.NewDesc("mipvpn_agent_registration_replies_total", "Registration replies sent, or passed on to mobile nodes, by code (RFC 5944 section 3.4).", []string{"role", "code"}, nil)
	descDiscarded     = prometheus.NewDesc("mipvpn_agent_registration_messages_discarded_total", "Registration messages that were not answered.", []string{"role", "reason"}, nil)
	descTunnelPackets = prometheus.NewDesc("mipvpn_agent_tunnel_packets_total", "Packets carried in tunnels.", []string{"role", "direction"}, nil)
	descTunnelOctets  = prometheus.NewDesc("mipvpn_agent_tunnel_octets_total", "Octets carried in tunnels, with the headers of the encapsulation, without the outer IP and UDP headers.", []string{"role", "direction"}, nil)
	descBindings      = prometheus.NewDesc("mipvpn_home_agent_bindings", "Mobility bindings.", []string{"role"}, nil)
	descFAVisitors    = prometheus.NewDesc("mipvpn_foreign_agent_visitors", "Registrations of visiting mobile nodes.", []string{"role"}, nil)

	descSessions = prometheus.NewDesc("mipvpn_gateway_sessions", "Clients that are connected.", nil, nil)
	descHalfOpen = prometheus.NewDesc("mipvpn_gateway_half_open", "IKE SAs whose peer is not authenticated yet.", nil, nil)
	descVisitors = prometheus.NewDesc("mipvpn_gateway_visitors", "Registrations through the foreign agent in the gateway.", nil, nil)
	descBegan    = prometheus.NewDesc("mipvpn_gateway_sessions_began_total", "Clients that have connected.", nil, nil)
	descEnded    = prometheus.NewDesc("mipvpn_gateway_sessions_ended_total", "Sessions that have ended.", nil, nil)
	descRejected = prometheus.NewDesc("mipvpn_gateway_rejected_messages_total", "IKE messages that were not taken.", []string{"kind"}, nil)
	descPackets  = prometheus.NewDesc("mipvpn_gateway_packets_total", "Inner packets carried.", []string{"direction"}, nil)
	descOctets   = prometheus.NewDesc("mipvpn_gateway_octets_total", "Octets of inner packets carried.", []string{"direction"}, nil)
)

// descActive tells the members of a cluster apart.
var descActive = prometheus.NewDesc("mipvpn_home_agent_active", "1 while this home agent of a cluster is the active one, 0 while it stands by.", []string{"role"}, nil)

// collector reads the roles' counters when it is asked for them.
type collector struct{ roles map[string]running }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descDropped, descSwitched, descActive, descReplies, descDiscarded, descTunnelPackets, descTunnelOctets, descBindings, descFAVisitors, descSessions, descHalfOpen, descVisitors, descBegan, descEnded, descRejected, descPackets, descOctets} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	signalling := func(role string, a mobilityAgent) {
		r := a.Registrations()
		for code, n := range r.Replies {
			counter(descReplies, n, role, strconv.Itoa(int(code)))
		}
		for reason, n := range r.Discarded {
			counter(descDiscarded, n, role, reason)
		}
		in, to := a.TunnelTraffic()
		counter(descTunnelPackets, in.Packets, role, "received")
		counter(descTunnelPackets, to.Packets, role, "sent")
		counter(descTunnelOctets, in.Octets, role, "received")
		counter(descTunnelOctets, to.Octets, role, "sent")
	}
	for _, role := range slices.Sorted(maps.Keys(c.roles)) {
		for reason, n := range c.roles[role].Drops().Snapshot() {
			counter(descDropped, n, role, reason)
		}
		if m, ok := c.roles[role].(*clusteredHomeAgent); ok {
			active := 0
			if m.current() != nil {
				active = 1
			}
			gauge(descActive, active, role)
		}
		if a := homeAgentOf(c.roles[role]); a != nil {
			signalling(role, a)
			gauge(descBindings, a.Len(), role)
			to, from := a.SwitchedPackets()
			counter(descSwitched, to, role, "to_mobile_node")
			counter(descSwitched, from, role, "from_mobile_node")
		}
		if a := foreignAgentOf(c.roles[role]); a != nil {
			signalling(role, a)
			gauge(descFAVisitors, a.Visitors(), role)
		}
		g, ok := c.roles[role].(sessions)
		if !ok {
			continue
		}
		t := g.Totals()
		gauge(descSessions, t.Sessions)
		gauge(descHalfOpen, t.HalfOpen)
		gauge(descVisitors, g.Visitors())
		counter(descBegan, t.Began)
		counter(descEnded, t.Ended)
		for kind, n := range t.Rejected {
			counter(descRejected, n, kind)
		}
		counter(descPackets, t.From.Packets, "from_client")
		counter(descPackets, t.To.Packets, "to_client")
		counter(descOctets, t.From.Bytes, "from_client")
		counter(descOctets, t.To.Bytes, "to_client")
	}
}
