package stack

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// AgentOnLink is a foreign agent on the link of an interface, as its advertisement has it.
type AgentOnLink struct {
	// Address is the advertisement's source, Hardware the frame's.
	Address  netip.Addr
	Hardware packet.HardwareAddr
}

// aside is the way of registrations of a co-located care-of address through a foreign agent whose R bit asks for that (RFC 5944
// §2.4.1): to the agent in frames, and back to the care-of address as any packet for it.
type aside struct {
	request link.Flow // on a link of its own
	reply   link.Flow
}

// AttachCoLocatedThrough attaches as AttachCoLocated does, but sends registrations to the foreign agent on the link (RFC 5944 §3.6.1.1: to
// the link-layer address that its advertisement came from) and takes replies from it alone. Data do not go through the agent. Both have the
// same port (RFC 3519 §4.4), which must not be in use; s is a segment of the interface, which must stay open as long as the attachment.
func AttachCoLocatedThrough(s *Segment, through AgentOnLink, below link.Link, home, agent netip.Addr, port uint16, drops *packet.Drops,
	replies func([]byte), inner link.Receiver) (*CoLocated, error) {
	a, err := attachCoLocated(below, home, agent, port, drops, func([]byte) {}, inner)
	if err != nil {
		return nil, err
	}
	to := netip.AddrPortFrom(through.Address, RegistrationPort)
	out := NewPacketLink(below.Addr(), drops, nil)
	out.SetCarrier(s.carrier(through.Hardware, below.MTU()))
	out.Meter(s.meter)
	a.aside = &aside{}
	if a.aside.request, err = out.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port, Remote: to, TTL: 255}, (*packet.Batch).Release); err == nil {
		a.aside.reply, err = below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: port, Remote: to, Signalling: link.SignallingMobileIP},
			func(b *packet.Batch) {
				for _, p := range b.Bufs {
					replies(append([]byte(nil), p.Bytes()...))
				}
				b.Release()
			})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stack: attach %v to home agent %v through foreign agent %v: %w", home, agent, through.Address, err), a.Close())
	}
	return a, nil
}

// close closes what has been opened.
func (x *aside) close() error {
	var errs []error
	for _, f := range []link.Flow{x.request, x.reply} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
