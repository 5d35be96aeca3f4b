package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// ErrNoBearer means that the VPN does not stand on a link with the address.
var ErrNoBearer = errors.New("the VPN stands on no link with that address")

// bearer is a link that the VPN stands on, with its flows.
type bearer struct {
	link    link.Link
	gateway netip.Addr
	ends    map[way]*ends
}

// way names flows of one bearer: to an address of the gateway, from a UDP port of ours, which is esp.PortNATT for those that a VPN
// has in any case.
type way struct {
	gateway netip.Addr
	port    uint16
}

// wayOf returns the way from a local UDP port.
func wayOf(port uint16, gateway netip.Addr) way {
	if port == esp.PortIKE {
		port = esp.PortNATT
	}
	return way{gateway, port}
}

// ends are the flows of one way.
type ends struct {
	// ike is nil for a further port, whose esp is that of the way from esp.PortNATT.
	ike, natt, esp link.Flow
	own            []link.Flow
}

func (e *ends) close() error {
	var errs []error
	for _, f := range e.own {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (b *bearer) close() error {
	var errs []error
	for _, e := range b.ends {
		errs = append(errs, e.close())
	}
	return errors.Join(errs...)
}

// Stand has the VPN stand on a link too, by which the gateway is reached at an address of the same family: it takes messages and
// packets there from now on. A link that the VPN stood on with the same address is left for it at once, and nothing changes
// where it is the same. Errors are those of opening flows; the VPN does not stand on the link then.
func (v *VPN) Stand(below link.Link, gateway netip.Addr) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return fmt.Errorf("stack: stand on %v: the flows to VPN gateway %v: closed", below.Addr(), gateway)
	}
	local := below.Addr()
	old := v.bearers[local]
	if old != nil && old.link == below && old.gateway == gateway {
		return nil
	}
	if old != nil {
		delete(v.bearers, local)
		if err := old.close(); err != nil {
			return fmt.Errorf("stack: leave %v: %w", local, err)
		}
	}
	b := &bearer{link: below, gateway: gateway, ends: make(map[way]*ends)}
	first, err := v.open(b, wayOf(esp.PortNATT, gateway))
	if err != nil {
		return err
	}
	v.bearers[local] = b
	for _, a := range v.peers {
		if a.Is4() == local.Is4() {
			if _, err := v.open(b, wayOf(esp.PortNATT, a)); err != nil {
				return errors.Join(err, b.close())
			}
		}
	}
	if at := v.current.Load(); at == nil || old != nil && old.has(at) {
		v.current.Store(first)
	}
	return nil
}

// has tells whether the flows are the bearer's.
func (b *bearer) has(e *ends) bool {
	for _, own := range b.ends {
		if own == e {
			return true
		}
	}
	return false
}

// Leave closes the flows of the link with the address, on which the VPN stands no more and from which nothing goes. Errors are
// those of closing flows.
func (v *VPN) Leave(local netip.Addr) error {
	v.mu.Lock()
	b := v.bearers[local]
	delete(v.bearers, local)
	v.mu.Unlock()
	if b == nil {
		return nil
	}
	if err := b.close(); err != nil {
		return fmt.Errorf("stack: leave %v: %w", local, err)
	}
	return nil
}

// to returns the flows from a local endpoint to an address of the gateway. They stay open until Leave: a gateway has few
// addresses, and the IKE machine bounds how many it believes in.
func (v *VPN) to(local netip.AddrPort, gateway netip.Addr) (*ends, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b, err := v.bearerOf(local.Addr())
	if err != nil {
		return nil, err
	}
	return v.open(b, wayOf(local.Port(), gateway))
}

// bearerOf returns the bearer with an address; v.mu is held.
func (v *VPN) bearerOf(local netip.Addr) (*bearer, error) {
	if b := v.bearers[local]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("stack: %w: %v", ErrNoBearer, local)
}

