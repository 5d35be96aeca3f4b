package ike

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// configTask is the Configuration payload in IKE_AUTH, both roles (RFC 7296 §2.19, §3.15).
type configTask struct{}

func (t *configTask) needed(*Machine) bool { return true }

func (t *configTask) request(_ link.Instant, m *Machine, x *exchange) error {
	c := m.initiator
	p := message.Configuration{Kind: message.CFGRequest}
	ask := func(a message.AttributeType, v []byte) {
		p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: a, Value: v})
	}
	if c.RequestAddress {
		var wanted []byte
		if c.WantedAddress.Is4() {
			wanted = c.WantedAddress.AsSlice()
		}
		ask(message.InternalIP4Address, wanted)
	}
	if c.RequestDNS {
		ask(message.InternalIP4DNS, nil)
	}
	if c.RequestSubnets {
		ask(message.InternalIP4Subnet, nil)
	}
	x.add(p)
	return nil
}

func (t *configTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	for _, p := range in.Payloads {
		if c, ok := p.(message.Configuration); ok && c.Kind == message.CFGReply {
			m.assigned = readConfiguration(c)
		}
	}
	if !m.initiator.RequestAddress || len(m.assigned.Addresses) != 0 {
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

func (t *configTask) abandon(link.Instant, *Machine) {}

// readConfiguration takes what it understands of a CFG_REPLY; the rest is ignored (RFC 7296 §3.15.1).
func readConfiguration(p message.Configuration) Configuration {
	var c Configuration
	for _, a := range p.Attributes {
		switch {
		case a.Type == message.InternalIP4Address && len(a.Value) == 4:
			c.Addresses = append(c.Addresses, netip.AddrFrom4([4]byte(a.Value)))
		case a.Type == message.InternalIP4DNS && len(a.Value) == 4:
			c.DNS = append(c.DNS, netip.AddrFrom4([4]byte(a.Value)))
		case a.Type == message.InternalIP4Subnet && len(a.Value) == 8:
			mask := binary.BigEndian.Uint32(a.Value[4:])
			n := bits.LeadingZeros32(^mask)
			if mask != 0 && mask != ^uint32(0)<<(32-n) {
				continue // no prefix
			}
			c.Subnets = append(c.Subnets, netip.PrefixFrom(netip.AddrFrom4([4]byte(a.Value[:4])), n).Masked())
		}
	}
	return c
}

// answer assigns what the peer asked for and returns the CFG_REPLY, if there is to be one.
func (t *configTask) answer(m *Machine, in *message.Message) ([]message.Payload, error) {
	var r Request
	asked := false
	for _, p := range in.Payloads {
		c, ok := p.(message.Configuration)
		if !ok || c.Kind != message.CFGRequest {
			continue
		}
		asked = true
		for _, a := range c.Attributes {
			switch a.Type {
			case message.InternalIP4Address:
				r.Address = true
				if len(a.Value) == 4 {
					r.Wanted = netip.AddrFrom4([4]byte(a.Value))
				}
			case message.InternalIP4DNS:
				r.DNS = true
			case message.InternalIP4Subnet:
				r.Subnets = true
			default: // not supported, ignored
			}
		}
	}
	given, err := m.responder.Policy.Assign(m.remoteID, r)
	switch {
	case errors.Is(err, ErrConfigurationRequired):
		return nil, &refusal{notify: message.Notify{Message: message.FailedCPRequired}, cause: err}
	case err != nil:
		return nil, &refusal{notify: message.Notify{Message: message.InternalAddressFailure}, cause: err}
	}
	m.assigned = given
	if !asked {
		return nil, nil // RFC 7296 §2.19: no CFG_REPLY without a CFG_REQUEST
	}
	p := message.Configuration{Kind: message.CFGReply}
	add := func(a message.AttributeType, v []byte) {
		p.Attributes = append(p.Attributes, message.ConfigurationAttribute{Type: a, Value: v})
	}
	for _, a := range given.Addresses {
		if r.Address && a.Is4() {
			add(message.InternalIP4Address, a.AsSlice())
		}
	}
	for _, a := range given.DNS {
		if a.Is4() {
			add(message.InternalIP4DNS, a.AsSlice())
		}
	}
	for _, s := range given.Subnets {
		if s.Addr().Is4() && s.IsValid() {
			mask := ^uint32(0) << (32 - s.Bits())
			add(message.InternalIP4Subnet, binary.BigEndian.AppendUint32(s.Masked().Addr().AsSlice(), mask))
		}
	}
	return []message.Payload{p}, nil
}
