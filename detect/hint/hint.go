package hint

import (
	"fmt"
	"slices"
	"strings"

	"mipvpn/detect/location"
	"mipvpn/tun/packet"
)

// Signs are what an interface shows without anybody proving it. Zero fields are not known.
type Signs struct {
	// Domain is the domain name of the interface's DHCP lease, as the server wrote it.
	Domain string
	// NAI is the network access identifier of a foreign agent heard there.
	NAI string
	// Gateway is the hardware address of the interface's gateway, or of the foreign agent.
	Gateway packet.HardwareAddr
}

// Rules say what signs mean.
type Rules struct {
	// Domains and Realms are domain names of DHCP leases and realms of network access identifiers that are inside, in lower
	// case without a last dot. Names below them count as well.
	Domains, Realms []string
	// Gateways are those learnt before; nil for none.
	Gateways *Gateways
}

// Judge returns what the signs make likely, and why, for people. What an administrator has named counts more than what was
// learnt, and a sign of inside more than one of outside.
func (r Rules) Judge(s Signs) (h location.Hint, why string) {
	learnt := location.HintNone
	if r.Gateways != nil {
		learnt = r.Gateways.Hint(s.Gateway)
	}
	switch {
	case below(s.Domain, r.Domains):
		return location.HintInside, fmt.Sprintf("DHCP gives the domain %q", clip(s.Domain))
	case below(realm(s.NAI), r.Realms):
		return location.HintInside, fmt.Sprintf("a foreign agent calls itself %q", clip(s.NAI))
	case learnt == location.HintInside:
		return learnt, fmt.Sprintf("proofs came through the gateway %v before", s.Gateway)
	case learnt == location.HintOutside:
		return learnt, fmt.Sprintf("the network of the gateway %v was outside before", s.Gateway)
	}
	return location.HintNone, ""
}

// maxName is the longest domain name (RFC 1035 §2.3.4), longer ones mean nothing.
const maxName = 255

// below reports whether name is one of the domains or below one.
func below(name string, domains []string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return slices.ContainsFunc(domains, func(d string) bool { return name == d || strings.HasSuffix(name, "."+d) })
}

// realm returns the realm of a network access identifier (RFC 4282 §2.1), empty without one.
func realm(nai string) string {
	_, r, _ := strings.Cut(nai, "@")
	return r
}

// clip cuts what others have written to what fits a line.
func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}
