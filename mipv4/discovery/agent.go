package discovery

import (
	"net/netip"
	"slices"
	"time"

	"mipvpn/tun/packet"
)

// Agent is a mobility agent as its last advertisement describes it.
type Agent struct {
	// Address is the advertisement's source: where registration requests go (RFC 5944 §3.6.1.1).
	Address netip.Addr
	// Hardware is the link-layer source of the advertisement, which frames to the agent go to.
	Hardware packet.HardwareAddr
	// CareOfAddresses offered, the first being preferred (RFC 5944 §2.4).
	CareOfAddresses []netip.Addr
	// Flags of the agent.
	Flags Flags
	// RegistrationLifetime is the longest that the agent accepts, in seconds; LifetimeInfinite for any.
	RegistrationLifetime uint16
	// NAI is the network access identifier that it calls itself by, empty without one. Nobody vouches for it.
	NAI string
	// Challenge is the last that it has advertised (RFC 4721 §2), nil without one.
	Challenge []byte
	// Networks of the agent's router addresses, nil when it tells no prefix lengths.
	Networks []netip.Prefix
	// Sequence of the last advertisement.
	Sequence uint16
	// HeardAt is the boot time of the last advertisement.
	HeardAt time.Duration
	// Expires is the boot time until which it is valid.
	Expires time.Duration
}

// ForeignAgent reports whether the agent is a foreign agent that offers a care-of address.
func (a Agent) ForeignAgent() bool {
	return a.Flags.Has(FlagForeignAgent) && len(a.CareOfAddresses) > 0
}

// Busy reports whether the foreign agent takes no more mobile nodes. One that has registered us goes on serving us.
func (a Agent) Busy() bool { return a.Flags.Has(FlagBusy) }

// RegistrationRequired reports whether mobile nodes are to register through the agent even with a co-located care-of address (the R
// bit, RFC 5944 §2.4.1).
func (a Agent) RegistrationRequired() bool { return a.Flags.Has(FlagRegistrationRequired) }

// UDPTunnel reports whether the foreign agent is behind a NAT and does UDP tunnelling (the U bit, RFC 3519 §3.4): only then is UDP
// tunnelling asked for where a co-located care-of address is registered through it (§4.4).
func (a Agent) UDPTunnel() bool { return a.ForeignAgent() && a.Flags.Has(FlagUDPTunnel) }

// Offers reports whether the agent offers the care-of address c.
func (a Agent) Offers(c netip.Addr) bool { return slices.Contains(a.CareOfAddresses, c) }

// sameOffer reports whether b offers what a does, leaving out what changes with every advertisement.
func (a Agent) sameOffer(b Agent) bool {
	return a.Address == b.Address && a.Hardware == b.Hardware && a.Flags == b.Flags &&
		a.RegistrationLifetime == b.RegistrationLifetime && a.NAI == b.NAI &&
		slices.Equal(a.CareOfAddresses, b.CareOfAddresses) && slices.Equal(a.Networks, b.Networks)
}

// SameNetwork compares the networks that two agents are on, to tell a move (RFC 5944 §2.4.2.2). known is false when one
// of them tells no prefix lengths: the method must not be used then. same is true when they have a network in common.
func SameNetwork(a, b Agent) (same, known bool) {
	if len(a.Networks) == 0 || len(b.Networks) == 0 {
		return false, false
	}
	for _, n := range a.Networks {
		if slices.Contains(b.Networks, n) {
			return true, true
		}
	}
	return false, true
}

// clone returns a copy that shares nothing with a.
func (a Agent) clone() Agent {
	a.CareOfAddresses = slices.Clone(a.CareOfAddresses)
	a.Networks = slices.Clone(a.Networks)
	a.Challenge = slices.Clone(a.Challenge)
	return a
}

// Event is what a Machine tells its owner: AgentFound, AgentChanged, AgentRebooted or AgentLost.
type Event interface{ event() }

// AgentFound says that an agent was heard that was not known.
type AgentFound struct {
	// Agent as it advertises itself.
	Agent Agent
}

// AgentChanged says that a known agent offers something else: care-of addresses, flags, lifetimes or networks.
type AgentChanged struct {
	// Agent as it advertises itself now.
	Agent Agent
	// Before is what it offered until now.
	Before Agent
}

// AgentRebooted says that an agent has lost its state: its sequence number went back into the range 0 to 255 (RFC 5944
// §2.4.4). Whoever is registered with it should register again.
type AgentRebooted struct {
	// Agent as it advertises itself now.
	Agent Agent
}

// AgentLost says that an agent counts as out of reach.
type AgentLost struct {
	// Agent as it advertised itself last.
	Agent Agent
	// Withdrawn is set when it has taken its advertisement back with lifetime zero; otherwise its lifetime has passed.
	Withdrawn bool
}

func (AgentFound) event()    {}
func (AgentChanged) event()  {}
func (AgentRebooted) event() {}
func (AgentLost) event()     {}
