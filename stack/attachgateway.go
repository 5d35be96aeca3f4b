package stack

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ViaGateway attaches through the foreign agent in the VPN gateway (draft appendix B): the VPN's address is the home address, and
// packets go through the VPN as they are, the gateway being the end of the tunnel to the home agent.
type ViaGateway struct {
	vpn      *PacketLink
	flow     link.Flow
	listener atomic.Pointer[tunnel.Listener]
}

// Listen does what ViaForeignAgent.Listen does.
func (a *ViaGateway) Listen(l *tunnel.Listener) { a.listener.Store(l) }

// AttachViaGateway attaches the home address that the VPN's link has, to its home agent through the foreign agent whose address
// the gateway's advertisement gave. replies is called with each message from the agent and owns it; what else comes out of the
// VPN goes to inner, until Close. A link has one such attachment at a time. Errors are those of opening the flow.
func AttachViaGateway(vpn *PacketLink, agent netip.Addr, replies func([]byte), inner link.Receiver) (*ViaGateway, error) {
	flow, err := vpn.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: netip.AddrPortFrom(agent, RegistrationPort), TTL: 255},
		func(b *packet.Batch) {
			for _, p := range b.Bufs {
				replies(append([]byte(nil), p.Bytes()...))
			}
			b.Release()
		})
	if err != nil {
		return nil, fmt.Errorf("stack: attach %v through the VPN gateway's foreign agent %v: %w", vpn.Addr(), agent, err)
	}
	vpn.SetRest(inner)
	return &ViaGateway{vpn: vpn, flow: flow}, nil
}

// Send implements Attachment.
func (a *ViaGateway) Send(message []byte) error { return a.flow.Send(netip.AddrPort{}, message) }

// Carrier implements Attachment.
func (a *ViaGateway) Carrier(mobilenode.Tunnel) (Carrier, error) {
	l := a.listener.Load()
	return func(c link.Class) link.Path {
		p, up := a.vpn.Path(c)
		if !up {
			return link.Path{Out: discard{a.vpn.drops}}
		}
		return toAgent(p, l, a.vpn.drops)
	}, nil
}

// Close implements Attachment.
func (a *ViaGateway) Close() error {
	a.vpn.SetRest(nil)
	return a.flow.Close()
}
