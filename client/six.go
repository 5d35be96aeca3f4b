package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/client/vpn"
	"mipvpn/detect/nat64"
	"mipvpn/detect/resolve/query"
)

// The VPN can stand on IPv6, too: on an interface that has nothing else, with or without a NAT64 in its network (draft mode vc with
// an outer IPv6 address), or where nobody answers over IPv4. Home agents are reached over IPv4 alone, so that there is no other way
// out, and no proof of inside.

// six is what is known about reaching the gateway by IPv6 in the network of an interface.
type six struct {
	prefixes []netip.Prefix          // of its NAT64 as its name servers have them (RFC 7050)
	told     []netip.Prefix          // likewise as its routers have told (RFC 8781), which come first
	named    map[string][]netip.Addr // addresses of gateways, by name
	stop     context.CancelFunc      // of listening for routers, nil while nobody listens
}

// forget forgets it all: the interface is in another network.
func (s *six) forget() {
	if s.stop != nil {
		s.stop()
	}
	*s = six{}
}

// learn6 finds out how the gateways are reached by IPv6 through an interface, and then calls answered: the addresses of their names
// and, where there is no IPv4, the prefixes of the network's NAT64.
func (c *Client) learn6(i *iface, answered func()) {
	if i.six.named == nil {
		i.six.named = make(map[string][]netip.Addr)
	}
	at := i.Interface
	if !i.Has4() { // an IPv4 address without a router is not attached to anything yet: nobody is asked from it
		at.Address = netip.Prefix{}
	}
	epoch, left := i.epoch, 1
	one := func() {
		if left--; left == 0 {
			answered()
		}
	}
	// current says whether what was asked for is still of use.
	current := func() bool { return c.session != nil && c.ifaces[i.Index] == i && i.epoch == epoch }
	for _, name := range c.ends.gateways.Names() {
		left++
		c.resolve6(at, name, func(addresses []netip.Addr, err error) {
			switch {
			case !current():
				return
			case err == nil:
				i.six.named[name] = addresses
			case !errors.Is(err, query.ErrNoAddress):
				c.unnamed("VPN gateway "+name, err, !c.ends.gateways.Known(name))
			}
			one()
		})
	}
	if !i.Has4() {
		left++
		c.prefixes64(at, func(found []netip.Prefix, err error) {
			if !current() {
				return
			}
			if err != nil {
				c.log.Debug("prefixes of a NAT64", zap.String("interface", i.Name), zap.Error(err))
			} else {
				i.six.prefixes = found
			}
			one()
		})
		c.hearRouters(i)
	}
	one()
}

// hearRouters listens for the prefixes of a NAT64 in router advertisements.
func (c *Client) hearRouters(i *iface) {
	n := &c.names
	if n.Routers == nil || i.six.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(n.ctx)
	i.six.stop = cancel
	index, epoch := i.Index, i.epoch
	n.running.Go(func() {
		err := n.Routers(ctx, index, func(list []nat64.Advertised) {
			select {
			case c.tasks <- func() {
				if c.session != nil && c.ifaces[index] == i && i.epoch == epoch {
					c.advertised64(i, list)
				}
			}:
			case <-ctx.Done():
			}
		})
		if ctx.Err() == nil {
			c.log.Debug("nobody listens for router advertisements", zap.Error(err))
		}
	})
}

// advertised64 takes what a router tells about its NAT64. One that lapses without being taken back (a lifetime of 0) is kept while
// the interface stays where it is: whoever answers behind a false one does not prove to be the gateway.
func (c *Client) advertised64(i *iface, list []nat64.Advertised) {
	before := c.gatewayOver6(i, c.cfg.Gateway.Address)
	for _, a := range list {
		i.six.told = slices.DeleteFunc(i.six.told, func(p netip.Prefix) bool { return p == a.Prefix })
		if a.Lifetime > 0 && len(i.six.told) < maxPrefixes64 {
			i.six.told = append(i.six.told, a.Prefix)
		}
	}
	if now := c.gatewayOver6(i, c.cfg.Gateway.Address); now != before && now.IsValid() {
		c.event(control.Event{Kind: "nat64", Interface: i.Name, Message: fmt.Sprintf("the network's NAT64 reaches the gateway as %v", now)})
		c.reached6(i)
	}
}

// maxPrefixes64 bounds the prefixes that routers may tell.
const maxPrefixes64 = 8

// gatewayOver6 returns the IPv6 address of a gateway as the network of an interface reaches it: one of its own, else one that the
// network's NAT64 translates (RFC 6052); the zero Addr where none is known.
func (c *Client) gatewayOver6(i *iface, gateway netip.Addr) netip.Addr {
	if !gateway.IsValid() || gateway.Is6() {
		return gateway
	}
	if c.ends.first(gateway) && c.cfg.Gateway.Address6.IsValid() {
		return c.cfg.Gateway.Address6
	}
	for _, name := range c.ends.gateways.NamesOf(gateway) {
		if all := i.six.named[name]; len(all) > 0 {
			return all[0]
		}
	}
	for _, p := range slices.Concat(i.six.told, i.six.prefixes) {
		if a, err := nat64.Embed(p, gateway); err == nil {
			return a
		}
	}
	return netip.Addr{}
}

