package stack

import (
	"errors"
	"fmt"
	"net/netip"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ends are the flows to one address of the gateway.
type ends struct{ ike, natt, esp link.Flow }

func (e *ends) close() error {
	var errs []error
	for _, f := range []link.Flow{e.ike, e.natt, e.esp} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// to returns the flows to an address of the gateway. They stay open until the VPN is closed: a gateway has few addresses, and
// the IKE machine bounds how many it believes in.
func (v *VPN) to(gateway netip.Addr) (*ends, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, fmt.Errorf("stack: the flows to VPN gateway %v: closed", v.gateway)
	}
	if e := v.ends[gateway]; e != nil {
		return e, nil
	}
	e := &ends{}
	var err error
	open := func(flow *link.Flow, spec link.FlowSpec, recv link.Receiver) {
		if err == nil {
			*flow, err = v.below.Open(spec, recv)
		}
	}
	udp := func(port uint16) (local, remote netip.AddrPort) {
		return netip.AddrPortFrom(v.below.Addr(), port), netip.AddrPortFrom(gateway, port)
	}
	local, remote := udp(esp.PortIKE)
	open(&e.ike, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortIKE, Remote: remote, Signalling: link.SignallingAll},
		func(b *packet.Batch) { v.receiveIKE(local, remote, b) })
	local4500, remote4500 := udp(esp.PortNATT)
	open(&e.natt, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortNATT, Remote: remote4500, Unsummed: true, Signalling: link.SignallingNATTraversal},
		func(b *packet.Batch) { v.receiveEither(local4500, remote4500, b, false) })
	open(&e.esp, link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(gateway, 0)}, v.receiveESP)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stack: open the flows to VPN gateway %v: %w", gateway, err), e.close())
	}
	v.ends[gateway] = e
	return e, nil
}

// Listen takes messages and packets from these addresses of the gateway too, as far as they are IPv4 ones. Errors are those of
// opening flows.
func (v *VPN) Listen(gateway []netip.Addr) error {
	var errs []error
	for _, a := range gateway {
		if a.Is4() {
			_, err := v.to(a)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Follow has packets go to the gateway's address in the update, which an IKE machine has made for the security association in
// use; the zero EndpointUpdate stands for the address that the VPN was opened for. Nothing else changes where packets go. A
// pipeline that was compiled for another address is to be compiled anew. Errors are those of opening flows.
func (v *VPN) Follow(u ike.EndpointUpdate) error {
	gateway := v.gateway
	if u.Number() != 0 {
		gateway = u.Remote().Addr()
	}
	e, err := v.to(gateway)
	if err == nil {
		v.current.Store(e)
	}
	return err
}
