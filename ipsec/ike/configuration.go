package ike

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"mipvpn/ipsec/ike/message"
)

// Configuration is what a Configuration payload assigns (RFC 7296 §2.19, §3.15).
type Configuration struct {
	// Addresses are the internal addresses (VPN-TIA), INTERNAL_IP4_ADDRESS and INTERNAL_IP6_ADDRESS. The prefix length of the
	// latter, which says no more than Subnets do, is not kept, and sent as 128.
	Addresses []netip.Addr
	// DNS are internal name servers, INTERNAL_IP4_DNS and INTERNAL_IP6_DNS.
	DNS []netip.Addr
	// Subnets are the networks that the gateway protects, INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET.
	Subnets []netip.Prefix
	// Domains are the internal domains, which only the servers in DNS are to be asked about (RFC 8598 §5).
	Domains []Domain
	// Version is the peer's APPLICATION_VERSION, printable ASCII.
	Version string
}

// Domain is an internal domain (RFC 8598 §4.1) with its DNSSEC trust anchors (§4.2).
type Domain struct {
	// Name is in lower case without a last dot.
	Name string
	// Anchors are for the Name and what is below. A client takes them for domains that it was told of in another way alone
	// (§6).
	Anchors []TrustAnchor
}

// TrustAnchor is a DNSSEC trust anchor in the form of a DS record (RFC 4034 §5.1). It is comparable.
type TrustAnchor struct {
	KeyTag                uint16
	Algorithm, DigestType uint8
	// Digest has hexadecimal digits in lower case.
	Digest string
}

// Bounds of what is read of one Configuration payload.
const (
	maxAddresses = 8   // of one family
	maxListed    = 256 // name servers, networks, domains, trust anchors of a domain: of each
	maxVersion   = 255
)

// subnet4 returns the value of INTERNAL_IP4_SUBNET: address and mask; subnet6 that of INTERNAL_IP6_SUBNET: address and length.
func subnet4(p netip.Prefix) []byte {
	mask := ^uint32(0) << (32 - p.Bits())
	return binary.BigEndian.AppendUint32(p.Masked().Addr().AsSlice(), mask)
}

func subnet6(p netip.Prefix) []byte { return append(p.Masked().Addr().AsSlice(), byte(p.Bits())) }

func (a TrustAnchor) value() []byte {
	return append(append(binary.BigEndian.AppendUint16(nil, a.KeyTag), a.Algorithm, a.DigestType), a.Digest...)
}

// readConfiguration takes what it understands of a CFG_REPLY; the rest is ignored (RFC 7296 §3.15.1).
func readConfiguration(p message.Configuration) Configuration {
	var c Configuration
	count := make(map[message.AttributeType]int)
	anchored := -1 // the domain that trust anchors are for; they must follow it at once (RFC 8598 §4.2)
	for _, a := range p.Attributes {
		if count[a.Type]++; count[a.Type] > maxListed {
			continue
		}
		domain := -1
		v := a.Value
		switch a.Type {
		case message.InternalIP4Address:
			if len(v) == 4 && count[a.Type] <= maxAddresses {
				c.Addresses = append(c.Addresses, netip.AddrFrom4([4]byte(v)))
			}
		case message.InternalIP6Address:
			if len(v) == 17 && v[16] <= 128 && count[a.Type] <= maxAddresses {
				c.Addresses = append(c.Addresses, netip.AddrFrom16([16]byte(v[:16])))
			}
		case message.InternalIP4DNS, message.InternalIP6DNS:
			if addr, ok := netip.AddrFromSlice(v); ok && addr.Is4() == (a.Type == message.InternalIP4DNS) {
				c.DNS = append(c.DNS, addr)
			}
		case message.InternalIP4Subnet, message.InternalIP6Subnet:
			if s, ok := readSubnet(a.Type, v); ok {
				c.Subnets = append(c.Subnets, s)
			}
		case message.InternalDNSDomain:
			if name, ok := domainName(string(v)); ok {
				domain = len(c.Domains)
				c.Domains = append(c.Domains, Domain{Name: name})
			}
		case message.InternalDNSSECTA:
			if domain = anchored; domain < 0 {
				break
			}
			if anchor, ok := readAnchor(v); ok {
				c.Domains[domain].Anchors = append(c.Domains[domain].Anchors, anchor)
			}
		case message.ApplicationVersion:
			c.Version = printable(v)
		default: // not understood
		}
		anchored = domain
	}
	return c
}

// readSubnet reads an address with a mask, or a prefix length behind an IPv6 address.
func readSubnet(t message.AttributeType, v []byte) (netip.Prefix, bool) {
	switch {
	case t == message.InternalIP4Subnet && len(v) == 8:
		mask := binary.BigEndian.Uint32(v[4:])
		for n := range 33 {
			if mask == uint32(uint64(1)<<32-uint64(1)<<(32-n)) {
				return netip.PrefixFrom(netip.AddrFrom4([4]byte(v[:4])), n).Masked(), true
			}
		}
	case t == message.InternalIP6Subnet && len(v) == 17 && v[16] <= 128:
		return netip.PrefixFrom(netip.AddrFrom16([16]byte(v[:16])), int(v[16])).Masked(), true
	}
	return netip.Prefix{}, false
}

func readAnchor(v []byte) (TrustAnchor, bool) {
	if len(v) < 6 || len(v) > 4+128 || len(v)%2 != 0 {
		return TrustAnchor{}, false
	}
	digest := strings.ToLower(string(v[4:]))
	if strings.Trim(digest, "0123456789abcdef") != "" {
		return TrustAnchor{}, false
	}
	return TrustAnchor{KeyTag: binary.BigEndian.Uint16(v), Algorithm: v[2], DigestType: v[3], Digest: digest}, true
}

// domainName takes a domain name in presentation format: letters, digits, hyphens and underscores in labels of up to 63, 253
// octets in all, a dot at the end allowed. The root is none.
func domainName(s string) (string, bool) {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	if len(s) == 0 || len(s) > 253 {
		return "", false
	}
	for label := range strings.SplitSeq(s, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", false
		}
	}
	return s, true
}

// printable takes what is printable ASCII of a text from outside, which may come to a terminal.
func printable(v []byte) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, string(v[:min(len(v), maxVersion)]))
}

// Check says what of the configuration cannot be sent: addresses that are none, names that are no domain names, trust anchors
// without digits. Errors wrap ErrConfig.
func (c *Configuration) Check() error {
	for _, a := range append(append([]netip.Addr(nil), c.Addresses...), c.DNS...) {
		if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
			return fmt.Errorf("%w: configuration: want an address, found %v", ErrConfig, a)
		}
	}
	for _, s := range c.Subnets {
		if !s.IsValid() || s.Addr().Is4In6() {
			return fmt.Errorf("%w: configuration: want a prefix, found %v", ErrConfig, s)
		}
	}
	for _, d := range c.Domains {
		if name, ok := domainName(d.Name); !ok || name != d.Name {
			return fmt.Errorf("%w: configuration: want a domain in lower case without a last dot, found %q", ErrConfig, d.Name)
		}
		for _, a := range d.Anchors {
			if got, ok := readAnchor(a.value()); !ok || got != a {
				return fmt.Errorf("%w: configuration: domain %s: want a digest of hexadecimal digits in lower case, found %q", ErrConfig, d.Name, a.Digest)
			}
		}
	}
	return nil
}