// open returns the flows of a way of the bearer, and opens them if they are not open yet; v.mu is held.
func (v *VPN) open(b *bearer, w way) (*ends, error) {
	if e := b.ends[w]; e != nil {
		return e, nil
	}
	e := &ends{}
	local := netip.AddrPortFrom(b.link.Addr(), w.port)
	var err error
	if w.port == esp.PortNATT {
		err = v.openOwnPorts(b, e, w)
	} else {
		var first *ends
		if first, err = v.open(b, wayOf(esp.PortNATT, w.gateway)); err == nil {
			e.esp = first.esp
		}
	}
	if err == nil {
		err = v.openNATT(b, e, w)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("stack: open the flows from %v to VPN gateway %v: %w", local, w.gateway, err), e.close())
	}
	b.ends[wayOf(e.natt.Local().Port(), w.gateway)] = e
	return e, nil
}

// openNATT opens the flow of IKE and ESP in UDP from the way's port, one that the host chooses where that is 0.
func (v *VPN) openNATT(b *bearer, e *ends, w way) error {
	remote := netip.AddrPortFrom(w.gateway, esp.PortNATT)
	var local atomic.Pointer[netip.AddrPort]
	wanted := netip.AddrPortFrom(b.link.Addr(), w.port)
	local.Store(&wanted)
	f, err := b.link.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: w.port, Remote: remote, Unsummed: true, Signalling: link.SignallingNATTraversal},
		func(b *packet.Batch) { v.receiveEither(*local.Load(), remote, b, false) })
	if err != nil {
		return err
	}
	got := netip.AddrPortFrom(wanted.Addr(), f.Local().Port())
	local.Store(&got)
	e.natt, e.own = f, append(e.own, f)
	return nil
}

// openOwnPorts opens the flows of IKE on its own port and of ESP outside of UDP.
func (v *VPN) openOwnPorts(b *bearer, e *ends, w way) error {
	local, remote := netip.AddrPortFrom(b.link.Addr(), esp.PortIKE), netip.AddrPortFrom(w.gateway, esp.PortIKE)
	f, err := b.link.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortIKE, Remote: remote, Signalling: link.SignallingAll},
		func(b *packet.Batch) { v.receiveIKE(local, remote, b) })
	if err != nil {
		return err
	}
	e.ike, e.own = f, append(e.own, f)
	if e.esp, err = b.link.Open(link.FlowSpec{Protocol: packet.ProtocolESP, Remote: netip.AddrPortFrom(w.gateway, 0)},
		func(b *packet.Batch) { v.receiveESP(netip.AddrPortFrom(local.Addr(), 0), b) }); err != nil {
		return err
	}
	e.own = append(e.own, e.esp)
	return nil
}

// OpenPort opens a further UDP port, which the host chooses, of the link with the address to the gateway's esp.PortNATT, and
// returns it: messages and packets in UDP go there and arrive from there like those on esp.PortNATT, until Leave. Errors:
// ErrNoBearer and those of opening flows.
func (v *VPN) OpenPort(local, gateway netip.Addr) (netip.AddrPort, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	b, err := v.bearerOf(local)
	if err != nil {
		return netip.AddrPort{}, err
	}
	e, err := v.open(b, way{gateway, 0})
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(local, e.natt.Local().Port()), nil
}

// Listen takes messages and packets from these addresses of the gateway too, by each link with an address of the same family.
// Errors are those of opening flows.
func (v *VPN) Listen(gateway []netip.Addr) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.peers = slices.Clone(gateway)
	var errs []error
	for local, b := range v.bearers {
		for _, a := range gateway {
			if a.Is4() == local.Is4() {
				_, err := v.open(b, wayOf(esp.PortNATT, a))
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Follow has packets go between the endpoints in the update, which an IKE machine has made for the security association in use;
// for the zero EndpointUpdate between those that the IKE SA was set up with. Nothing else changes where packets go. A pipeline
// that was compiled for others is to be compiled anew. Endpoints of a TCP connection change nothing: UseStream has packets go
// there. Errors: ErrNoBearer and those of opening flows.
func (v *VPN) Follow(local, remote netip.AddrPort, u ike.EndpointUpdate) error {
	if u.TCP() {
		return nil
	}
	if u.Number() != 0 {
		local, remote = u.Local(), u.Remote()
	}
	e, err := v.to(local, remote.Addr())
	if err == nil {
		v.current.Store(e)
	}
	return err
}
