package pinned

import (
	"errors"

	"mipvpn/ipsec/esp"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// near is the mobile node's end of vc, composed as the client composes its modes: engine and pipeline above i-MIP above the
// VPN above a kernel socket.
type near struct {
	engine   *stack.Engine
	vpn      *stack.VPN
	internal *stack.CoLocated
}

// newNear puts the end together on the link below.
func newNear(e End, below link.Link, device link.Device, clock link.Clock, drops *packet.Drops) (*near, error) {
	v := e.VC
	in, err := esp.NewInbound(v.inbound(esp.AddrSelector(v.Inner), esp.AnySelector()))
	if err != nil {
		return nil, err
	}
	out, err := esp.NewOutbound(v.outbound(esp.AddrSelector(v.Inner), esp.AnySelector()), drops)
	if err != nil {
		return nil, err
	}
	n := &near{engine: stack.NewEngine(device, clock, v.HomeAddress, drops)}
	if n.vpn, err = stack.OpenVPN(below, e.Remote.Addr(), drops, func(stack.Message) {}); err != nil {
		return nil, err
	}
	if err := n.compose(v, in, out, drops); err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *near) compose(v *VC, in *esp.Inbound, out *esp.Outbound, drops *packet.Drops) error {
	n.vpn.Install(in)
	n.vpn.Use(out, esp.Overhead(encryption), true)
	var err error
	n.internal, err = stack.AttachCoLocated(n.vpn.Link(v.Inner), v.HomeAddress, v.HomeAgent, drops, func([]byte) {}, n.engine.Inbound())
	if err != nil {
		return err
	}
	carrier, err := n.internal.Carrier(mobilenode.Tunnel{Encapsulation: tunnel.UDP})
	if err != nil {
		return err
	}
	// A pipeline takes of a mode only whether it has a VPN.
	p, err := stack.CompileProtected(stack.ModeCVC, carrier(link.Protected))
	if err != nil {
		return err
	}
	n.engine.Swap(p)
	return nil
}

func (n *near) run() error { return n.engine.Run() }

func (n *near) close() error {
	var err error
	if n.internal != nil {
		err = n.internal.Close()
	}
	return errors.Join(err, n.vpn.Close())
}
