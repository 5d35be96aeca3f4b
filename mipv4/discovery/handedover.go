package discovery

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/tun/link"
)

// ErrUnusable means that an advertisement is valid, but of an agent that a mobile node cannot be served by.
var ErrUnusable = errors.New("mipv4/discovery: unusable agent")

// HandedOver returns the foreign agent of an advertisement that has not come from a link but was handed over by somebody else,
// such as a VPN gateway (draft-vaarala-mip4-vpn appendix B.2): message is its ICMP message from its type
// octet on. Nobody has seen the packet's source, so that Address is the first care-of address. Hardware is zero, and Expires has
// no meaning: the advertisement is as good as what handed it over. Errors wrap those of ParseAdvertisement, ErrSource for an address that no
// agent can have, and ErrUnusable for one that is no foreign agent, is busy, offers no reverse tunnelling (RFC 3024), takes the
// advertisement back by a lifetime of 0 or takes no registration.
func HandedOver(now link.Instant, message []byte) (Agent, error) {
	adv, err := ParseAdvertisement(message)
	if err != nil {
		return Agent{}, err
	}
	a := Agent{
		CareOfAddresses: adv.CareOfAddresses, Flags: adv.Flags, RegistrationLifetime: adv.RegistrationLifetime,
		Networks: adv.Networks(), NAI: adv.NAI, Challenge: adv.Challenge, Sequence: adv.Sequence, HeardAt: now.Boot, Expires: now.Boot + adv.Lifetime,
	}
	switch {
	case !a.ForeignAgent():
		return Agent{}, fmt.Errorf("%w: no foreign agent (flags %v)", ErrUnusable, a.Flags)
	case a.Busy():
		return Agent{}, fmt.Errorf("%w: the foreign agent is busy", ErrUnusable)
	case !a.Flags.Has(FlagReverseTunnel):
		return Agent{}, fmt.Errorf("%w: the foreign agent offers no reverse tunnelling (RFC 3024)", ErrUnusable)
	case adv.Lifetime == 0:
		return Agent{}, fmt.Errorf("%w: the advertisement has a lifetime of 0", ErrUnusable)
	case a.RegistrationLifetime == 0:
		return Agent{}, fmt.Errorf("%w: the foreign agent takes no registration", ErrUnusable)
	}
	a.Address = a.CareOfAddresses[0]
	for _, address := range a.CareOfAddresses {
		if address.IsUnspecified() || address.IsMulticast() || address.IsLoopback() || address == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return Agent{}, fmt.Errorf("%w: address %v", ErrSource, address)
		}
	}
	return a, nil
}
