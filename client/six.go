package client

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/detect/nat64"
	"mipvpn/detect/resolve/query"
)

// six is what is known about reaching the gateway by IPv6 in the network of an interface. Home agents are reached by IPv4 alone.
type six struct {
	prefixes []netip.Prefix          // of its NAT64 as its name servers have them (RFC 7050)
	told     []nat64.Advertised      // likewise as its routers have told (RFC 8781), which come first
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
		c.resolve6(i.Interface, name, func(addresses []netip.Addr, err error) {
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
		c.prefixes64(i.Interface, func(found []netip.Prefix, err error) {
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
	epoch := i.epoch
	n.running.Go(func() {
		err := n.Routers(ctx, i.Index, func(list []nat64.Advertised) {
			select {
			case c.tasks <- func() {
				if c.session != nil && c.ifaces[i.Index] == i && i.epoch == epoch {
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

// advertised64 takes what a router tells about its NAT64. Lifetimes count from now, and routers repeat themselves well within them;
// one of 0 takes a prefix back.
func (c *Client) advertised64(i *iface, list []nat64.Advertised) {
	before := c.gatewayOver6(i, c.cfg.Gateway.Address)
	for _, a := range list {
		i.six.told = slices.DeleteFunc(i.six.told, func(o nat64.Advertised) bool { return o.Prefix == a.Prefix })
		if a.Lifetime > 0 && len(i.six.told) < maxPrefixes64 {
			i.six.told = append(i.six.told, a)
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
	if gateway.Is6() {
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
	var prefixes []netip.Prefix
	for _, a := range i.six.told {
		prefixes = append(prefixes, a.Prefix)
	}
	for _, p := range append(prefixes, i.six.prefixes...) {
		if a, err := nat64.Embed(p, gateway); err == nil {
			return a
		}
	}
	return netip.Addr{}
}
