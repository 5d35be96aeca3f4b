package metrics

import (
	"maps"
	"slices"
	"time"

	"mipvpn/stack"
)

// Counts is what a client has counted since it was started. The zero value is ready. It is not safe for concurrent use.
type Counts struct {
	// Handoffs counts changes of mode or interface.
	Handoffs map[Handoff]uint64
	// Outages are the times without user data of those changes.
	Outages Outages
	// Registrations counts the replies to registration requests.
	Registrations map[Registration]uint64
	// Unanswered counts series of registration requests without a usable reply, by agent.
	Unanswered map[string]uint64
	// Unverified counts registration replies that were not authentic, by agent.
	Unverified map[string]uint64
	// VPN counts what has become of tunnels to the gateway.
	VPN map[VPNEvent]uint64
	// Events counts what subscribers were told, by kind.
	Events map[string]uint64
	// Restored counts rules, routes, kernel variables and tables that other programs had taken away and that were put back.
	Restored uint64
	// Layers are what the links of the layers have carried, by their names.
	Layers map[string]stack.Traffic
}

// The layers' links, from the bottom to the top, of which each carries the one above it and its own layer's signalling.
const (
	// LayerUnderlay: the interfaces' own addresses, and home addresses on a foreign agent's link.
	LayerUnderlay = "underlay"
	// LayerExternal: the x-HoA.
	LayerExternal = "x-mip"
	// LayerVPN: the VPN-TIA, before ESP.
	LayerVPN = "vpn"
	// LayerUser: the i-HoA.
	LayerUser = "user"
)

// layers are their names.
var layers = []string{LayerUnderlay, LayerExternal, LayerVPN, LayerUser}

// Handoff is one kind of change: access modes before and after, empty for none.
type Handoff struct{ From, To string }

// Registration is one kind of reply: the agent it is from ("i-HA" or "x-HA", also where a foreign agent has passed it on or denied in its
// place), and the code (RFC 5944 §3.4).
type Registration struct {
	Agent string
	Code  uint8
}

// VPNEvent is something that has become of a tunnel to the gateway.
type VPNEvent string

// What becomes of tunnels.
const (
	// VPNEstablished: the gateway is authenticated and the tunnel set up (IKE_AUTH is done).
	VPNEstablished VPNEvent = "established"
	// VPNMoved: the tunnel's packets leave in another way (MOBIKE, another encapsulation).
	VPNMoved VPNEvent = "moved"
	// VPNRenewed: a new tunnel is set up to take this one's place.
	VPNRenewed VPNEvent = "renewed"
	// VPNRekeyed: the IKE SA has fresh keys; VPNChildRekeyed: ESP has.
	VPNRekeyed      VPNEvent = "rekeyed"
	VPNChildRekeyed VPNEvent = "child_rekeyed"
	// VPNAnswered: the gateway has shown that it lives.
	VPNAnswered VPNEvent = "answered"
	// VPNRedirected: the gateway has sent the laptop to another one (RFC 5685).
	VPNRedirected VPNEvent = "redirected"
	// VPNTrouble: something failed that the tunnel has survived.
	VPNTrouble VPNEvent = "trouble"
	// VPNClosed: the tunnel has ended, as it was to.
	VPNClosed VPNEvent = "closed"
	// VPNFailed: the tunnel has ended, or was not set up, by an error.
	VPNFailed VPNEvent = "failed"
)

// VPNEvents returns all of them.
func VPNEvents() []VPNEvent {
	return []VPNEvent{VPNEstablished, VPNMoved, VPNRenewed, VPNRekeyed, VPNChildRekeyed, VPNAnswered, VPNRedirected, VPNTrouble, VPNClosed, VPNFailed}
}

// outageBounds are the upper bounds of the histogram of outages.
var outageBounds = []time.Duration{5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute}

// Outages is a histogram of times. The zero value is ready.
type Outages struct {
	// Sum is the sum of all times, Count how many there were.
	Sum   time.Duration
	Count uint64
	// buckets count the times up to each of outageBounds and above the one before.
	buckets []uint64
}

// Add counts one time.
func (o *Outages) Add(d time.Duration) {
	o.Sum, o.Count = o.Sum+d, o.Count+1
	if o.buckets == nil {
		o.buckets = make([]uint64, len(outageBounds))
	}
	if i := slices.IndexFunc(outageBounds, func(bound time.Duration) bool { return d <= bound }); i >= 0 {
		o.buckets[i]++
	}
}

// cumulative returns how many times were at most each bound, in seconds.
func (o *Outages) cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(outageBounds))
	var sum uint64
	for i, bound := range outageBounds {
		if o.buckets != nil {
			sum += o.buckets[i]
		}
		m[bound.Seconds()] = sum
	}
	return m
}

// Handoff counts one change of mode or interface. Without a mode before there was nothing that could stop, and no outage is counted.
func (c *Counts) Handoff(from, to string, outage time.Duration) {
	add(&c.Handoffs, Handoff{from, to})
	if from != "" {
		c.Outages.Add(outage)
	}
}

// Registered counts one reply of a registration with an agent.
func (c *Counts) Registered(agent string, code uint8) {
	add(&c.Registrations, Registration{agent, code})
}

// Silent counts a series of requests that an agent has not answered.
func (c *Counts) Silent(agent string) { add(&c.Unanswered, agent) }

// Forged counts a reply that claims to be of an agent and is not authentic.
func (c *Counts) Forged(agent string) { add(&c.Unverified, agent) }

// Tunnel counts what has become of a tunnel to the gateway.
func (c *Counts) Tunnel(e VPNEvent) { add(&c.VPN, e) }

// Event counts an event that subscribers were told, by its kind.
func (c *Counts) Event(kind string) { add(&c.Events, kind) }

// Clone returns a copy that shares nothing with c.
func (c *Counts) Clone() Counts {
	own := *c
	own.Handoffs, own.Registrations, own.VPN = maps.Clone(c.Handoffs), maps.Clone(c.Registrations), maps.Clone(c.VPN)
	own.Unanswered, own.Unverified, own.Events = maps.Clone(c.Unanswered), maps.Clone(c.Unverified), maps.Clone(c.Events)
	own.Layers = maps.Clone(c.Layers)
	own.Outages.buckets = slices.Clone(c.Outages.buckets)
	return own
}

func add[K comparable](m *map[K]uint64, k K) {
	if *m == nil {
		*m = make(map[K]uint64)
	}
	(*m)[k]++
}
