package simnet

import (
	"fmt"
	"slices"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// frames implements link.Frames.
type frames struct {
	callee
	nic  *NIC
	recv link.Receiver
}

// OpenFrames implements link.Host.
func (h *Host) OpenFrames(index int, recv link.Receiver) (link.Frames, error) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	c := h.nic(index)
	if c == nil {
		return nil, fmt.Errorf("simnet: open frames on interface %d of %s: %w", index, h.name, ErrNotFound)
	}
	f := &frames{nic: c, recv: recv}
	c.frames = append(c.frames, f)
	return f, nil
}

// OpenAdvertisements implements link.AdvertisementHost.
func (h *Host) OpenAdvertisements(index int, recv link.Receiver) (link.Frames, error) {
	return h.OpenFrames(index, func(b *packet.Batch) {
		b.Keep(&h.drops, func(p *packet.Buf) packet.DropReason {
			ip := packet.IPv4(p.Bytes())
			if ip.Valid() && ip.Protocol() == packet.ProtocolICMP && ip.FragmentOffset() == 0 && len(ip.Payload()) > 0 && ip.Payload()[0] == 9 {
				return packet.NotDropped
			}
			return packet.Delivered
		})
		if b.Len() == 0 {
			b.Release()
			return
		}
		recv(b)
	})
}

// Out implements link.Frames.
func (f *frames) Out(c link.Class) link.Sender { return frameSender{f, c} }

// Hardware implements link.Frames.
func (f *frames) Hardware() packet.HardwareAddr { return f.nic.hw }

// Close implements link.Frames.
func (f *frames) Close() error {
	n := f.nic.host.net
	n.mu.Lock()
	f.nic.frames = slices.DeleteFunc(slices.Clone(f.nic.frames), func(o *frames) bool { return o == f })
	n.mu.Unlock()
	n.retire(&f.callee)
	return nil
}

type frameSender struct {
	f *frames
	c link.Class
}

// Send implements link.Sender: one frame for each packet, to its Hardware.
func (s frameSender) Send(b *packet.Batch) error {
	b.Cut()
	c := s.f.nic
	n := c.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	defer b.Release()
	switch {
	case s.f.closed || n.closed:
		return fmt.Errorf("simnet: send a frame on %s: %w", c.fullName(), errClosed)
	case !c.up():
		c.host.drops.Count(packet.DropSendFailed, b.Len())
		return fmt.Errorf("simnet: send a frame on %s: %w", c.fullName(), ErrLinkDown)
	case c.host.asleep:
		return nil
	case !c.host.permits(c, s.c == link.Plaintext):
		c.host.drops.Count(packet.DropGateClosed, b.Len())
		return nil
	}
	var first error
	for _, p := range b.Bufs {
		if p.Len() > c.mtu {
			c.host.drops.Count(packet.DropTooBig, 1)
			if first == nil {
				first = fmt.Errorf("simnet: send a frame of %d octets on %s: %w", p.Len(), c.fullName(), ErrTooBig)
			}
			continue
		}
		c.wire.transmit(c, frame{src: c.hw, dst: p.Hardware, packet: slices.Clone(p.Bytes())}, s.c == link.Plaintext)
	}
	return first
}
