package mobilenode

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// ErrConfig means that a machine cannot be made of the configuration given.
var ErrConfig = errors.New("mipv4/mobilenode: unusable configuration")

// Encapsulation says which tunnel is asked for. Through a foreign agent UDP tunnelling is not, unless the care-of address is
// co-located and the agent's advertisement has the U bit: then the agent is behind a NAT, and the home agent is asked with the R
// flag and without the F flag (RFC 3519 §4.4). Minimal and GRE encapsulation are asked for only where the agent offers them (RFC
// 5944 §3.6.1.2).
type Encapsulation uint8

const (
	// EncapsulationAuto asks for UDP tunnelling with the F bit, then without, then for none, as far as the home agent
	// refuses; what it refuses is remembered (Refusals).
	EncapsulationAuto Encapsulation = iota
	// EncapsulationIPIP asks for IP-in-IP (RFC 2003) alone.
	EncapsulationIPIP
	// EncapsulationUDP asks for UDP tunnelling (RFC 3519) with the F bit and takes nothing else.
	EncapsulationUDP
	// EncapsulationNAT asks for UDP tunnelling without the F bit, which the home agent grants where it sees a NAT
	// (RFC 3519 §4.6), and is IP-in-IP elsewhere: for a path that has cheaper means against NATs already, such as a VPN.
	EncapsulationNAT
	// EncapsulationMinimal asks for minimal encapsulation (RFC 2004, the M bit), and for IP-in-IP where an agent refuses it.
	EncapsulationMinimal
	// EncapsulationGRE asks for GRE (RFC 2784, the G bit), and for IP-in-IP where an agent refuses it.
	EncapsulationGRE
)

// String returns "auto", "ipip", "udp", "nat", "minimal" or "gre".
func (e Encapsulation) String() string {
	switch e {
	case EncapsulationIPIP:
		return "ipip"
	case EncapsulationUDP:
		return "udp"
	case EncapsulationNAT:
		return "nat"
	case EncapsulationMinimal:
		return "minimal"
	case EncapsulationGRE:
		return "gre"
	}
	return "auto"
}

// Origin says which network interface, and which state of it, a machine's requests leave from. The machine only passes
// it on to its replies.
type Origin struct {
	// Interface is the index of the underlay's interface.
	Interface int
	// Epoch counts the changes of that interface's connection status (REQUIREMENTS DET-2).
	Epoch uint64
	// Direct is set when the requests leave that interface in the clear, and not through a VPN. Only replies to such
	// requests can prove anything.
	Direct bool
}

// Retransmission says when an unanswered request is sent again. Zero fields stand for the defaults.
type Retransmission struct {
	// Initial is the time to the first retransmission, 1 s by default and at least (RFC 5944 §3.6.3).
	Initial time.Duration
	// Factor multiplies each interval for the next, 2 by default, 1 at least.
	Factor float64
	// Max is the longest interval, 32 s by default.
	Max time.Duration
	// Count is the number of transmissions of a series, 6 by default. The series has gone unanswered when the interval
	// behind the last one is over.
	Count int
}

const (
	// minInterval is the least time between requests that no reply and no change of the network asks for (RFC 5944
	// §3.6, §3.6.3).
	minInterval = time.Second
	// DefaultLifetime is what is asked for when Config.Lifetime is zero (RFC 5944 §3.6.1.2).
	DefaultLifetime = 1800 * time.Second
	// DefaultKeepAlive is the interval between UDP tunnel keepalives that the home agent leaves to us (RFC 3519 §4.9).
	DefaultKeepAlive = 110 * time.Second
)

func (r Retransmission) withDefaults() Retransmission {
	if r.Initial == 0 {
		r.Initial = minInterval
	}
	if r.Factor == 0 {
		r.Factor = 2
	}
	if r.Max == 0 {
		r.Max = max(32*time.Second, r.Initial)
	}
	if r.Count == 0 {
		r.Count = 6
	}
	return r
}

func (r Retransmission) check() error {
	switch {
	case r.Initial < minInterval:
		return fmt.Errorf("%w: retransmission after %v, at least %v is expected (RFC 5944 §3.6.3)", ErrConfig, r.Initial, minInterval)
	case !(r.Factor >= 1 && r.Factor <= 16):
		return fmt.Errorf("%w: retransmission factor %v, 1 to 16 is expected", ErrConfig, r.Factor)
	case r.Max < r.Initial:
		return fmt.Errorf("%w: longest retransmission interval %v is below the first, %v", ErrConfig, r.Max, r.Initial)
	case r.Count < 1:
		return fmt.Errorf("%w: %d transmissions a series, at least 1 is expected", ErrConfig, r.Count)
	}
	return nil
}

