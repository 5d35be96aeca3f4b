package discovery

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"mipvpn/tun/packet"
)

// ICMP types (RFC 1256 §3).
const (
	TypeRouterAdvertisement = 9
	TypeRouterSolicitation  = 10
)

// Codes of a router advertisement (RFC 5944 §2.1).
const (
	// CodeCommonTraffic means that the agent also routes what does not concern mobile nodes.
	CodeCommonTraffic = 0
	// CodeMobileTraffic means that it does not.
	CodeMobileTraffic = 16
)

var (
	// AllSystems is where advertisements are multicast to (RFC 5944 §2.1).
	AllSystems = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	// AllRouters is where solicitations are multicast to (RFC 1256 §5.1).
	AllRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})
)

var (
	// ErrMalformed means that a message is no valid router advertisement or solicitation.
	ErrMalformed = errors.New("mipv4/discovery: malformed message")
	// ErrNotAgent means that a router advertisement is valid but not a mobility agent's.
	ErrNotAgent = errors.New("mipv4/discovery: router advertisement without mobility agent extension")
	// ErrUnknownExtension means that an advertisement holds an unknown extension numbered 0 to 127 and is to be discarded
	// (RFC 5944 §1.8).
	ErrUnknownExtension = errors.New("mipv4/discovery: unknown extension that must not be skipped")
)

// Flags are the sixteen bits behind the Registration Lifetime of the mobility agent extension (RFC 5944 §2.1.1), R being
// the most significant.
type Flags uint16

// Flags of a mobility agent.
const (
	// FlagRegistrationRequired (R): registration through an agent of this link is asked for even with a co-located
	// care-of address.
	FlagRegistrationRequired Flags = 0x8000
	// FlagBusy (B): the foreign agent accepts no more mobile nodes.
	FlagBusy Flags = 0x4000
	// FlagHomeAgent (H): the agent is a home agent on this link.
	FlagHomeAgent Flags = 0x2000
	// FlagForeignAgent (F): the agent is a foreign agent on this link.
	FlagForeignAgent Flags = 0x1000
	// FlagMinimal (M): minimal encapsulation is understood.
	FlagMinimal Flags = 0x0800
	// FlagGRE (G): GRE encapsulation is understood.
	FlagGRE Flags = 0x0400
	// FlagReservedR (r) is sent as zero and ignored.
	FlagReservedR Flags = 0x0200
	// FlagReverseTunnel (T): reverse tunnelling is offered (RFC 3024 §3.1).
	FlagReverseTunnel Flags = 0x0100
	// FlagUDPTunnel (U): UDP tunnelling is offered, the agent being behind a NAT (RFC 3519 §3.4).
	FlagUDPTunnel Flags = 0x0080
	// FlagRevocation (X): registration revocation is supported (RFC 3543 §3.1).
	FlagRevocation Flags = 0x0040
	// FlagRegional (I): regional registration is supported (RFC 4857).
	FlagRegional Flags = 0x0020
)

// Has reports whether every bit of g is set in f.
func (f Flags) Has(g Flags) bool { return f&g == g }

