package client

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/stack"
)

// Of the x-HA its home network may be known alone (RFC 5944 §3.6.1.2). Then all home agents there are asked, through each interface that
// has an address of its own, until one has given its address, and again where that one does not answer. What has been found is
// kept, since the answer comes from another address than was asked, and so passes no NAT that filters. The i-HA always has an address:
// its answers are what a proof of inside is taken from, and only it may give them (REQUIREMENTS DET-3).

// directedBroadcast returns the subnet-directed broadcast address of a network (RFC 1122 §3.2.1.3).
func directedBroadcast(network netip.Prefix) netip.Addr {
	a := network.Addr().As4()
	binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])|(uint32(1)<<(32-network.Bits())-1))
	return netip.AddrFrom4(a)
}

// searchExternal asks the x-HA's home network for home agents through the attempt's interface, where that is what is known of the x-HA.
func (c *Client) searchExternal(a *attempt) {
	network := c.cfg.External.Network
	if !network.IsValid() || a.agent != nil || a.over6() || a.probe || a.search != nil || c.associations.external == nil || !a.iface.Has4() {
		return
	}
	cfg := c.cfg.External
	cfg.Address = directedBroadcast(network)
	mn := a.mobileNode(mobilenode.Origin{Interface: a.iface.Index, Epoch: a.epoch, Direct: true})
	mn.DynamicHomeAgent = mobilenode.HomeAgentResolved
	var r *registration
	r, err := c.register(nameExternal, cfg, mn, func(replies func([]byte)) (stack.Attachment, error) {
		below, err := c.underlay(a.iface.Index, a.iface.Address.Addr())
		if err != nil {
			return nil, fmt.Errorf("client: underlay %s: %w", a.iface.Name, err)
		}
		return stack.AttachSearch(below, cfg.Address, replies)
	}, func(e mobilenode.Event) { c.searchEvent(a, r, e) })
	if err != nil {
		c.log.Warn("home agents cannot be asked for", zap.String("interface", a.iface.Name), zap.Error(err))
		return
	}
	a.search = r
	r.start(c)
}

// searchEvent is an event of such a search.
func (c *Client) searchEvent(a *attempt, r *registration, e mobilenode.Event) {
	if a.search != r {
		return
	}
	switch e := e.(type) {
	case mobilenode.Refused:
		if e.Code == wire.CodeUnknownHomeAgent && e.HomeAgent.IsValid() {
			c.endSearch(a)
			c.foundExternal(a, e.HomeAgent)
			return
		}
		if e.Retrying {
			return
		}
	case mobilenode.Unanswered:
	default:
		return
	}
	c.endSearch(a)
	c.after(nameSilence, func() {
		if i := c.ifaces[a.iface.Index]; c.session != nil && i != nil && i.attempt == a && (a.external == nil || !a.external.bound) && !a.proof.Live(c.now.Boot) {
			c.searchExternal(a)
		}
	})
}

// foundExternal takes the address that a home agent of the x-HA's home network has given for its own.
func (c *Client) foundExternal(a *attempt, address netip.Addr) {
	if address == c.cfg.Internal.Address || address == c.cfg.External.Address {
		return
	}
	c.silenceOver(c.externalName())
	c.solved(c.externalName())
	c.cfg.External.Address = address
	c.keepHomes()
	c.event(control.Event{Kind: "home_agent", Interface: a.iface.Name,
		Message: fmt.Sprintf("the home network %v has the home agent %v", c.cfg.External.Network, address)})
	if a.proof.Live(c.now.Boot) {
		return // it is known for later
	}
	c.after(0, func() {
		if i := c.ifaces[a.iface.Index]; c.session != nil && i != nil && i.attempt == a {
			c.begin(a.began)
		}
	})
}

// endSearch ends a search.
func (c *Client) endSearch(a *attempt) {
	if r := a.search; r != nil {
		a.search = nil
		r.quiet()
		r.detach(c.log)
	}
}

// searchAgain asks for home agents anew after the one that was found has not answered.
func (c *Client) searchAgain(a *attempt) {
	if i := c.ifaces[a.iface.Index]; i != nil && i.attempt == a {
		c.searchExternal(a)
	}
}
