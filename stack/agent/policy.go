package agent

import (
	"encoding/binary"
	"net/netip"

	"mipvpn/tun/packet"
)

// Ports of IKE (RFC 7296 §2, RFC 3948 §2).
const (
	portIKE  = 500
	portNATT = 4500
)

// policy is what an x-HA lets pass: ESP and IKE to and from the VPN gateways (RFC 4093 §2.2). Nil lets everything pass.
type policy map[netip.Addr]bool

func newPolicy(gateways []netip.Addr) policy {
	if len(gateways) == 0 {
		return nil
	}
	p := make(policy, len(gateways))
	for _, g := range gateways {
		p[g] = true
	}
	return p
}

// allows reports whether a packet that is exchanged with the address peer may pass. gatewayPort says where the UDP
// header has the gateway's port: at octet 0 in packets from it, at 2 in packets to it. Later fragments have no ports; they
// pass by address and protocol.
func (p policy) allows(ip packet.IPv4, peer netip.Addr, gatewayPort int) bool {
	if p == nil {
		return true
	}
	if !p[peer] {
		return false
	}
	switch ip.Protocol() {
	case packet.ProtocolESP:
		return true
	case packet.ProtocolUDP:
		if ip.FragmentOffset() != 0 {
			return true
		}
		u := ip.Payload()
		if len(u) < packet.UDPLen {
			return false
		}
		port := binary.BigEndian.Uint16(u[gatewayPort:])
		return port == portIKE || port == portNATT
	}
	return false
}
