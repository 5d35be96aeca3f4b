package nat64

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// WellKnown is the Well-Known Prefix (RFC 6052 §2.1). Only global IPv4 addresses may stand behind it (§3.1).
var WellKnown = netip.MustParsePrefix("64:ff9b::/96")

var (
	// ErrPrefix means that a prefix is none that RFC 6052 §2.2 knows.
	ErrPrefix = errors.New("nat64: not a prefix of RFC 6052")
	// ErrAddress means that an address cannot be embedded.
	ErrAddress = errors.New("nat64: the address cannot be reached through this prefix")
)

// lengths are the lengths of prefixes in bits (RFC 6052 §2.2).
var lengths = []int{32, 40, 48, 56, 64, 96}

// zeroOctet is the octet that is zero in every format but the one of 96 bits, where the prefix has it so (RFC 6052 §2.2).
const zeroOctet = 8

// places returns the octets at which the IPv4 address stands behind a prefix of that many bits.
func places(bits int) [4]int {
	var out [4]int
	at := bits / 8
	for i := range out {
		if at == zeroOctet {
			at++
		}
		out[i] = at
		at++
	}
	return out
}

// Valid tells whether p is a prefix of RFC 6052 §2.2: of one of the lengths there, with the octet from bit 64 on zero.
func Valid(p netip.Prefix) bool {
	return p.IsValid() && p.Addr().Is6() && !p.Addr().Is4In6() && p.Addr().Zone() == "" && slices.Contains(lengths, p.Bits()) &&
		p == p.Masked() && p.Addr().As16()[zeroOctet] == 0
}

// Embed returns the IPv6 address under which a NAT64 with the prefix knows the IPv4 address (RFC 6052 §2.3). Errors: ErrPrefix;
// ErrAddress for what is no unicast IPv4 address, or not a global one behind WellKnown.
func Embed(p netip.Prefix, a netip.Addr) (netip.Addr, error) {
	if !Valid(p) {
		return netip.Addr{}, fmt.Errorf("%w: %v", ErrPrefix, p)
	}
	a = a.Unmap()
	if !a.Is4() || a.IsMulticast() || a.IsUnspecified() || a.IsLoopback() || p == WellKnown && !global(a) {
		return netip.Addr{}, fmt.Errorf("%w: %v behind %v", ErrAddress, a, p)
	}
	out, four := p.Addr().As16(), a.As4()
	for i, at := range places(p.Bits()) {
		out[at] = four[i]
	}
	return netip.AddrFrom16(out), nil
}

// Extract returns the IPv4 address that stands in an address behind the prefix, false when that is not behind it.
func Extract(p netip.Prefix, a netip.Addr) (netip.Addr, bool) {
	if !Valid(p) || !p.Contains(a) {
		return netip.Addr{}, false
	}
	return at(a.As16(), p.Bits()), true
}

func at(six [16]byte, bits int) netip.Addr {
	var four [4]byte
	for i, k := range places(bits) {
		four[i] = six[k]
	}
	return netip.AddrFrom4(four)
}

// special are the IPv4 networks that are not global (RFC 6890), as far as unicast goes.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
}

func global(a netip.Addr) bool {
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}
