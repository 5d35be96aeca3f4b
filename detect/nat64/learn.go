package nat64

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/detect/resolve/query"
)

// Name has the well-known IPv4 addresses and no IPv6 ones (RFC 7050 §2.2): an IPv6 address of it was made by a DNS64.
const Name = "ipv4only.arpa."

// wellKnownAddresses are the IPv4 addresses of Name.
var wellKnownAddresses = []netip.Addr{netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")}

// Prefixes returns the prefixes that the IPv6 addresses of Name were made with, in their order and each once (RFC 7050 §3). An
// address that tells no prefix, because none of the well-known IPv4 addresses stands in it at a place of RFC 6052, or one does
// twice, is passed over.
func Prefixes(addresses []netip.Addr) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addresses {
		if p, ok := prefixOf(a); ok && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func prefixOf(a netip.Addr) (netip.Prefix, bool) {
	if !a.Is6() || a.Is4In6() {
		return netip.Prefix{}, false
	}
	six := a.As16()
	for _, four := range wellKnownAddresses {
		if occurrences(six, four) > 1 {
			continue
		}
		for _, bits := range lengths {
			p := netip.PrefixFrom(a.WithZone(""), bits).Masked()
			if at(six, bits) == four && Valid(p) {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// occurrences counts the octet boundaries at which the address stands, with the zero octet between its parts or without.
func occurrences(six [16]byte, four netip.Addr) int {
	n := 0
	for start := range 13 {
		plain := netip.AddrFrom4([4]byte(six[start : start+4]))
		split := plain
		if start < zeroOctet && start+4 > zeroOctet && start+4 < len(six) {
			split = at(six, 8*start)
		}
		if plain == four || split == four {
			n++
		}
	}
	return n
}

// Exchange gets a DNS message answered by a name server of one network, such as resolve.Exchange.
type Exchange func(ctx context.Context, message []byte) ([]byte, error)

// Learn asks for the network's prefixes (RFC 7050). No prefix without error means that the network's name servers make no IPv6
// addresses. ttl is how long the result holds; it is at least one second. Errors: those of ask, query.ErrMalformed,
// *query.ServerError.
func Learn(ctx context.Context, ask Exchange) (prefixes []netip.Prefix, ttl time.Duration, err error) {
	message, err := query.NewAAAAQuery(Name)
	if err != nil {
		return nil, 0, fmt.Errorf("nat64: %w", err)
	}
	answer, err := ask(ctx, message)
	if err != nil {
		return nil, 0, fmt.Errorf("nat64: %s: %w", Name, err)
	}
	addresses, ttl, err := query.AAAA(answer)
	if err != nil {
		return nil, 0, fmt.Errorf("nat64: %s: %w", Name, err)
	}
	return Prefixes(addresses), max(ttl, time.Second), nil
}
