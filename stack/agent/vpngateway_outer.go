package agent

import (
	"net/netip"
	"slices"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// outer are the flows of one outer address.
type outer struct{ ike, natt, esp link.Flow }

func (o *outer) flows() []link.Flow {
	return slices.DeleteFunc([]link.Flow{o.ike, o.natt, o.esp}, func(f link.Flow) bool { return f == nil })
}

// openOuter opens the flows of an outer address.
func (g *Gateway) openOuter(address netip.Addr) error {
	under, err := g.host.Underlay(0, address)
	if err != nil {
		return err
	}
	o := &outer{}
	g.outers[address] = o // what has been opened is closed with it
	for _, f := range []struct {
		flow *link.Flow
		spec link.FlowSpec
		recv link.Receiver
	}{
		{&o.ike, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortIKE, Signalling: link.SignallingAll},
			func(b *packet.Batch) { g.receiveIKE(address, b) }},
		{&o.natt, link.FlowSpec{Protocol: packet.ProtocolUDP, Port: esp.PortNATT, Unsummed: true, Signalling: link.SignallingNATTraversal},
			func(b *packet.Batch) { g.receiveNATT(address, b) }},
		{&o.esp, link.FlowSpec{Protocol: packet.ProtocolESP}, func(b *packet.Batch) { g.receiveESP(address, b) }},
	} {
		if *f.flow, err = under.Open(f.spec, whenReady(g.ready, &g.drops, f.recv)); err != nil {
			return err
		}
	}
	return nil
}

// from returns the flows of an outer address, those of the first one where it is none.
func (g *Gateway) from(address netip.Addr) *outer {
	if o := g.outers[address]; o != nil {
		return o
	}
	return g.outers[g.cfg.Address]
}

// mobility lets clients with MOBIKE know the outer addresses.
func (c *GatewayConfig) mobility() {
	if c.IKE.MOBIKE == nil || len(c.Additional) == 0 {
		return
	}
	own := *c.IKE.MOBIKE
	own.Addresses = append([]netip.Addr{c.Address}, c.Additional...)
	c.IKE.MOBIKE = &own
}

// SetAddresses says which of the outer addresses, Address and Additional, can be used now, the preferred first. Clients with
// MOBIKE are told, and served from another one when theirs is gone (RFC 4555 §3.5, §3.6). Errors: ike.ErrNoMOBIKE, and
// ike.ErrClosed.
func (g *Gateway) SetAddresses(addresses []netip.Addr) error {
	list := slices.Clone(addresses)
	answer := make(chan error, 1)
	if !g.loop.post(func(now link.Instant) { answer <- g.machine.SetAddresses(now, list) }) {
		return ike.ErrClosed
	}
	select {
	case err := <-answer:
		return err
	case <-g.loop.done:
		return ike.ErrClosed
	}
}
