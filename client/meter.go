package client

import (
	"net"
	"net/netip"

	"mipvpn/stack"
	"mipvpn/tun/link"
)

// meters count what each layer's link carries, since the client was started. Packets of the home address are counted by stack.Engine.
type meters struct {
	underlay stack.Meter // the interfaces' own addresses, and home addresses on a foreign agent's link
	external stack.Meter // the x-HoA
	vpn      stack.Meter // the VPN-TIA, before ESP
}

// underlay opens an interface's own address for registrations and tunnels, counted.
func (c *Client) underlay(index int, address netip.Addr) (link.Link, error) {
	l, err := c.host.Underlay(index, address)
	if err != nil {
		return nil, err
	}
	return c.meters.underlay.Link(l), nil
}

// vpnLink returns the VPN's link with that address, counted.
func (c *Client) vpnLink(address netip.Addr) *stack.PacketLink {
	l := c.session.access.Link(address)
	l.Meter(&c.meters.vpn)
	return l
}

// meteredConn is a TCP connection of the VPN's, counted.
type meteredConn struct {
	net.Conn
	meter *stack.Meter
}

// Read implements net.Conn.
func (c meteredConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.meter.Stream(0, n)
	return n, err
}

// Write implements net.Conn.
func (c meteredConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.meter.Stream(n, 0)
	return n, err
}
