package client

import (
	"mipvpn/client/config"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack"
)

// takeBroadcasts has broadcasts of the home network taken from what an attachment to the home agent brings, where they are asked for: by
// the attachment where the tunnel ends here, by the engine in any case. They come by the same ways, through the same checks, as what
// is for the home address.
func (c *Client) takeBroadcasts(ha config.HomeAgent, a stack.Attachment) {
	if !ha.Broadcasts || !ha.HomeAddress.IsValid() {
		return
	}
	l := &tunnel.Listener{Agent: ha.Address, Home: ha.HomeAddress, Networks: ha.HomeLink}
	if a, ends := a.(*stack.CoLocated); ends {
		a.Listen(l)
	}
	c.session.engine.Listen(l)
}
