package foreignagent

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/mipv4/wire"
)

// keyOf returns the key of registrations of that home address with that home agent.
func keyOf(home, homeAgent netip.Addr) registrationKey {
	return registrationKey{home: home, homeAgent: homeAgent}
}

// requestKey returns the key of a request: by the NAI where there is no home address (RFC 2794 §3), and with the home agent that the
// request is relayed to.
func requestKey(r *wire.RegistrationRequest) registrationKey {
	key := keyOf(r.HomeAddress, requestedHomeAgent(r))
	if r.HomeAddress.IsUnspecified() {
		key.nai = naiOf(r)
	}
	return key
}

// requestedHomeAgent returns the home agent that a request is to be relayed to: the one that it names, or the one that the mobile node
// wishes where it leaves that open (RFC 4433 §5.2). Of itself this agent knows none.
func requestedHomeAgent(r *wire.RegistrationRequest) netip.Addr {
	if !wire.AnyHomeAgent(r.HomeAgent) {
		return r.HomeAgent
	}
	covered, _, _ := r.Extensions.Authorized()
	if a, ok := covered.DynamicHomeAgentOf(wire.RequestedHomeAgent); ok {
		return a
	}
	return r.HomeAgent
}

// judgeAddresses returns the code that a request must be denied with for its home address or home agent and why, CodeAccepted for none.
func (m *Machine) judgeAddresses(q Request, r *wire.RegistrationRequest) (wire.Code, error) {
	homeAgent := requestedHomeAgent(r)
	switch {
	case q.HomeAddress.IsValid() && r.HomeAddress != q.HomeAddress:
		return wire.CodeFAProhibited, fmt.Errorf("home address %v, the mobile node's is %v", r.HomeAddress, q.HomeAddress)
	case r.HomeAddress.IsUnspecified() && naiOf(r) == "":
		return wire.CodeFANonzeroHomeAddressRequired, errors.New("neither a home address nor a NAI")
	case !r.HomeAddress.IsUnspecified() && !usable(r.HomeAddress):
		return wire.CodeFAPoorlyFormedRequest, fmt.Errorf("home address %v", r.HomeAddress)
	case wire.AnyHomeAgent(r.HomeAgent) && !usable(homeAgent):
		return wire.CodeFANonzeroHomeAgentRequired, errors.New("no home agent is named, and none is requested (RFC 4433 §5.2)")
	}
	return wire.CodeAccepted, nil
}

// findUnnamed is find for requests without a home address: they are found by the NAI in the reply (RFC 2794 §3).
func (m *Machine) findUnnamed(reply *wire.RegistrationReply, homeAgent netip.Addr) *registration {
	covered, _, _ := reply.Extensions.Authorized()
	i := covered.Index(wire.ExtMobileNodeNAI)
	if i < 0 {
		return nil
	}
	key := keyOf(netip.IPv4Unspecified(), homeAgent)
	key.nai = string(covered[i].Data)
	return m.registrations[key]
}

// checkAssigned returns the code that the mobile node is told in the place of an acceptance that is not complete, CodeAccepted for none
// (RFC 2794 §3).
func checkAssigned(r *wire.RegistrationRequest, reply *wire.RegistrationReply) wire.Code {
	covered, _, _ := reply.Extensions.Authorized()
	switch {
	case !reply.Code.Accepted():
	case naiOf(r) != "" && covered.Index(wire.ExtMobileNodeNAI) < 0:
		return wire.CodeFAMissingNAI
	case !usable(reply.HomeAgent):
		return wire.CodeFAMissingHomeAgent
	case !usable(reply.HomeAddress):
		return wire.CodeFAMissingHomeAddress
	}
	return wire.CodeAccepted
}

// named returns the registration that an accepted one without a home address goes on as: that of the home address that the reply has.
func (m *Machine) named(r *registration, home netip.Addr) *registration {
	if !r.key.home.IsUnspecified() {
		return r
	}
	key := keyOf(home, r.key.homeAgent)
	n := m.registrations[key]
	if n == nil {
		n = newRegistration(key)
		m.registrations[key] = n
	}
	return n
}
