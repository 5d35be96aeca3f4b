package client

import "mipvpn/tun/packet"

// Option is a choice of Start that is not part of the configuration.
type Option func(*Client)

// WithDrops has the client count the packets that it drops in d, the counters of the host (link.Sender), so that what the
// underlay drops shows in the status with the rest. The caller may read d at any time.
func WithDrops(d *packet.Drops) Option { return func(c *Client) { c.drops = d } }
