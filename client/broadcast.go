package client

import (
	"net/netip"
	"slices"

	"mipvpn/client/config"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
)

// listening is what the attachments to a home agent have in common that know of broadcasts and groups.
type listening interface {
	Listen(*tunnel.Listener)
}

// takeBroadcasts has broadcasts of the home network, and what is for groups there, taken from what an attachment to the home agent
// brings, and carried there by it, where they are asked for. They come by the same ways, through the same checks, as what is for the
// home address.
func (c *Client) takeBroadcasts(ha config.HomeAgent, a stack.Attachment) {
	if !ha.Broadcasts || !ha.HomeAddress.IsValid() {
		return
	}
	l := &tunnel.Listener{Agent: ha.Address, Home: ha.HomeAddress, Networks: ha.HomeLink, Groups: ha.Groups}
	if a, able := a.(listening); able {
		a.Listen(l)
	}
	c.session.engine.Listen(l)
}

// broadcastRoutes returns what of broadcasts and groups applications on this host send to the home network, where they are asked for:
// the limited broadcast address and the configured groups; and directed, the home networks' broadcast addresses.
func broadcastRoutes(ha config.HomeAgent) (routes []netip.Prefix, directed []netip.Addr) {
	if !ha.Broadcasts {
		return nil, nil
	}
	for _, p := range ha.HomeLink {
		if all, ok := tunnel.DirectedBroadcast(p); ok {
			directed = append(directed, all)
		}
	}
	return append(slices.Clone(ha.Groups), limitedBroadcast), directed
}

// limitedBroadcast is the address of all on a link (RFC 1122 §3.2.1.3).
var limitedBroadcast = netip.MustParsePrefix("255.255.255.255/32")