// interval returns the time to wait behind transmission n of a series, counted from 1.
func (r Retransmission) interval(n int) time.Duration {
	d := float64(r.Initial)
	for i := 1; i < n && d < float64(r.Max); i++ {
		d *= r.Factor
	}
	return min(time.Duration(d), r.Max)
}

// Config is what a Machine registers.
type Config struct {
	// HomeAgent is the home agent's unicast address.
	HomeAgent netip.Addr
	// DynamicHomeAgent says how the home agent is found. HomeAgentAny and HomeAgentAtHome need a NAI (RFC 4433 §3.3).
	DynamicHomeAgent DynamicHomeAgent
	// HomeAddress is the mobile node's; the zero Addr has the home agent assign one, which needs a NAI (RFC 2794 §1).
	HomeAddress netip.Addr
	// Assigned says that HomeAddress was assigned by the home agent before: another one is taken where it is not to be had any more.
	Assigned bool
	// NAI is the mobile node's network access identifier (RFC 2794), at most 255 octets, "" for none.
	NAI string
	// CareOfAddress is the end of the tunnel: the path's own address, or the foreign agent's care-of address.
	CareOfAddress netip.Addr
	// ForeignAgent is the address that requests are sent to when they go through a foreign agent (the source of its
	// advertisement); the zero Addr registers directly.
	ForeignAgent netip.Addr
	// CoLocated says that CareOfAddress is the path's own although ForeignAgent is set, because the agent's R bit asks
	// for registration through it. Without a ForeignAgent the care-of address is always co-located.
	CoLocated bool
	// AtHome says that the mobile node is on its home link, where it needs no tunnel (RFC 5944 §3.6.1.1): Register takes every
	// binding back instead, and Accepted bears the reply to that, with a lifetime of 0. Nothing is renewed by itself. It needs the
	// home address as CareOfAddress, and requests that leave with it as their source.
	AtHome bool
	// Association with the home agent, shared by all machines that register with it under the same SPI.
	Association *auth.SecurityAssociation
	// ForeignAssociation with the foreign agent, nil for none. With it, every reply must carry a valid Mobile-Foreign
	// Authentication extension (RFC 5944 §3.6.2.1).
	ForeignAssociation *auth.SecurityAssociation
	// Lifetime to ask for, in whole seconds up to 65534 s; DefaultLifetime when zero. Through a foreign agent the caller
	// keeps it within what the agent advertises. Infinite asks for wire.LifetimeInfinite.
	Lifetime time.Duration
	// ReverseTunnel sets the T bit (RFC 3024).
	ReverseTunnel bool
	// EncapsulatingDelivery asks the foreign agent for that delivery style (RFC 3024 §3.3); it needs ReverseTunnel.
	EncapsulatingDelivery bool
	// Simultaneous sets the S bit: prior bindings are kept.
	Simultaneous bool
	// Broadcasts sets the B bit: broadcasts of the home network are wanted (RFC 5944 §4.3). A home agent that ignores it accepts the
	// registration all the same, and says nothing of it. Whoever sets it must take them out of both of their forms (tunnel.Listener).
	Broadcasts bool
	// Encapsulation to ask for.
	Encapsulation Encapsulation
	// AgentMinimal and AgentGRE say that the foreign agent's advertisement has the M or G bit: only then is it asked for that.
	AgentMinimal, AgentGRE bool
	// AgentUDPTunnel says that its advertisement has the U bit: only then, and with a co-located care-of address, is UDP tunnelling
	// asked for through it (RFC 3519 §4.4).
	AgentUDPTunnel bool
	// GRE are the optional fields of the GRE headers of a GRE tunnel whose end the mobile node itself is. Nothing negotiates them:
	// the home agent is configured alike.
	GRE tunnel.GREOptions
	// Refusals is what the home agent is known to refuse of UDP tunnelling, shared by all machines that register with it; nil
	// has the machine learn for itself.
	Refusals *Refusals
	// ZeroOverhead asks for zero-overhead tunnelling (draft appendix D). It needs a co-located care-of address, no foreign
	// agent and reverse tunnelling, and does not go with EncapsulationUDP.
	ZeroOverhead ZeroOverhead
	// Revocation asks a home agent that is registered with directly to say so when it ends the binding early (RFC 3543).
	Revocation bool
	// AAA is what is shared with an AAA infrastructure that the foreign agent or the home agent asks, nil for none: requests have a
	// Mobile-AAA Authentication extension then (RFC 4721).
	AAA *auth.AAA
	// Challenge is the last one that the foreign agent has advertised, nil for none; later ones come by SetChallenge.
	Challenge []byte
	// Retransmission of unanswered requests.
	Retransmission Retransmission
	// Origin is passed on to replies.
	Origin Origin
}

