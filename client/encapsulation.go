package client

import (
	"fmt"
	"net/netip"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
)

// maxRefusals bounds the home agents whose refusals are remembered: a name may lead to other addresses all the time.
const maxRefusals = 16

// encapsulations is what is known of how home agents tunnel. It outlives the session, not the daemon.
type encapsulations struct {
	refused map[netip.Addr]*mobilenode.Refusals
	// told is what people have last been told of each registration, straight through an interface or through the VPN.
	told map[tunnelled]string
}

// tunnelled names what has a tunnel of its own.
type tunnelled struct {
	agent  string // nameInternal, nameExternal, or empty for the VPN
	direct bool
}

func (e *encapsulations) begin() {
	e.refused, e.told = make(map[netip.Addr]*mobilenode.Refusals), make(map[tunnelled]string)
}

// refusals returns what the home agent has refused, for all registrations with it.
func (e *encapsulations) refusals(agent netip.Addr) *mobilenode.Refusals {
	k := e.refused[agent]
	if k == nil {
		if len(e.refused) >= maxRefusals {
			clear(e.refused)
		}
		k = new(mobilenode.Refusals)
		e.refused[agent] = k
	}
	return k
}

// askFor fills in which tunnel a registration asks for. Through a foreign agent it is IP in IP, but for minimal encapsulation and
// GRE where the agent has them.
func (c *Client) askFor(mn *mobilenode.Config, name string, ha config.HomeAgent) {
	if mn.AtHome {
		return // no tunnel
	}
	mn.GRE = tunnel.GREOptions{Checksum: ha.GREChecksum}
	if ha.GREKey != config.NoGREKey {
		mn.GRE.Keyed, mn.GRE.Key = true, uint32(ha.GREKey)
	}
	if mn.CoLocated {
		mn.Encapsulation = encapsulation(ha.Encapsulation, true)
		return
	}
	if mn.ForeignAgent.IsValid() {
		if ha.Encapsulation == config.EncapsulationMinimal || ha.Encapsulation == config.EncapsulationGRE {
			mn.Encapsulation = encapsulation(ha.Encapsulation, false)
		}
		return
	}
	forces := mn.Origin.Direct && !(name == nameInternal && c.cfg.Detection.RefuseNAT)
	mn.Encapsulation, mn.Refusals = encapsulation(ha.Encapsulation, forces), c.encapsulations.refusals(ha.Address)
	if name == nameExternal && mn.Origin.Direct {
		mn.ZeroOverhead = c.zeroOverhead(ha)
	}
}

// encapsulation returns what a registration asks for. By default that is UDP tunnelling straight through an interface, for
// the offloads that UDP has; through the VPN, where they are of no use, only against a NAT behind the gateway (draft §3.9).
func encapsulation(e config.Encapsulation, forces bool) mobilenode.Encapsulation {
	switch {
	case e == config.EncapsulationIPIP:
		return mobilenode.EncapsulationIPIP
	case e == config.EncapsulationUDP:
		return mobilenode.EncapsulationUDP
	case e == config.EncapsulationMinimal:
		return mobilenode.EncapsulationMinimal
	case e == config.EncapsulationGRE:
		return mobilenode.EncapsulationGRE
	case !forces:
		return mobilenode.EncapsulationNAT
	}
	return mobilenode.EncapsulationAuto
}

// tellTunnel tells people how the packets of a registration travel, and why, when that is not what they have been told.
func (c *Client) tellTunnel(r *registration) {
	if r.coLocated && r.machine != nil {
		of := tunnelled{agent: r.name, direct: r.machine.Config().Origin.Direct}
		how := "as IP in IP (RFC 2003)"
		switch {
		case r.granted.UDP():
			how = "in UDP (RFC 3519)"
		case r.granted.Encapsulation == tunnel.Minimal:
			how = "in minimal encapsulation (RFC 2004)"
		case r.granted.Encapsulation == tunnel.GRE:
			how = "in GRE (RFC 2784)"
		case r.ways.switching != nil:
			how = fmt.Sprintf("with switched addresses between here and the VPN gateway %v, and others as IP in IP", r.ways.switching.Destination())
		}
		through := ""
		if !of.direct {
			through = " through the VPN"
		}
		message := fmt.Sprintf("packets to and from the %s %v travel%s %s: %s", r.name, r.agent, through, how, r.why)
		if c.encapsulations.told[of] != message {
			c.encapsulations.told[of] = message
			c.event(control.Event{Kind: "encapsulation", Message: message})
		}
	}
}

// tellVPN tells people how packets travel to the VPN gateway, and from where, when that is not what they have been told.
func (c *Client) tellVPN() {
	if c.session == nil || c.session.vpn == nil || !c.session.vpn.tunnel.Carries() {
		return
	}
	v := c.session.vpn
	message := fmt.Sprintf("packets to and from %s travel as %s, from %v", c.gatewayName(), v.tunnel.Describe().Encapsulation, v.tunnel.Bearer())
	if c.encapsulations.told[tunnelled{}] != message {
		c.encapsulations.told[tunnelled{}] = message
		c.event(control.Event{Kind: "encapsulation", Message: message})
	}
}
