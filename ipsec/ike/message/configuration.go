package message

import (
	"encoding/binary"
	"strconv"
)

// ConfigurationType is a CFG Type (RFC 7296 §3.15).
type ConfigurationType uint8

// The configuration types of RFC 7296 §3.15.
const (
	CFGRequest ConfigurationType = 1
	CFGReply   ConfigurationType = 2
	CFGSet     ConfigurationType = 3
	CFGAck     ConfigurationType = 4
)

// AttributeType is a configuration attribute type (RFC 7296 §3.15.1).
type AttributeType uint16

// The configuration attributes of RFC 7296 §3.15.1 and, for split DNS, of RFC 8598 §4.1.
const (
	InternalIP4Address  AttributeType = 1
	InternalIP4Netmask  AttributeType = 2
	InternalIP4DNS      AttributeType = 3
	InternalIP4NBNS     AttributeType = 4
	InternalIP4DHCP     AttributeType = 6
	ApplicationVersion  AttributeType = 7
	InternalIP6Address  AttributeType = 8
	InternalIP6DNS      AttributeType = 10
	InternalIP6DHCP     AttributeType = 12
	InternalIP4Subnet   AttributeType = 13
	SupportedAttributes AttributeType = 14
	InternalIP6Subnet   AttributeType = 15
	InternalDNSDomain   AttributeType = 25
	InternalDNSSECTA    AttributeType = 26
)

// String returns the standard's name, or "attribute N".
func (t AttributeType) String() string {
	switch t {
	case InternalIP4Address:
		return "INTERNAL_IP4_ADDRESS"
	case InternalIP4Netmask:
		return "INTERNAL_IP4_NETMASK"
	case InternalIP4DNS:
		return "INTERNAL_IP4_DNS"
	case InternalIP4NBNS:
		return "INTERNAL_IP4_NBNS"
	case InternalIP4DHCP:
		return "INTERNAL_IP4_DHCP"
	case ApplicationVersion:
		return "APPLICATION_VERSION"
	case InternalIP6Address:
		return "INTERNAL_IP6_ADDRESS"
	case InternalIP6DNS:
		return "INTERNAL_IP6_DNS"
	case InternalIP6DHCP:
		return "INTERNAL_IP6_DHCP"
	case InternalIP4Subnet:
		return "INTERNAL_IP4_SUBNET"
	case SupportedAttributes:
		return "SUPPORTED_ATTRIBUTES"
	case InternalIP6Subnet:
		return "INTERNAL_IP6_SUBNET"
	case InternalDNSDomain:
		return "INTERNAL_DNS_DOMAIN"
	case InternalDNSSECTA:
		return "INTERNAL_DNSSEC_TA"
	default:
		return "attribute " + strconv.Itoa(int(t))
	}
}

// ConfigurationAttribute is one attribute of a Configuration payload (RFC 7296 §3.15.1, Figure 23). An empty Value in a
// request asks for the attribute.
type ConfigurationAttribute struct {
	Type  AttributeType
	Value []byte
}

// Configuration is the Configuration payload (RFC 7296 §3.15, Figure 22). The lengths of known attributes' values are
// left to the reader, who ignores what he cannot use.
type Configuration struct {
	Kind       ConfigurationType
	Attributes []ConfigurationAttribute
}

// Type returns TypeConfiguration.
func (Configuration) Type() PayloadType { return TypeConfiguration }

func parseConfiguration(b []byte) (Payload, error) {
	if len(b) < 4 {
		return nil, malformed(TypeConfiguration, "CFG Type", "want at least 4 octets, found %d", len(b))
	}
	c := Configuration{Kind: ConfigurationType(b[0])}
	for b = b[4:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, malformed(TypeConfiguration, "Length", "want at least 4 octets, found %d", len(b))
		}
		n := int(binary.BigEndian.Uint16(b[2:]))
		if n > len(b)-4 {
			return nil, malformed(TypeConfiguration, "Length", "want at most %d, found %d", len(b)-4, n)
		}
		c.Attributes = append(c.Attributes, ConfigurationAttribute{
			Type:  AttributeType(binary.BigEndian.Uint16(b) & 0x7fff),
			Value: clone(b[4 : 4+n]),
		})
		b = b[4+n:]
	}
	return c, nil
}

func (p Configuration) appendBody(b []byte) []byte {
	b = append(b, byte(p.Kind), 0, 0, 0)
	for _, a := range p.Attributes {
		b = binary.BigEndian.AppendUint16(b, uint16(a.Type)&0x7fff)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value))) //nolint:gosec // a longer value fails as ErrTooLong
		b = append(b, a.Value...)
	}
	return b
}