// Infinite as Config.Lifetime asks for a registration that never expires, and is the Lifetime of one that was granted.
const Infinite = wire.LifetimeInfinite * time.Second

func (c Config) check() error {
	for _, a := range []struct {
		name string
		addr netip.Addr
	}{{"home agent", c.HomeAgent}, {"home address", c.HomeAddress}, {"care-of address", c.CareOfAddress}} {
		if a.name == "home address" && !a.addr.IsValid() && c.NAI != "" {
			continue
		}
		if !usable(a.addr) {
			return fmt.Errorf("%w: %s is %v, an IPv4 unicast address is expected", ErrConfig, a.name, a.addr)
		}
	}
	switch {
	case c.AtHome && (c.CareOfAddress != c.HomeAddress || c.ForeignAgent.IsValid() || c.ZeroOverhead.asked()):
		return fmt.Errorf("%w: at home with care-of address %v and foreign agent %v, expected the home address %v, no foreign agent and no zero-overhead tunnelling",
			ErrConfig, c.CareOfAddress, c.ForeignAgent, c.HomeAddress)
	case c.ForeignAgent.IsValid() && !usable(c.ForeignAgent):
		return fmt.Errorf("%w: foreign agent is %v, an IPv4 unicast address is expected", ErrConfig, c.ForeignAgent)
	case len(c.NAI) > 255:
		return fmt.Errorf("%w: a NAI of %d octets, at most 255 are possible", ErrConfig, len(c.NAI))
	case c.DynamicHomeAgent > HomeAgentResolved:
		return fmt.Errorf("%w: dynamic home agent %d is not known", ErrConfig, c.DynamicHomeAgent)
	case (c.DynamicHomeAgent == HomeAgentAny || c.DynamicHomeAgent == HomeAgentAtHome || c.Assigned) && c.NAI == "":
		return fmt.Errorf("%w: a home agent or home address that is assigned needs a NAI (RFC 4433 §3.3, RFC 2794 §1)", ErrConfig)
	case c.Association == nil:
		return fmt.Errorf("%w: no security association with home agent %v", ErrConfig, c.HomeAgent)
	case c.ForeignAssociation != nil && !c.ForeignAgent.IsValid():
		return fmt.Errorf("%w: a security association with a foreign agent, but no foreign agent", ErrConfig)
	case c.Lifetime < time.Second || c.Lifetime > Infinite || c.Lifetime%time.Second != 0:
		return fmt.Errorf("%w: lifetime is %v, whole seconds from 1s to %v are expected", ErrConfig, c.Lifetime, Infinite)
	case c.EncapsulatingDelivery && (!c.ReverseTunnel || !c.ForeignAgent.IsValid()):
		return fmt.Errorf("%w: encapsulating delivery needs a foreign agent and reverse tunnelling (RFC 3024 §3.3)", ErrConfig)
	case c.Encapsulation == EncapsulationUDP && c.ForeignAgent.IsValid() && !c.halfBinds():
		return fmt.Errorf("%w: UDP tunnelling is not possible through foreign agent %v without the U bit and a co-located care-of address (RFC 3519 §4.4)",
			ErrConfig, c.ForeignAgent)
	}
	if err := c.ZeroOverhead.check(c); err != nil {
		return err
	}
	return c.Retransmission.check()
}

// aside reports whether data go another way than registrations: to a co-located care-of address, past the foreign agent.
func (c Config) aside() bool { return c.ForeignAgent.IsValid() && c.CoLocated }

// halfBinds reports whether UDP tunnels are asked for with the R flag (RFC 3519 §3.1.2).
func (c Config) halfBinds() bool { return c.aside() && c.AgentUDPTunnel }

func usable(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsMulticast() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
