package ike

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// The foreign agent in the gateway (draft-ietf-mobileip-vpn-problem-solution-01, appendix B; docs/gateway-agent.md has the wire
// format): agentTask shows in IKE_SA_INIT or IKE_SESSION_RESUME that it is supported, IKE_AUTH brings the advertisement, and
// USE_GATEWAY_AGENT beside the SA payload agrees that a child SA goes through the agent.

// gatewayAgentText is what the Vendor ID is the MD5 hash of (appendix B.1), without a terminator.
const gatewayAgentText = "draft-ietf-mobileip-vpn-problem-solution-01 appendix B: FA in VPN device, IKEv2"

// gatewayAgentID is that hash. It is written out, for there need be no MD5 in FIPS 140-3 mode.
var gatewayAgentID = [...]byte{0x1c, 0x6a, 0x10, 0x89, 0xfd, 0xff, 0x31, 0x98, 0xd8, 0xd0, 0x2b, 0xb8, 0x83, 0x95, 0xa5, 0xcf}

// maxAdvertisement bounds the advertisement that is taken, in octets; it is that of one ICMP message in an Ethernet frame.
const maxAdvertisement = 1472

// GatewayAgent is what a gateway's foreign agent is to one peer.
type GatewayAgent struct {
	// HomeAddress is the only home address (i-HoA) that the peer may use the agent with; the zero Addr when it may not use it.
	HomeAddress netip.Addr
	// Advertisement is handed to the peer in IKE_AUTH: an ICMP message with the agent advertisement of RFC 5944 §2.1, up to 1472
	// octets. It is not looked into. Empty for none.
	Advertisement []byte
}

// agentUse is what a machine knows of the foreign agent in the gateway.
type agentUse struct {
	// supported is set when both ends have shown the Vendor ID.
	supported bool
	// home is the home address that the child SAs of this IKE SA carry through the agent; the zero Addr when they are ordinary
	// ones.
	home netip.Addr
	// offered is what a responder has been told that its agent is to the peer.
	offered *GatewayAgent
	// advertisement is what the gateway has handed over.
	advertisement []byte
}

// agentTask shows the Vendor ID in the exchange that makes the IKE SA, both roles.
type agentTask struct{}

func (agentTask) needed(*Machine) bool { return true }

func (agentTask) request(_ link.Instant, m *Machine, x *exchange) error {
	if m.initiator.GatewayAgent {
		x.add(message.VendorID{Data: gatewayAgentID[:]})
	}
	return nil
}

func (agentTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	m.agent = agentUse{supported: m.initiator.GatewayAgent && showsAgent(in.Payloads)}
	return nil
}

func (agentTask) abandon(link.Instant, *Machine) {}

// answer shows it to a peer that has shown it.
func (agentTask) answer(m *Machine, in *message.Message) []message.Payload {
	m.agent = agentUse{supported: m.responder.GatewayAgent != nil && showsAgent(in.Payloads)}
	if !m.agent.supported {
		return nil
	}
	return []message.Payload{message.VendorID{Data: gatewayAgentID[:]}}
}

// showsAgent tells whether the Vendor ID is among the payloads.
func showsAgent(ps []message.Payload) bool {
	return slices.ContainsFunc(ps, func(p message.Payload) bool {
		v, ok := p.(message.VendorID)
		return ok && bytes.Equal(v.Data, gatewayAgentID[:])
	})
}

// useAgent is the notify that asks for a child SA through the agent, and agrees to it.
var useAgent = message.Notify{Message: message.UseGatewayAgent}

// usesAgent tells whether a message has that notify. Without the Vendor IDs a number for private use means nothing.
func (m *Machine) usesAgent(ps []message.Payload) bool {
	_, ok := message.FindNotify(ps, message.UseGatewayAgent)
	return ok && m.agent.supported
}

// offered returns what the agent is to the peer, asking once.
func (m *Machine) offered() GatewayAgent {
	if m.agent.offered == nil {
		a := m.responder.GatewayAgent(m.remoteID)
		m.agent.offered = &a
	}
	return *m.agent.offered
}

// takeAdvertisement keeps what the gateway hands over in IKE_AUTH.
func (m *Machine) takeAdvertisement(ps []message.Payload) {
	if n, ok := message.FindNotify(ps, message.GatewayAgentAdvertisement); ok && m.initiator != nil && m.agent.supported && len(n.Data) <= maxAdvertisement {
		m.agent.advertisement = n.Data
	}
}

// advertise returns what the gateway hands over to a peer in IKE_AUTH.
func (m *Machine) advertise() []message.Payload {
	if !m.agent.supported {
		return nil
	}
	a := m.offered()
	if len(a.Advertisement) == 0 || len(a.Advertisement) > maxAdvertisement {
		return nil
	}
	return []message.Payload{message.Notify{Message: message.GatewayAgentAdvertisement, Data: slices.Clone(a.Advertisement)}}
}

// claimHome sets r.HomeAddress when the peer asks, in IKE_AUTH, for the home address that it may use the agent with; later when it
// has it.
func (m *Machine) claimHome(ps []message.Payload, r *Request) {
	r.HomeAddress = m.agent.home
	if m.established || !m.usesAgent(ps) {
		return
	}
	if a := m.offered(); a.HomeAddress.Is4() && slices.Contains(r.IPv4, a.HomeAddress) {
		r.HomeAddress = a.HomeAddress
	}
}

// throughAgent tells whether the selectors of a child SA are those of appendix B.5: from the home address alone, for any protocol and
// any ports, in IPv4.
func (m *Machine) throughAgent(c *child, home netip.Addr) bool {
	mobile, network := c.local, c.remote
	if m.responder != nil {
		mobile, network = network, mobile
	}
	return slices.Equal(mobile, []esp.Selector{esp.AddrSelector(home)}) && !slices.ContainsFunc(network, func(s esp.Selector) bool {
		return s.Protocol != 0 || s.StartPort != 0 || s.EndPort != 65535 || !s.Start.Is4()
	})
}

// agreeAgent takes the gateway's answer to whether a child SA goes through its agent. Only the first one may be an ordinary one
// when the agent was asked for.
func (t *childTask) agreeAgent(m *Machine, c *child, in *message.Message) error {
	c.agent = t.agent && m.usesAgent(in.Payloads)
	home := m.agent.home
	if t.first {
		home = m.initiator.WantedAddress
	}
	switch {
	case t.agent && !c.agent && !t.first:
		return fmt.Errorf("%w: want %v, for the address is %v", ErrInvalidAnswer, message.UseGatewayAgent, home)
	case !c.agent:
		return nil
	case t.first && !slices.Contains(m.assigned.Addresses, home):
		return fmt.Errorf("%w: %v, and the home address %v is not assigned, but %v", ErrInvalidAnswer, message.UseGatewayAgent, home, m.assigned.Addresses)
	case !m.throughAgent(c, home):
		return fmt.Errorf("%w: %v with selectors %v to %v, want those of %v for any protocol", ErrInvalidAnswer, message.UseGatewayAgent, c.local, c.remote, home)
	}
	return nil
}