// over6 says why nobody is asked from an interface with IPv6 alone, where the VPN is what is left (DET-18).
const over6 = "has IPv6 alone, and home agents are reached over IPv4"

// patience4 is how long an interface with IPv6 alone may still get an IPv4 address: a router of IPv6 is often heard first.
const patience4 = time.Second

// over6 reports whether the attempt's interface is attached by IPv6 alone.
func (a *attempt) over6() bool { return a.agent == nil && !a.iface.Has4() }

// ownBearers returns the bearers that an attempt's interface is by itself: over IPv4, and over IPv6 where the gateway has an address
// there. IPv4 comes first as long as somebody answers over it.
func (c *Client) ownBearers(a *attempt) []vpn.Bearer {
	var all []vpn.Bearer
	cannot := func(err error) {
		c.log.Warn("the VPN cannot stand on the interface", zap.String("interface", a.iface.Name), zap.Error(err))
	}
	if a.iface.Has4() {
		if own, err := c.ownBearer(a); err != nil {
			cannot(err)
		} else {
			all = append(all, own)
		}
	}
	i := c.ifaces[a.iface.Index]
	if i == nil || i.epoch != a.epoch || !i.Has6() || a.agent != nil {
		return all
	}
	gateway := c.gatewayOver6(i, c.cfg.Gateway.Address)
	if !gateway.IsValid() {
		return all
	}
	if err := c.openBearer(a, &a.own6, i.Address6.Addr()); err != nil {
		cannot(err)
		return all
	}
	a.own6.Gateway, c.session.six = gateway, true
	if a.first6 {
		return append([]vpn.Bearer{a.own6}, all...)
	}
	return append(all, a.own6)
}

// standAgain offers the bearers anew when the IPv6 address of the interface in use is another one than the VPN was offered: beside
// IPv4 that is no change of status.
func (c *Client) standAgain() {
	a := c.inUse()
	if a == nil || a.own6.Link == nil || c.session == nil {
		return
	}
	if i := c.ifaces[a.iface.Index]; i != nil && i.epoch == a.epoch && i.Address6.Addr() != a.own6.Link.Addr() {
		a.own6 = vpn.Bearer{}
		c.stand()
	}
}

// reached6 goes on with an interface on which it has just been learnt how the gateway is reached by IPv6.
func (c *Client) reached6(i *iface) {
	if a := c.inUse(); a == nil || a.iface.Index != i.Index || !c.outside() {
		return
	}
	c.stand()
	if c.session.vpn == nil {
		c.stopRetry()
		c.openVPN()
	}
}

// noBearer says that there is nothing to stand on, and tries again: on an interface with IPv6 alone the gateway has no address that
// is known.
func (c *Client) noBearer(err error) {
	p := control.Problem{Peer: c.gatewayName(), Message: "the VPN cannot start: " + err.Error(), Advice: "it is tried again by itself"}
	a := c.inUse()
	if i := c.ifaceOf(a); i != nil && !i.Has4() && i.Has6() {
		p.Message = fmt.Sprintf("is not reached from %s, which has IPv6 alone: no IPv6 address of it is known, and the network has no NAT64 that would translate its IPv4 one", i.Name)
		p.Advice = "set gateway.address6, or give the gateway's name an AAAA record"
		c.names.forget(i.Index)
		c.learn6(i, func() {
			if c.gatewayOver6(i, c.cfg.Gateway.Address).IsValid() {
				c.reached6(i)
			}
		})
	}
	c.problem(p)
	c.retryVPN()
}

// ifaceOf returns the interface of an attempt while that is current, nil otherwise.
func (c *Client) ifaceOf(a *attempt) *iface {
	if a == nil {
		return nil
	}
	if i := c.ifaces[a.iface.Index]; i != nil && i.epoch == a.epoch {
		return i
	}
	return nil
}

// over6 returns the IPv6 bearer that the session's tunnel stands on, false where it stands on none.
func (c *Client) over6() (vpn.Bearer, bool) {
	a := c.inUse()
	if a == nil || a.own6.Link == nil || c.session.vpn == nil || c.session.vpn.tunnel.Bearer() != a.own6.Link.Addr() {
		return vpn.Bearer{}, false
	}
	return a.own6, true
}

// gatewayInUse returns the address that the session's tunnel reaches the gateway by.
func (c *Client) gatewayInUse() netip.Addr {
	if six, ok := c.over6(); ok {
		return six.Gateway
	}
	return c.cfg.Gateway.Address
}

// otherVersion has a tunnel that the gateway does not answer, on an interface with IPv4 and IPv6, begin anew over the version that
// has not been tried, and reports whether there is such.
func (c *Client) otherVersion(a *attempt, v *vpnLayer) bool {
	if v.established || a.tried || c.session.vpn != v || len(c.ownBearers(a)) < 2 {
		return false
	}
	a.tried, a.first6 = true, !a.first6
	c.event(control.Event{Kind: "vpn", Interface: a.iface.Name, Message: fmt.Sprintf("gateway %v does not answer from %v: the other IP version is tried", c.gatewayInUse(), v.tunnel.Bearer())})
	c.closeVPN(false)
	c.openVPN()
	return true
}
