package client

import (
	"io"

	"mipvpn/client/vpn"
	"mipvpn/tun/packet"
)

// Option is a choice of Start that is not part of the configuration.
type Option func(*Client)

// WithDrops has the client count the packets that it drops in d, the counters of the host (link.Sender), so that what the
// underlay drops shows in the status with the rest. The caller may read d at any time.
func WithDrops(d *packet.Drops) Option { return func(c *Client) { c.drops = d } }

// WithRandom has the client take its random numbers (delays, identifiers, nonces, SPIs) from r, which it reads from one
// goroutine, so that a simulation can be repeated. Without it they come from crypto/rand. Private keys of key exchanges come
// from there all the same.
func WithRandom(r io.Reader) Option { return func(c *Client) { c.rand = r } }

// WithVPN has the client use another VPN protocol in the place of IPsec (draft §6.6). What [gateway] says about IKE is not used
// then.
func WithVPN(p vpn.Protocol) Option { return func(c *Client) { c.protocol = p } }
