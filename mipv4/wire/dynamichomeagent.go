package wire

import (
	"fmt"
	"net/netip"
)

// DynamicHomeAgentUse is the sub-type of a Dynamic Home Agent extension (RFC 4433 §3.4).
type DynamicHomeAgentUse uint8

const (
	// RequestedHomeAgent is in requests: the home agent that the mobile node wishes (RFC 4433 §3.4.1).
	RequestedHomeAgent DynamicHomeAgentUse = 1
	// RedirectedHomeAgent is in replies with CodeRedirectHomeAgent: the home agent to register with instead (RFC 4433 §3.4.2).
	RedirectedHomeAgent DynamicHomeAgentUse = 2
)

// String returns the standard's name of the use.
func (u DynamicHomeAgentUse) String() string {
	switch u {
	case RequestedHomeAgent:
		return "Requested HA"
	case RedirectedHomeAgent:
		return "Redirected HA"
	}
	return fmt.Sprintf("Dynamic HA sub-type %d", uint8(u))
}

// DynamicHomeAgent makes a Dynamic HA extension (RFC 4433 §3.4): type 139, sub-type, a length of two octets that is 4, an IPv4
// address. So it has the long format, though its type is one that is skipped: a receiver that does not know it takes the sub-type for
// the length, and misreads what follows. (Wireshark 4.0 expects type, length, sub-type; the standard's figure is what counts here.) Errors wrap ErrNotIPv4.
func DynamicHomeAgent(use DynamicHomeAgentUse, homeAgent netip.Addr) (Extension, error) {
	if !homeAgent.Is4() {
		return Extension{}, fmt.Errorf("%w: %v is %v", ErrNotIPv4, use, homeAgent)
	}
	a := homeAgent.As4()
	return Extension{Type: ExtDynamicHomeAgent, Data: append([]byte{uint8(use)}, a[:]...)}, nil
}

// ParseDynamicHomeAgent reads a Dynamic HA extension of that use. Errors wrap ErrExtension.
func ParseDynamicHomeAgent(e Extension, use DynamicHomeAgentUse) (netip.Addr, error) {
	if e.Type != ExtDynamicHomeAgent {
		return netip.Addr{}, fmt.Errorf("%w: expected %v, found %v", ErrExtension, ExtDynamicHomeAgent, e.Type)
	}
	if len(e.Data) != 5 || DynamicHomeAgentUse(e.Data[0]) != use {
		return netip.Addr{}, fmt.Errorf("%w: expected %v with an address, found %d octets with sub-type and data %x", ErrExtension, use, len(e.Data), e.Data)
	}
	return addrAt(e.Data[1:]), nil
}

// DynamicHomeAgentOf returns the address in the first Dynamic HA extension of that use, and false when there is none that can be read.
func (x Extensions) DynamicHomeAgentOf(use DynamicHomeAgentUse) (netip.Addr, bool) {
	for _, e := range x {
		if a, err := ParseDynamicHomeAgent(e, use); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// AnyHomeAgent reports whether a is one of the two addresses in the field Home Agent that leave it to the network which home agent
// serves (RFC 4433 §2, ALL-ZERO-ONE-ADDR): 0.0.0.0, or 255.255.255.255 for one in the home domain.
func AnyHomeAgent(a netip.Addr) bool {
	return a == netip.IPv4Unspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255})
}
