package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"mipvpn/client/control"
	"mipvpn/client/secret"
	"mipvpn/tun/link"
)

// prepare has the VPN protocol get what it needs before a tunnel is dialed, such as a password, and reports whether that is done. If
// not, the VPN is opened when it is: the question stays open while the laptop moves, and no gateway waits for a person meanwhile.
func (c *Client) prepare() bool {
	if c.preparing {
		return false
	}
	s := c.session
	run := func(f func()) { c.hand(context.Background(), func(link.Instant) { f() }) }
	if c.protocol.Prepare(run, func(err error) { c.prepared(s, err) }) {
		return true
	}
	c.preparing = true
	c.event(control.Event{Kind: "vpn", Message: "getting what proves who the laptop is, or its user"})
	return false
}

// prepared goes on when the protocol has what it needs, or cannot get it.
func (c *Client) prepared(s *session, err error) {
	if c.session != s {
		return
	}
	c.preparing = false
	switch {
	case err != nil:
		c.vpnProblem(err)
		if c.outside() && !errors.Is(err, secret.ErrDeclined) { // who declines is not asked again before the next move
			c.retryVPN()
		}
	case s.vpn == nil && c.outside():
		c.openVPN()
	case s.vpn != nil && s.vpn.check != nil:
		c.openRival("the gateway has not answered")
	}
}

// hand has f called on the actor; it waits until the actor takes it, ctx ends or the client does.
func (c *Client) hand(ctx context.Context, f func(now link.Instant)) {
	select {
	case c.tasks <- func() { f(c.now) }:
	case <-ctx.Done():
	case <-c.done:
	}
}

// errEnterprise means that something outside was to be found at an address of the enterprise's.
var errEnterprise = errors.New("the address is the enterprise's, which is not asked past the VPN")

// pastVPN returns what connects through the interface in use to hosts that are none of the enterprise's, such as the OCSP
// responder that the gateway's certificate names; nil where the host cannot. It may be called from anywhere but the actor.
func (c *Client) pastVPN() func(ctx context.Context, network, address string) (net.Conn, error) {
	host, resolver := c.portals.host, c.names.resolver
	if host == nil || resolver == nil {
		return nil
	}
	forbidden := c.portalForbidden().Networks()
	return func(ctx context.Context, _, address string) (net.Conn, error) {
		name, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		number, err := net.LookupPort("tcp", port)
		if err != nil {
			return nil, err
		}
		var through link.Interface
		if err := c.ask(ctx, func() error {
			a := c.inUse()
			if a == nil {
				return errors.New("no interface is in use")
			}
			through = a.iface
			return nil
		}); err != nil {
			return nil, err
		}
		addresses := []netip.Addr{}
		if a, err := netip.ParseAddr(name); err == nil {
			addresses = append(addresses, a)
		} else if addresses, err = resolver.Addresses(ctx, through, name); err != nil {
			return nil, err
		}
		err = fmt.Errorf("%s has no address", name)
		for _, a := range addresses {
			if slices.ContainsFunc(forbidden, func(p netip.Prefix) bool { return p.Contains(a) }) {
				err = fmt.Errorf("%s (%v): %w", name, a, errEnterprise)
				continue
			}
			var conn net.Conn
			if conn, err = host.DialThrough(ctx, through.Index, netip.AddrPortFrom(a, uint16(number))); err == nil {
				return conn, nil
			}
		}
		return nil, err
	}
}
