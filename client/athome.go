package client

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/roam"
	"mipvpn/stack"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// At home on the home link (MOD-home): an interface whose own address is in a network of the home link takes the place of the
// laptop as any host there has. Its registrations with the i-HA are deregistrations, and the reply to one is the proof of inside
// that opens the gate (DET-3), every time anew; packets go through the TUN device and the gate as in mode c, without a tunnel.

// The laptop announces its home address so often when it comes home, and so long after the time before (RFC 5944 §4.6).
const (
	homeAnnouncements = 3
	homeAnnounceAgain = time.Second
)

// How long the link-layer address of the home link's router is waited for before the interface counts as unusable, and how often
// it is looked for.
const (
	routerPatience = 2 * time.Second
	routerInterval = 50 * time.Millisecond
)

// errNoHomeLink means that the host gives no access to ARP.
var errNoHomeLink = errors.New("client: the interface is on the home link, and this host gives no access to ARP there")

// atHome is an attempt's place on the home link.
type atHome struct {
	home    netip.Addr
	segment *stack.Segment
	link    link.HomeLink
	router  packet.HardwareAddr
	present bool   // ARP is answered
	again   func() // takes the next announcement back, nil when none is to come
}

// isHome reports whether an interface with this address is on the link of the home address, which must be known.
func isHome(ha config.HomeAgent, address netip.Prefix) bool {
	return address.IsValid() && slices.ContainsFunc(ha.HomeLink, func(p netip.Prefix) bool { return p.Contains(address.Addr()) && p.Contains(ha.HomeAddress) })
}

// awaitRouter puts an attempt on the home link off until the link-layer address of its router is known, and reports whether it has
// to.
func (c *Client) awaitRouter(i *iface, e roam.Attempt) bool {
	if e.ForeignAgent || e.ExternalOnly || !e.Interface.Has4() || !isHome(c.cfg.Internal, e.Interface.Address) || !i.GatewayHardware.IsZero() {
		return false
	}
	c.abandon(i, e.Reason)
	wait, since := &e, c.now.Boot
	c.ends.waiting[i.Index] = wait
	var look func()
	look = func() {
		if c.ends.waiting[i.Index] != wait || c.session == nil || c.ifaces[i.Index] != i {
			return
		}
		switch {
		case !i.GatewayHardware.IsZero():
			delete(c.ends.waiting, i.Index)
			c.begin(e)
		case c.now.Boot-since >= routerPatience:
			delete(c.ends.waiting, i.Index)
			c.cannotUse(i, e, fmt.Errorf("client: the router %v of the home link answers no ARP", e.Interface.Gateway))
		default:
			if resolver, able := c.host.(link.NeighbourResolver); able {
				if err := resolver.ResolveNeighbour(i.Index, e.Interface.Gateway); err != nil {
					c.log.Debug("the router of the home link cannot be asked for", zap.String("interface", i.Name), zap.Error(err))
				}
			}
			c.after(routerInterval, func() {
				c.readInterfaces()
				look()
			})
		}
	}
	c.after(0, look)
	return true
}

// enterHome opens the home link for an attempt that is there.
func (c *Client) enterHome(a *attempt, i *iface) error {
	host, able := c.host.(link.HomeLinkHost)
	if !able {
		return errNoHomeLink
	}
	h := &atHome{home: c.cfg.Internal.HomeAddress, router: i.GatewayHardware}
	var err error
	if h.link, err = host.OpenHomeLink(a.iface.Index, ""); err != nil {
		return fmt.Errorf("client: open the home link: %w", err)
	}
	if h.segment, err = stack.OpenSegment(c.host, a.iface.Index, c.drops, func(stack.Advertisement) {}); err != nil {
		return errors.Join(err, h.link.Close())
	}
	h.segment.Meter(&c.meters.underlay)
	a.home = h
	return nil
}

// appear has the laptop answer ARP for its home address and announce it, before it deregisters (RFC 5944 §4.6): the nodes on the
// link send to it from now on.
func (c *Client) appear(a *attempt) {
	h := a.home
	if h == nil || h.present {
		return
	}
	h.present = true
	if err := h.link.Intercept(h.home); err != nil {
		c.log.Warn("the home address cannot be taken on the home link", zap.String("interface", a.iface.Name), zap.Error(err))
	}
	c.announce(a, homeAnnouncements)
}

// announce sends one announcement, and the others later.
func (c *Client) announce(a *attempt, left int) {
	h := a.home
	h.again = nil
	if err := h.link.Announce(h.home, h.link.Hardware()); err != nil {
		c.log.Debug("the home address is not announced", zap.String("interface", a.iface.Name), zap.Error(err))
	}
	if left > 1 {
		h.again = c.after(homeAnnounceAgain, func() { c.announce(a, left-1) })
	}
}

// disappear ends that: the mobile node is not at home, or not by this interface, and answers no ARP for its home address
// (RFC 5944 §4.6).
func (c *Client) disappear(a *attempt) {
	h := a.home
	if h == nil || !h.present {
		return
	}
	h.present = false
	if h.again != nil {
		h.again()
		h.again = nil
	}
	if err := h.link.Release(h.home); err != nil {
		c.log.Debug("the home address is not given up on the home link", zap.String("interface", a.iface.Name), zap.Error(err))
	}
}

// leaveHome closes what enterHome has opened.
func (c *Client) leaveHome(a *attempt) {
	h := a.home
	if h == nil {
		return
	}
	c.disappear(a)
	if err := errors.Join(h.link.Close(), h.segment.Close()); err != nil {
		c.log.Debug("closing the home link", zap.Error(err))
	}
	a.home = nil
}
