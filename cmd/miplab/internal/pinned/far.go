package pinned

import (
	"errors"
	"net/netip"
	"sync/atomic"

	"mipvpn/ipsec/esp"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// far is gateway and home agent of vc: what comes in ESP goes by memory to the home agent, which takes it out of its tunnel
// into the device, and the other way about. The mobile node's outer endpoint is that of the last packet that was
// authentic, and its port in the tunnel that of the first one to the home agent, in the place of a registration.
type far struct {
	vc     *VC
	drops  *packet.Drops
	device link.Device

	natt    link.Flow
	inbound esp.Table
	client  endpoint

	agent   *stack.PacketLink // whose address is the home agent's
	binding atomic.Pointer[binding]
}

// binding is the mobile node as the home agent has it.
type binding struct {
	remote netip.AddrPort // VPN-TIA and port
	flow   link.Flow
	path   link.Path
}

// newFar puts the end together on the link below.
func newFar(e End, below link.Link, device link.Device, drops *packet.Drops) (*far, error) {
	v := e.VC
	f := &far{vc: v, drops: drops, device: device, client: endpoint{drops: drops}}
	in, err := esp.NewInbound(v.inbound(esp.AnySelector(), esp.AddrSelector(v.Inner)))
	if err != nil {
		return nil, err
	}
	f.inbound.Add(in)
	out, err := esp.NewOutbound(v.outbound(esp.AnySelector(), esp.AddrSelector(v.Inner)), drops)
	if err != nil {
		return nil, err
	}
	f.agent = stack.NewPacketLink(v.HomeAgent, drops, f.bind)
	if f.natt, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortNATT}, f.receive); err != nil {
		return nil, err
	}
	under := f.client.path(f.natt)
	path := under.Over(out, esp.Overhead(encryption), true)
	path.MTU = out.Fits(under.MTU)
	f.agent.SetCarrier(func(link.Class) link.Path { return path })
	return f, nil
}

func (f *far) run() error { return pump(f.device, f.send) }

func (f *far) close() error {
	err := f.natt.Close()
	if b := f.binding.Load(); b != nil {
		err = errors.Join(err, b.flow.Close())
	}
	return err
}

// receive takes what comes on port 4500, as the gateway does (RFC 3948 §2.2).
func (f *far) receive(b *packet.Batch) {
	b.Keep(f.drops, func(p *packet.Buf) packet.DropReason {
		switch esp.Classify(p.Bytes()) {
		case esp.KindESP:
			return packet.NotDropped
		case esp.KindKeepalive:
			return packet.Delivered
		}
		return packet.DropUnsupported
	})
	f.inbound.Open(b, f.drops)
	if b.Len() == 0 {
		b.Release()
		return
	}
	f.client.learn(b)
	f.agent.Deliver(b)
}

// bind takes packets of the tunnel that belong to no flow yet: the first tunnelled data opens the mobile node's.
func (f *far) bind(b *packet.Batch) {
	b.Keep(f.drops, func(p *packet.Buf) packet.DropReason {
		ip := packet.IPv4(p.Bytes())
		if ip.Protocol() != packet.ProtocolUDP || ip.FragmentOffset() != 0 || ip.MoreFragments() {
			return packet.DropNoFlow
		}
		u := packet.UDP(ip.Payload())
		if u.DstPort() != wire.Port || !tunnel.IsData(u.Payload()) {
			return packet.DropNoFlow
		}
		if !f.register(netip.AddrPortFrom(ip.Src(), u.SrcPort())) {
			return packet.DropNoBinding
		}
		return packet.NotDropped
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	f.agent.Deliver(b)
}

// register makes remote the mobile node, in the place of an earlier one.
func (f *far) register(remote netip.AddrPort) bool {
	old := f.binding.Load()
	if old != nil && old.remote == remote {
		return true
	}
	flow, err := f.agent.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: wire.Port, Remote: remote}, f.receiveData)
	if err != nil {
		return false
	}
	step := tunnel.Encapsulator{Encapsulation: tunnel.UDP, Drops: f.drops}
	path := flow.Path(link.Protected).Over(step, tunnel.UDP.Overhead(), false)
	f.binding.Store(&binding{remote: remote, flow: flow, path: path})
	if old != nil {
		_ = old.flow.Close() // it closes nothing that could fail
	}
	return true
}

// receiveData takes packets out of the mobile node's tunnel into the device, as the home agent does.
func (f *far) receiveData(b *packet.Batch) {
	b.Keep(f.drops, func(p *packet.Buf) packet.DropReason {
		if r := tunnel.Open(p, tunnel.UDP); r != packet.NotDropped {
			return r
		}
		if packet.IPv4(p.Bytes()).Src() != f.vc.HomeAddress {
			return packet.DropNoBinding
		}
		return packet.NotDropped
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	_ = f.device.Write(b) // what the host does not take has been counted
}

// send tunnels packets from the device to the mobile node.
func (f *far) send(b *packet.Batch) {
	to := f.binding.Load()
	if to == nil {
		b.Drop(f.drops, packet.DropNoBinding)
		return
	}
	b.Keep(f.drops, func(p *packet.Buf) packet.DropReason {
		if ip := packet.IPv4(p.Bytes()); !ip.Valid() || ip.Dst() != f.vc.HomeAddress {
			return packet.DropNoBinding
		}
		return packet.NotDropped
	})
	if b.Len() == 0 {
		b.Release()
		return
	}
	_ = to.path.Send(b) // what cannot be sent has been counted
}
