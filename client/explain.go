package client

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// Explain implements control.Backend.
func (c *Client) Explain(ctx context.Context, address netip.Addr) (control.Explanation, error) {
	var e control.Explanation
	err := c.ask(ctx, func() error {
		e = c.explain(address.Unmap())
		return nil
	})
	return e, err
}

// explain says what LinkSettings has the kernel do with packets to the address, and what the client does with those that it gets.
func (c *Client) explain(address netip.Addr) control.Explanation {
	e := control.Explanation{Schema: control.Schema, Address: address, Layers: []control.Layer{}}
	set := LinkSettings(c.cfg)
	e.Way, e.Rule, e.Reason = wayOf(address, set, c.connected())
	switch {
	case address == set.Address && c.session != nil, address.IsLoopback():
		e.Way, e.Rule, e.Reason = control.WaySelf, "", "it is the laptop's own address"
	case c.session == nil:
		e.Way, e.Plaintext = control.WayHost, true
		e.Reason = "the client is down: the host's own routes decide about everything (`mipvpn up` takes charge of the company's)"
	case e.Way == control.WayHost:
		e.Plaintext = true
	case e.Way == control.WayClient:
		c.explainUse(&e)
	}
	return e
}

// explainUse says how the client carries what it gets, or why it does not.
func (c *Client) explainUse(e *control.Explanation) {
	s := c.status()
	switch {
	case s.State == control.StateConnected && len(s.Layers) > 0:
		e.Mode, e.Interface, e.Layers = s.Mode, s.Interface, s.Layers
		if s.PathMTU != nil {
			e.MTU = s.PathMTU.MTU
		}
		if e.Plaintext = stack.Mode(s.Mode).Plaintext(); e.Plaintext {
			e.Reason += "; the laptop is proven to be inside, so it goes in the clear: " + s.Proof.Reason
		}
	case s.State == control.StateConnected:
		e.Reason += "; the client rests, and carries it as soon as it is sent"
	case s.State == control.StateBlocked:
		e.Way, e.Reason = control.WayHeld, e.Reason+"; user data does not flow: "+c.whyBlocked()
	default:
		e.Way, e.Reason = control.WayHeld, fmt.Sprintf("%s; the client is %s, and nothing flows before it is connected (`mipvpn wait --for connected`)", e.Reason, s.State)
	}
}

// wayOf returns what the settings make of packets to an address while the client is up. connected are the networks of the laptop's
// interfaces.
func wayOf(a netip.Addr, s link.Settings, connected []netip.Prefix) (way control.Way, rule, reason string) {
	if p, ok := prefixOf(s.Routes, a); ok && a.IsMulticast() {
		return control.WayClient, fmt.Sprintf("internal_home_agent.groups %v", p), "it is a group of the home network's"
	} else if ok && p == limitedBroadcast {
		return control.WayClient, "internal_home_agent.broadcasts", "it is for all on the home network"
	} else if ok {
		return control.WayClient, fmt.Sprintf("enterprise.prefixes %v", p), "it is the company's"
	}
	if p, ok := prefixOf(s.Blocked, a); ok {
		return control.WayRefused, fmt.Sprintf("enterprise.prefixes6 %v", p), "it is the company's, and IPv6 is not carried"
	}
	if !s.Full {
		return control.WayHost, "enterprise.tunnel " + string(config.TunnelSplit), "it is not the company's"
	}
	local := link.Local4()
	if a.Is6() {
		local = link.Local6()
	}
	if _, private := prefixOf(local, a); s.Local && private {
		if p, here := prefixOf(connected, a); here || a.IsMulticast() || a.IsLinkLocalUnicast() {
			if !here {
				p, _ = prefixOf(local, a)
			}
			return control.WayHost, "kill_switch.allow_local", fmt.Sprintf("it is in a network that the laptop is connected to (%v)", p)
		}
	}
	if a.Is6() {
		return control.WayRefused, "enterprise.tunnel " + string(config.TunnelFull), "everything goes through the client, and IPv6 is not carried"
	}
	return control.WayClient, "enterprise.tunnel " + string(config.TunnelFull), "everything goes through the client"
}

// prefixOf returns the longest of the prefixes that the address is in.
func prefixOf(list []netip.Prefix, a netip.Addr) (longest netip.Prefix, ok bool) {
	for _, p := range list {
		if p.Contains(a) && (!ok || p.Bits() > longest.Bits()) {
			longest, ok = p, true
		}
	}
	return longest, ok
}

// connected returns the networks of the interfaces' addresses.
func (c *Client) connected() (list []netip.Prefix) {
	for _, i := range c.ifaces {
		for _, p := range []netip.Prefix{i.Address, i.Address6} {
			if p.IsValid() {
				list = append(list, p.Masked())
			}
		}
	}
	return slices.Compact(list)
}
