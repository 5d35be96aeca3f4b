package homeagent

import (
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
)

// ZeroOverhead is what a home agent grants of zero-overhead tunnelling (draft appendix D, docs/zero-overhead.md).
type ZeroOverhead struct {
	// Vendor is the private enterprise number under which mobile nodes ask for it, 1 to wire.MaxVendor; 0 grants none.
	Vendor uint32
	// Destinations are the default destinations that may be asked for: VPN gateways. The home agent's own address cannot be
	// one, for the ports would clash, and no other home agent's should.
	Destinations []netip.Addr
}

// check says what is wrong with z at a home agent of that address. Errors wrap ErrConfig.
func (z ZeroOverhead) check(agent netip.Addr) error {
	if z.Vendor > wire.MaxVendor {
		return fmt.Errorf("%w: zero-overhead tunnelling under vendor number %d: expected 1 to %d", ErrConfig, z.Vendor, wire.MaxVendor)
	}
	if (z.Vendor == 0) != (len(z.Destinations) == 0) {
		return fmt.Errorf("%w: zero-overhead tunnelling needs both a vendor number, found %d, and default destinations, found %v", ErrConfig, z.Vendor, z.Destinations)
	}
	for _, d := range z.Destinations {
		if !usable(d) || d == agent {
			return fmt.Errorf("%w: default destination %v of zero-overhead tunnelling: expected a unicast IPv4 address that is not the home agent's own", ErrConfig, d)
		}
	}
	return nil
}

// Granted reports whether zero-overhead tunnelling is granted at all.
func (z ZeroOverhead) Granted() bool { return z.Vendor != 0 }

// switchedTo returns the default destination that is granted to a request whose tunnel is to be t, the zero Addr for none. The
// request must come from its own co-located care-of address without anybody in between, ask for a reverse tunnel and get one of
// IP in IP, and name one permitted default destination where the mobile node vouches for it; and nobody else may be switched at
// that care-of address, since a switched packet does not say whose it is.
func (m *Machine) switchedTo(q *request, t *Tunnel) netip.Addr {
	z := m.cfg.ZeroOverhead
	if !z.Granted() || t.Encapsulation != tunnel.IPIP || !t.ReverseTunnel || !q.CoLocated() || q.source.Addr() != q.CareOfAddress || q.foreign != nil {
		return netip.Addr{}
	}
	asked := netip.Addr{}
	for _, e := range q.covered {
		d, ok := wire.ParseZeroOverheadRequest(e, z.Vendor)
		switch {
		case !ok:
		case asked.IsValid():
			return netip.Addr{} // twice, which means nothing
		default:
			asked = d
		}
	}
	if !slices.Contains(z.Destinations, asked) || asked == q.CareOfAddress || asked == q.HomeAddress {
		return netip.Addr{}
	}
	if other := m.table.Switched(q.CareOfAddress); other != nil && other.Home != q.HomeAddress {
		return netip.Addr{}
	}
	return asked
}

// checkVendor denies a request with a critical vendor extension: there is none that this agent knows (RFC 3115 §2.3).
func (m *Machine) checkVendor(q *request) error {
	for _, part := range []struct {
		x    wire.Extensions
		code wire.Code
	}{{q.covered, wire.CodeVendorFromMobileNode}, {q.rest, wire.CodeVendorFromForeignAgent}} {
		if i := part.x.Index(wire.ExtVendorCritical); i >= 0 {
			return m.deny(q, part.code, fmt.Errorf("a %v extension", wire.ExtVendorCritical))
		}
	}
	return nil
}
