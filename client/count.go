package client

import (
	"context"
	"strings"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/metrics"
	"mipvpn/client/vpn"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/stack"
)

var _ metrics.Source = (*Client)(nil)

// Counts implements metrics.Source.
func (c *Client) Counts(ctx context.Context) (metrics.Counts, error) {
	var counts metrics.Counts
	err := c.ask(ctx, func() error {
		counts = c.counted.Clone()
		counts.Layers = map[string]stack.Traffic{
			metrics.LayerUnderlay: c.meters.underlay.Traffic(), metrics.LayerExternal: c.meters.external.Traffic(),
			metrics.LayerVPN: c.meters.vpn.Traffic(), metrics.LayerUser: c.traffic(),
		}
		return nil
	})
	return counts, err
}

// traffic returns what has been carried since the client was started.
func (c *Client) traffic() stack.Traffic {
	if c.session == nil {
		return c.carried
	}
	return c.carried.Plus(c.session.engine.Traffic())
}

// countHandoff counts a change of mode or interface.
func (c *Client) countHandoff(h control.Handoff) {
	from, _, _ := strings.Cut(h.From, " ") // behind the space is the interface
	to, _, _ := strings.Cut(h.To, " ")
	c.counted.Handoff(from, to, time.Duration(h.Outage*float64(time.Millisecond)))
}

// countRegistration counts what a registration comes to.
func (c *Client) countRegistration(r *registration, e mobilenode.Event) {
	switch e := e.(type) {
	case mobilenode.Accepted:
		c.counted.Registered(r.name, uint8(e.Reply.Code()))
	case mobilenode.Refused:
		c.counted.Registered(r.name, uint8(e.Code))
	case mobilenode.Deregistered:
		c.counted.Registered(r.name, uint8(e.Reply.Code()))
	case mobilenode.Unverified:
		c.counted.Forged(r.name)
	case mobilenode.Unanswered:
		c.counted.Silent(r.name)
	}
}

// countVPN counts what becomes of a tunnel to the gateway.
func (c *Client) countVPN(e vpn.Event) {
	switch e := e.(type) {
	case vpn.Up:
		c.counted.Tunnel(metrics.VPNEstablished)
	case vpn.Ready:
		if e.Moved {
			c.counted.Tunnel(metrics.VPNMoved)
		}
	case vpn.Renew:
		c.counted.Tunnel(metrics.VPNRenewed)
	case vpn.Rekeyed:
		what := metrics.VPNRekeyed
		if e.Child {
			what = metrics.VPNChildRekeyed
		}
		c.counted.Tunnel(what)
	case vpn.Alive:
		c.counted.Tunnel(metrics.VPNAnswered)
	case vpn.Elsewhere:
		c.counted.Tunnel(metrics.VPNRedirected)
	case vpn.Trouble:
		c.counted.Tunnel(metrics.VPNTrouble)
	case vpn.Closed:
		what := metrics.VPNClosed
		if e.Err != nil {
			what = metrics.VPNFailed
		}
		c.counted.Tunnel(what)
	}
}
