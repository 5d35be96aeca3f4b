package stack

import (
	"fmt"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// SendDummy sends a dummy packet (RFC 4303 §2.6), as long as one with an inner packet of n octets, on the way that packets take. It does
// nothing without an outbound security association, or with one that is used up.
func (v *VPN) SendDummy(n int) error {
	out := v.outbound.Load()
	if out == nil {
		return nil
	}
	path := v.carrier(link.Protected, out)
	p := out.sa.Dummy(min(n, out.sa.Fits(path.MTU)))
	if p == nil {
		return nil
	}
	if err := path.Send(packet.One(p)); err != nil {
		return fmt.Errorf("stack: send a dummy packet: %w", err)
	}
	return nil
}