// String returns the letters of the bits that are set in the order of the figure, "-" for none; reserved bits have none.
func (f Flags) String() string {
	var b strings.Builder
	for i, c := range "RBHFMGrTUXI" {
		if f&(0x8000>>i) != 0 {
			b.WriteRune(c)
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}

// Router is one router address of an advertisement.
type Router struct {
	// Address of the router.
	Address netip.Addr
	// Preference as a default router, higher being better (RFC 1256 §3).
	Preference int32
}

// LifetimeInfinite as a Registration Lifetime means that there is no limit (RFC 5944 §2.1.1).
const LifetimeInfinite = 0xffff

// Advertisement is an agent advertisement: an ICMP router advertisement with a mobility agent extension (RFC 5944 §2.1,
// App. G.1), all numbers big-endian on the wire:
//
//	 0: type 9    1: code              2: checksum
//	 4: number of addresses  5: entry size 2 (32-bit words)  6: lifetime (seconds)
//	 8: per address: address, preference (4 octets each)
//	then extensions, among them
//	 0: type 16   1: length 6 + 4 N    2: sequence number
//	 4: registration lifetime (seconds) 6: flags
//	 8: care-of addresses (4 octets each)
type Advertisement struct {
	// Code is CodeCommonTraffic or CodeMobileTraffic.
	Code uint8
	// Lifetime in whole seconds for which the advertisement is valid without another one; 0 takes it back.
	Lifetime time.Duration
	// Routers advertised, possibly none, at most 255.
	Routers []Router
	// Sequence counts the agent's advertisements; after 0xffff it goes on with 256, and begins at 0 after a reboot.
	Sequence uint16
	// RegistrationLifetime is the longest that the agent accepts in a request, in seconds; LifetimeInfinite for any.
	RegistrationLifetime uint16
	// Flags of the agent.
	Flags Flags
	// CareOfAddresses offered, at most 62.
	CareOfAddresses []netip.Addr
	// PrefixLengths of Routers, in their order; nil when the extension is not there.
	PrefixLengths []uint8
	// NAI is the agent's network access identifier, at most 254 octets, as it is in the FA-NAI extension behind all others
	// (RFC 4857 §8.2: type 136, length, sub-type 3, identifier); empty without one. Nobody vouches for it. On receipt a
	// Mobile Node NAI extension (RFC 2794 §2), which some agents send in its place, will do.
	NAI string
	// Challenge is what a mobile node is to show that it has heard (RFC 4721 §2), at most 255 octets; empty without one.
	Challenge []byte
	// Extensions are written behind all others as they are, each with type, length and data; they are not filled on receipt.
	Extensions []byte
}

const (
	headerLen       = 8
	routerLen       = 8
	extPadding      = 0
	extAgent        = 16
	extPrefixes     = 19
	extChallenge    = 24  // RFC 4721 §2
	extNodeNAI      = 131 // RFC 2794 §2
	extNAI          = 136 // NAI Carrying Extension (RFC 3846)
	subtypeAgentNAI = 3   // RFC 4857 §8.2
	maxNAI          = 254
	agentFixedLen   = 6
	maxCareOf       = (255 - agentFixedLen) / 4
	maxPrefixLength = 32
)

// ParseAdvertisement decodes p, an ICMP message from its type octet on. Errors wrap ErrMalformed, ErrNotAgent or
// ErrUnknownExtension. Octets of router entries beyond the two words that RFC 1256 defines are ignored.
func ParseAdvertisement(p []byte) (*Advertisement, error) {
	if len(p) < headerLen {
		return nil, fmt.Errorf("%w: %d octets, at least %d are expected", ErrMalformed, len(p), headerLen)
	}
	if p[0] != TypeRouterAdvertisement {
		return nil, fmt.Errorf("%w: ICMP type %d, expected %d", ErrMalformed, p[0], TypeRouterAdvertisement)
	}
	if packet.Checksum(p, 0) != 0 {
		return nil, fmt.Errorf("%w: checksum %#04x is wrong", ErrMalformed, binary.BigEndian.Uint16(p[2:]))
	}
	if p[1] != CodeCommonTraffic && p[1] != CodeMobileTraffic {
		return nil, fmt.Errorf("%w: code %d, expected %d or %d", ErrMalformed, p[1], CodeCommonTraffic, CodeMobileTraffic)
	}
	n, size := int(p[4]), int(p[5])*4
	if n > 0 && size < routerLen {
		return nil, fmt.Errorf("%w: address entries of %d octets, at least %d are expected", ErrMalformed, size, routerLen)
	}
	end := headerLen + n*size
	if end > len(p) {
		return nil, fmt.Errorf("%w: %d addresses of %d octets in %d octets", ErrMalformed, n, size, len(p))
	}
	a := &Advertisement{Code: p[1], Lifetime: time.Duration(binary.BigEndian.Uint16(p[6:])) * time.Second}
	for i := range n {
		e := p[headerLen+i*size:]
		a.Routers = append(a.Routers, Router{
			Address:    netip.AddrFrom4([4]byte(e[:4])),
			Preference: int32(binary.BigEndian.Uint32(e[4:])),
		})
	}
	if err := a.parseExtensions(p[end:]); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Advertisement) parseExtensions(p []byte) error {
	found := false
	for len(p) > 0 {
		typ := p[0]
		if typ == extPadding {
			p = p[1:]
			continue
		}
		if typ < 128 && typ != extAgent && typ != extPrefixes && typ != extChallenge {
			return fmt.Errorf("%w: type %d", ErrUnknownExtension, typ)
		}
		if len(p) < 2 || len(p)-2 < int(p[1]) {
			return fmt.Errorf("%w: extension %d is cut off", ErrMalformed, typ)
		}
		data := p[2 : 2+int(p[1])]
		p = p[2+len(data):]
		switch typ {
		case extAgent:
			if found {
				return fmt.Errorf("%w: two mobility agent extensions", ErrMalformed)
			}
			if len(data) < agentFixedLen || (len(data)-agentFixedLen)%4 != 0 {
				return fmt.Errorf("%w: mobility agent extension of length %d, expected 6 and a multiple of 4", ErrMalformed, len(data))
			}
			found = true
			a.Sequence = binary.BigEndian.Uint16(data)
			a.RegistrationLifetime = binary.BigEndian.Uint16(data[2:])
			a.Flags = Flags(binary.BigEndian.Uint16(data[4:]))
			for c := data[agentFixedLen:]; len(c) > 0; c = c[4:] {
				a.CareOfAddresses = append(a.CareOfAddresses, netip.AddrFrom4([4]byte(c[:4])))
			}
		case extNAI:
			if len(data) > 1 && data[0] == subtypeAgentNAI {
				a.NAI = string(data[1:])
			}
		case extNodeNAI:
			if a.NAI == "" && len(data) <= maxNAI {
				a.NAI = string(data)
			}
		case extChallenge:
			if len(a.Challenge) == 0 {
				a.Challenge = append([]byte(nil), data...)
			}
		case extPrefixes:
			// RFC 5944 §2.1.2: one length for each router address, in their order.
			if a.PrefixLengths != nil || len(data) != len(a.Routers) {
				return fmt.Errorf("%w: %d prefix lengths for %d router addresses", ErrMalformed, len(data), len(a.Routers))
			}
			a.PrefixLengths = append(make([]uint8, 0, len(data)), data...)
			for _, l := range data {
				if l > maxPrefixLength {
					return fmt.Errorf("%w: prefix length %d", ErrMalformed, l)
				}
			}
		}
	}
	switch {
	case !found:
		return ErrNotAgent
	case a.Flags.Has(FlagForeignAgent) && len(a.CareOfAddresses) == 0:
		return fmt.Errorf("%w: a foreign agent without care-of address (RFC 5944 §2.1.1)", ErrMalformed)
	}
	return nil
}

// Append writes the ICMP message behind b, checksum included, with a padding octet when its length would be odd. Errors
// wrap ErrMalformed: an address is not IPv4, there are too many, the prefix lengths do not fit the routers, or the NAI is too
// long.
func (a *Advertisement) Append(b []byte) ([]byte, error) {
	switch {
	case len(a.Routers) > 255:
		return b, fmt.Errorf("%w: %d router addresses, at most 255 are possible", ErrMalformed, len(a.Routers))
	case len(a.CareOfAddresses) > maxCareOf:
		return b, fmt.Errorf("%w: %d care-of addresses, at most %d are possible", ErrMalformed, len(a.CareOfAddresses), maxCareOf)
	case a.PrefixLengths != nil && len(a.PrefixLengths) != len(a.Routers):
		return b, fmt.Errorf("%w: %d prefix lengths for %d router addresses", ErrMalformed, len(a.PrefixLengths), len(a.Routers))
	case len(a.NAI) > maxNAI:
		return b, fmt.Errorf("%w: a NAI of %d octets, at most %d are possible", ErrMalformed, len(a.NAI), maxNAI)
	case len(a.Challenge) > 255:
		return b, fmt.Errorf("%w: a challenge of %d octets, at most 255 are possible", ErrMalformed, len(a.Challenge))
	case !wellFormed(a.Extensions):
		return b, fmt.Errorf("%w: extensions of %d octets, expected type, length and data of each, and of none that is written otherwise", ErrMalformed, len(a.Extensions))
	}
	start := len(b)
	out := append(b, TypeRouterAdvertisement, a.Code, 0, 0, uint8(len(a.Routers)), routerLen/4)
	out = binary.BigEndian.AppendUint16(out, uint16(max(0, min(a.Lifetime/time.Second, 0xffff))))
	for _, r := range a.Routers {
		if !r.Address.Is4() {
			return b, fmt.Errorf("%w: router address %v is not IPv4", ErrMalformed, r.Address)
		}
		v := r.Address.As4()
		out = binary.BigEndian.AppendUint32(append(out, v[:]...), uint32(r.Preference))
	}
	out = append(out, extAgent, uint8(agentFixedLen+4*len(a.CareOfAddresses)))
	out = binary.BigEndian.AppendUint16(out, a.Sequence)
	out = binary.BigEndian.AppendUint16(out, a.RegistrationLifetime)
	out = binary.BigEndian.AppendUint16(out, uint16(a.Flags))
	for _, c := range a.CareOfAddresses {
		if !c.Is4() {
			return b, fmt.Errorf("%w: care-of address %v is not IPv4", ErrMalformed, c)
		}
		v := c.As4()
		out = append(out, v[:]...)
	}
	if a.PrefixLengths != nil {
		out = append(append(out, extPrefixes, uint8(len(a.PrefixLengths))), a.PrefixLengths...)
	}
	if len(a.Challenge) > 0 {
		out = append(append(out, extChallenge, uint8(len(a.Challenge))), a.Challenge...)
	}
	if a.NAI != "" {
		out = append(append(out, extNAI, uint8(1+len(a.NAI)), subtypeAgentNAI), a.NAI...)
	}
	out = append(out, a.Extensions...)
	if (len(out)-start)%2 != 0 {
		out = append(out, extPadding)
	}
	binary.BigEndian.PutUint16(out[start+2:], packet.Checksum(out[start:], 0))
	return out, nil
}

// wellFormed reports whether p is made of whole extensions other than those that an Advertisement has fields for.
func wellFormed(p []byte) bool {
	for len(p) > 0 {
		switch {
		case p[0] == extPadding:
			p = p[1:]
			continue
		case p[0] == extAgent || p[0] == extPrefixes || p[0] == extChallenge || len(p) < 2 || len(p)-2 < int(p[1]):
			return false
		}
		p = p[2+int(p[1]):]
	}
	return true
}

// Networks returns the networks that the advertisement's routers are on, nil when it has no prefix lengths.
func (a *Advertisement) Networks() []netip.Prefix {
	var n []netip.Prefix
	for i, l := range a.PrefixLengths {
		n = append(n, netip.PrefixFrom(a.Routers[i].Address, int(l)).Masked())
	}
	return n
}

// NextSequence returns the sequence number of the advertisement that follows the one with number n (RFC 5944 §2.3.2).
func NextSequence(n uint16) uint16 {
	if n == 0xffff {
		return 256
	}
	return n + 1
}
