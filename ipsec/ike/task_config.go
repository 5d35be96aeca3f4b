package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// configTask is the Configuration payload in IKE_AUTH, both roles (RFC 7296 §2.19, §3.15; RFC 8598).
type configTask struct{}

func (t *configTask) needed(*Machine) bool { return true }

func (t *configTask) request(_ link.Instant, m *Machine, x *exchange) error {
	c := m.initiator
	p := message.Configuration{Kind: message.CFGRequest}
	ask := func(wanted bool, a message.AttributeType, v []byte) {
		if wanted {
			p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: a, Value: v})
		}
	}
	var wanted4, wanted6 []byte
	if c.WantedAddress.Is4() {
		wanted4 = c.WantedAddress.AsSlice()
	}
	if c.WantedAddress6.Is6() {
		wanted6 = append(c.WantedAddress6.AsSlice(), 128)
	}
	ask(c.RequestAddress, message.InternalIP4Address, wanted4)
	ask(c.RequestAddress6, message.InternalIP6Address, wanted6)
	ask(c.RequestDNS && (c.RequestAddress || !c.RequestAddress6), message.InternalIP4DNS, nil)
	ask(c.RequestDNS && c.RequestAddress6, message.InternalIP6DNS, nil)
	ask(c.RequestSubnets && (c.RequestAddress || !c.RequestAddress6), message.InternalIP4Subnet, nil)
	// INTERNAL_IP6_SUBNET has no empty form (RFC 7296 §3.15.1): a gateway adds it of its own accord.
	ask(c.RequestDomains, message.InternalDNSDomain, nil)
	ask(c.RequestTrustAnchors, message.InternalDNSSECTA, nil)
	ask(c.Version != "", message.ApplicationVersion, []byte(c.Version))
	x.add(p)
	return nil
}

func (t *configTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	for _, p := range in.Payloads {
		if c, ok := p.(message.Configuration); ok && c.Kind == message.CFGReply {
			m.assigned = m.initiator.accepted(readConfiguration(c))
			break // more than one is no form of RFC 7296 §2.19
		}
	}
	if !m.initiator.RequestAddress && !m.initiator.RequestAddress6 || len(m.assigned.Addresses) != 0 {
		return nil
	}
	// RFC 7296 §3.15.4: a response without the address is an error for who needs one.
	err := ErrConfiguration
	for _, reason := range []message.NotifyType{message.InternalAddressFailure, message.FailedCPRequired} {
		if n, ok := message.FindNotify(in.Payloads, reason); ok {
			err = fmt.Errorf("%w: %w", ErrConfiguration, notifyError(message.IKEAuth, n))
		}
	}
	return fatal(err, deleteIKE)
}

// accepted leaves out what was not asked for: the addresses of a family over the one, and domains without name servers, which
// RFC 8598 §3.2 has together.
func (c *InitiatorConfig) accepted(given Configuration) Configuration {
	var addresses []netip.Addr
	var got4, got6 bool
	for _, a := range given.Addresses {
		switch {
		case a.Is4() && c.RequestAddress && !got4:
			got4 = true
		case a.Is6() && c.RequestAddress6 && !got6:
			got6 = true
		default:
			continue
		}
		addresses = append(addresses, a)
	}
	given.Addresses = addresses
	if !c.RequestDomains || len(given.DNS) == 0 {
		given.Domains = nil
	}
	if !c.RequestTrustAnchors {
		for i := range given.Domains {
			given.Domains[i].Anchors = nil
		}
	}
	return given
}

func (t *configTask) abandon(link.Instant, *Machine) {}

// supportedAttributes are those that a responder knows, for SUPPORTED_ATTRIBUTES.
var supportedAttributes = []message.AttributeType{
	message.InternalIP4Address, message.InternalIP4DNS, message.ApplicationVersion, message.InternalIP6Address, message.InternalIP6DNS,
	message.InternalIP4Subnet, message.SupportedAttributes, message.InternalIP6Subnet, message.InternalDNSDomain, message.InternalDNSSECTA,
}

// readRequest takes what it understands of the CFG_REQUEST payloads of a request; asked is false when there is none. list
// says that SUPPORTED_ATTRIBUTES is asked for.
func readRequest(in *message.Message) (r Request, asked, list bool) {
	for _, p := range in.Payloads {
		c, ok := p.(message.Configuration)
		if !ok || c.Kind != message.CFGRequest {
			continue
		}
		asked = true
		for _, a := range c.Attributes {
			switch a.Type {
			case message.InternalIP4Address:
				wanted, _ := netip.AddrFromSlice(a.Value)
				if !wanted.Is4() || wanted.IsUnspecified() {
					wanted = netip.Addr{}
				}
				if len(r.IPv4) < maxAddresses {
					r.IPv4 = append(r.IPv4, wanted)
				}
			case message.InternalIP6Address:
				var wanted netip.Addr
				if len(a.Value) == 17 && [16]byte(a.Value) != [16]byte{} {
					wanted = netip.AddrFrom16([16]byte(a.Value))
				}
				if len(r.IPv6) < maxAddresses {
					r.IPv6 = append(r.IPv6, wanted)
				}
			case message.InternalIP4DNS, message.InternalIP6DNS:
				r.DNS = true
			case message.InternalIP4Subnet, message.InternalIP6Subnet:
				r.Subnets = true
			case message.InternalDNSDomain:
				r.Domains = true
			case message.InternalDNSSECTA:
				r.TrustAnchors = true
			case message.ApplicationVersion:
				r.Version = printable(a.Value)
			case message.SupportedAttributes:
				list = true
			default: // not supported, ignored
			}
		}
	}
	return r, asked, list
}

// answer assigns what the peer asked for and returns the CFG_REPLY, if there is to be one.
func (t *configTask) answer(m *Machine, in *message.Message) ([]message.Payload, error) {
	r, asked, list := readRequest(in)
	m.claimHome(in.Payloads, &r)
	given, err := m.responder.Policy.Assign(m.remoteID, r)
	if err == nil {
		err = given.Check()
	}
	switch {
	case errors.Is(err, ErrConfigurationRequired):
		return nil, &refusal{notify: message.Notify{Message: message.FailedCPRequired}, cause: err}
	case err != nil:
		return nil, &refusal{notify: message.Notify{Message: message.InternalAddressFailure}, cause: err}
	}
	m.assigned = given
	if m.agent.home = (netip.Addr{}); r.HomeAddress.IsValid() && slices.Equal(given.Addresses, []netip.Addr{r.HomeAddress}) {
		m.agent.home = r.HomeAddress
	}
	if !asked {
		return nil, nil // RFC 7296 §2.19: no CFG_REPLY without a CFG_REQUEST
	}
	p := reply(r, given)
	if m.cfg.Version != "" && r.Version != "" {
		p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: message.ApplicationVersion, Value: []byte(m.cfg.Version)})
	}
	if list {
		var all []byte
		for _, a := range supportedAttributes {
			all = binary.BigEndian.AppendUint16(all, uint16(a))
		}
		p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: message.SupportedAttributes, Value: all})
	}
	return []message.Payload{p}, nil
}

// reply makes the CFG_REPLY to r: of a family up to as many addresses as were asked for (RFC 7296 §3.15.1), and what belongs to
// a family only to who asked for an address of it or for what IPv4 has names for.
func reply(r Request, given Configuration) message.Configuration {
	p := message.Configuration{Kind: message.CFGReply}
	add := func(a message.AttributeType, v []byte) {
		p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: a, Value: v})
	}
	left4, left6 := len(r.IPv4), len(r.IPv6)
	for _, a := range given.Addresses {
		switch {
		case a.Is4() && left4 > 0:
			left4--
			add(message.InternalIP4Address, a.AsSlice())
		case a.Is6() && left6 > 0:
			left6--
			add(message.InternalIP6Address, append(a.AsSlice(), 128))
		}
	}
	served := false
	for _, a := range given.DNS {
		switch {
		case a.Is4():
			add(message.InternalIP4DNS, a.AsSlice())
		case len(r.IPv6) != 0:
			add(message.InternalIP6DNS, a.AsSlice())
		default:
			continue
		}
		served = true
	}
	for _, s := range given.Subnets {
		switch {
		case s.Addr().Is4():
			add(message.InternalIP4Subnet, subnet4(s))
		case len(r.IPv6) != 0:
			add(message.InternalIP6Subnet, subnet6(s))
		}
	}
	for _, d := range given.Domains {
		if !r.Domains || !served {
			break // RFC 8598 §3.2: not without name servers
		}
		add(message.InternalDNSDomain, []byte(d.Name))
		for _, a := range d.Anchors {
			if r.TrustAnchors {
				add(message.InternalDNSSECTA, a.value())
			}
		}
	}
	return p
}

// answerLater answers the Configuration payloads of an INFORMATIONAL request: a CFG_REQUEST as in IKE_AUTH, for a peer that got
// nothing there (RFC 7296 §2.19), a CFG_SET with an empty CFG_ACK, for nothing is taken (§3.15.1).
func (t *configTask) answerLater(m *Machine, in *message.Message) []message.Payload {
	set := false
	for _, p := range in.Payloads {
		c, ok := p.(message.Configuration)
		set = set || ok && c.Kind == message.CFGSet
	}
	if set {
		return []message.Payload{message.Configuration{Kind: message.CFGAck}}
	}
	if _, asked, _ := readRequest(in); !asked || m.responder == nil {
		return nil
	}
	out, err := t.answer(m, in)
	var r *refusal
	if errors.As(err, &r) {
		return []message.Payload{r.notify}
	}
	return out
}
