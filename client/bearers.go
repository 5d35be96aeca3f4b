package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/roam"
	"mipvpn/client/vpn"
	"mipvpn/stack"
	"mipvpn/tun/link"
)

// The VPN stands on bearers: x-MIP's link, whose address stays, and the own address of the interface in use, which the gateway must
// follow (draft appendix C). Roam says which of them may be used and which is preferred; the tunnel moves between them by
// itself, and where it stands decides between vc and cvc.

const (
	// straightPatience is how long a gateway may leave an IKE exchange unanswered that began straight on an interface until the
	// x-HoA is used instead; without an x-HA it is alonePatience until other interfaces are tried.
	straightPatience = 5 * time.Second
	alonePatience    = 15 * time.Second
	// askExternalAgain is how often an x-HA that is silent, and not needed, is asked.
	askExternalAgain = 30 * time.Second
	// maxFollowing bounds the gateways of which is remembered whether they follow.
	maxFollowing = 64
)

// errNoBearer means that nothing is there that the VPN could stand on.
var errNoBearer = errors.New("client: no interface for the VPN to stand on")

// following remembers of gateways, by address, whether and how they follow. It outlives the session, not the daemon.
type following map[netip.Addr]vpn.Following

// note remembers what a gateway does.
func (f following) note(gateway netip.Addr, v vpn.Following) {
	if len(f) >= maxFollowing {
		clear(f)
	}
	f[gateway] = v
}

// updatePolicy returns the policy of endpoint updates.
func updatePolicy(m config.Mechanism) roam.Policy {
	switch {
	case m.Off():
		return roam.Forbidden
	case m.Always():
		return roam.Demanded
	}
	return roam.Shown
}

// follows returns what is known of the gateway whose turn it is, as far as the configuration lets it be used.
func (c *Client) follows() roam.Following {
	switch c.following[c.cfg.Gateway.Address] {
	case vpn.FollowsUpdates:
		return roam.Follows
	case vpn.FollowsPackets:
		if c.cfg.Mechanisms.EndpointUpdate != config.MechanismMOBIKE {
			return roam.Follows
		}
		return roam.FollowsNot
	case vpn.FollowsNot:
		return roam.FollowsNot
	case vpn.FollowingUnknown:
	}
	return roam.FollowingUnknown
}

// tellMechanisms tells roam what is known of the optional mechanisms, and carries out what follows from that.
func (c *Client) tellMechanisms() {
	if c.session == nil {
		return
	}
	k := roam.Mechanisms{GatewayAgent: c.viaAgent()}
	if v := c.session.vpn; v != nil && v.established {
		if f := v.tunnel.Follows(); f != vpn.FollowingUnknown {
			c.following.note(c.cfg.Gateway.Address, f)
		}
		k.Ground = roam.GroundInterface
		if c.onExternal(v) {
			k.Ground = roam.GroundExternal
		}
	}
	k.Following = c.follows()
	c.roam.HandleMechanisms(c.now, k)
	c.drainRoam()
}

// onExternal reports whether the layer's tunnel stands on the x-HoA.
func (c *Client) onExternal(v *vpnLayer) bool {
	return v.tunnel.Bearer() == c.cfg.External.HomeAddress
}

// carries reports whether the layer's tunnel stands on the own address of the attempt's interface.
func (a *attempt) carries(v *vpnLayer) bool {
	return slices.ContainsFunc(a.links(), func(b vpn.Bearer) bool { return v.tunnel.Bearer() == b.Link.Addr() })
}

// links returns the bearers that the attempt's interface is by itself, as far as they have been asked for.
func (a *attempt) links() []vpn.Bearer {
	return slices.DeleteFunc([]vpn.Bearer{a.own, a.own6}, func(b vpn.Bearer) bool { return b.Link == nil })
}

// ownBearer returns the bearer that an attempt's interface is by itself, over IPv4. Its link stays the same one as long as the
// attempt.
func (c *Client) ownBearer(a *attempt) (vpn.Bearer, error) {
	if err := c.openBearer(a, &a.own, a.iface.Address.Addr()); err != nil {
		return vpn.Bearer{}, err
	}
	if c.session.six { // what the gateway has told there need not name the address that it has here
		a.own.Gateway = c.cfg.Gateway.Address
	}
	return a.own, nil
}

// openBearer makes b the bearer that an attempt's interface is with one of its addresses, unless it is that already.
func (c *Client) openBearer(a *attempt, b *vpn.Bearer, address netip.Addr) error {
	if b.Link == nil || b.Link.Addr() != address {
		below, err := c.underlay(a.iface.Index, address)
		if err != nil {
			return fmt.Errorf("client: underlay %s: %w", a.iface.Name, err)
		}
		*b = vpn.Bearer{Link: below, Direct: true}
		if host, able := c.host.(link.StreamHost); able {
			index := a.iface.Index
			b.DialTCP = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
				conn, err := host.DialThrough(ctx, index, to)
				if err != nil {
					return nil, err
				}
				return meteredConn{conn, &c.meters.underlay}, nil
			}
		}
	}
	if i := c.ifaces[a.iface.Index]; i != nil && i.epoch == a.epoch && !i.GatewayHardware.IsZero() {
		b.Network = i.GatewayHardware.String()
	}
	return nil
}

// freshen has a tunnel that has been at rest tell its gateway where it is, although the interface is the same: a NAT on the way may have
// forgotten it, or be another one.
func (c *Client) freshen() {
	if v, a := c.session.vpn, c.inUse(); v != nil && a != nil && (v.parked || v.resting) && a.carries(v) {
		a.own = vpn.Bearer{} // another link is another network
	}
}

// bearers returns what the VPN may stand on, the preferred first. The interface that was used before comes last as long as the
// tunnel stands on it and it is still there: make before break.
func (c *Client) bearers() []vpn.Bearer {
	a := c.inUse()
	if a == nil {
		return nil
	}
	var all []vpn.Bearer
	for _, g := range c.roam.Choice().Grounds {
		if g == roam.GroundExternal {
			all = append(all, vpn.Bearer{Link: c.session.external.link})
			continue
		}
		all = append(all, c.ownBearers(a)...)
	}
	if v := c.session.vpn; v != nil && len(all) > 0 && c.standing != nil && c.standing.there(c) {
		for _, own := range c.standing.links() {
			if v.tunnel.Bearer() == own.Link.Addr() && !slices.ContainsFunc(all, func(b vpn.Bearer) bool { return b.Link == own.Link }) {
				all = append(all, own)
			}
		}
	}
	return all
}

// there reports whether the attempt's interface still is as it was.
func (a *attempt) there(c *Client) bool {
	i := c.ifaces[a.iface.Index]
	return i != nil && i.epoch == a.epoch && i.Up
}

// stand offers the bearers of the present choice to the tunnels.
func (c *Client) stand() {
	bearers := c.bearers()
	if c.session.access == nil || len(bearers) == 0 {
		return
	}
	if err := c.session.access.Stand(c.now, bearers); err != nil {
		c.log.Warn("the VPN cannot stand on all that it could", zap.Error(err))
	}
}

// offered reports whether the layer's tunnel stands on one of the bearers.
func offered(v *vpnLayer, bearers []vpn.Bearer) bool {
	return slices.ContainsFunc(bearers, func(b vpn.Bearer) bool { return b.Link.Addr() == v.tunnel.Bearer() })
}

// stayBehind deals with a tunnel that cannot come along to the bearers that there are now, and reports whether it was given up
// for that: one that is not set up yet, or whose gateway does not follow.
func (c *Client) stayBehind(v *vpnLayer) bool {
	bearers := c.bearers()
	if len(bearers) == 0 {
		return false
	}
	switch f := v.tunnel.Follows(); {
	case !offered(v, bearers) && !v.established:
		c.closeVPN(false)
		return true
	case !offered(v, bearers) && f == vpn.FollowsNot:
		c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("gateway %v does not follow from %v: a new IKE SA is set up", c.cfg.Gateway.Address, v.tunnel.Bearer())})
		c.closeVPN(false)
		return true
	case !offered(v, bearers) && f == vpn.FollowingUnknown && v.doubt == "":
		v.doubt = "it has to follow to another address"
	case v.established && f == vpn.FollowsNot && v.tunnel.Bearer() != bearers[0].Link.Addr() && v.check == nil && v.renew == "":
		c.replaceVPN(v, fmt.Sprintf("gateway %v does not follow from %v", c.cfg.Gateway.Address, v.tunnel.Bearer()))
	}
	return false
}

// abandonStraight gives a tunnel up that has begun straight on an interface with a gateway that does not follow, where the x-HoA is to be
// had instead, and begins anew from there (draft §3.3).
func (c *Client) abandonStraight(v *vpnLayer) bool {
	if v.tunnel.Follows() != vpn.FollowsNot || c.onExternal(v) || c.session.vpn != v || v.inner != nil && v.inner.bound {
		return false
	}
	if g := c.roam.Choice().Grounds; len(g) != 1 || g[0] != roam.GroundExternal {
		return false
	}
	c.event(control.Event{Kind: "vpn", Message: fmt.Sprintf("gateway %v does not follow a laptop that moves: IKE begins anew from %v (draft §3.3)",
		c.cfg.Gateway.Address, c.cfg.External.HomeAddress)})
	c.closeVPN(true)
	c.openVPN()
	return true
}

// stood takes account of where the tunnel of the session stands: a gateway that answers straight through the interface in use says
// what the x-HA's answer would say.
func (c *Client) stood(v *vpnLayer) {
	a := c.inUse()
	if a == nil || c.session.vpn != v || !v.established {
		return
	}
	if at := v.tunnel.Bearer(); at != v.stands {
		v.stands = at
		c.event(control.Event{Kind: "vpn", Interface: a.iface.Name, Message: fmt.Sprintf("the tunnel stands on %v", at)})
	}
	if !a.carries(v) {
		return
	}
	moved := c.standing != a
	c.standing = a
	if a.det != nil && !a.over6() {
		if err := a.det.HandleGateway(c.now, a.epoch); err != nil {
			c.log.Debug("the gateway's answer", zap.String("interface", a.iface.Name), zap.Error(err))
		}
	}
	c.roam.HandleMute(c.now, a.iface.Index, a.epoch, false)
	if moved { // the interface before is left
		c.stand()
	}
}

// watchStraight gives the gateway a while to answer an IKE exchange that has begun straight on the interface in use.
func (c *Client) watchStraight(v *vpnLayer) {
	a := c.inUse()
	if a == nil || !a.carries(v) {
		return
	}
	patience := alonePatience
	if a.external.bound {
		patience = straightPatience
	}
	c.after(patience, func() {
		if c.serves(v) && !v.established && a == c.inUse() && a.carries(v) {
			c.mute(v)
		}
	})
}

// mute says that the gateway does not answer the tunnel straight through the interface in use.
func (c *Client) mute(v *vpnLayer) {
	a := c.inUse()
	if a == nil || !a.carries(v) || c.otherVersion(a, v) {
		return
	}
	if !a.external.bound {
		_, advice := c.protocol.Explain(vpn.ErrNoAnswer)
		c.silence(control.Problem{Peer: c.gatewayName(), Message: fmt.Sprintf("does not answer straight through %s", a.iface.Name), Advice: advice})
	}
	c.roam.HandleMute(c.now, a.iface.Index, a.epoch, true)
	c.drainRoam()
}

// unmute has the interface in use offered again after the gateway has answered by the x-HoA: it may have been silent altogether, and
// the tunnel tries the interface before it goes there.
func (c *Client) unmute(v *vpnLayer) {
	if a := c.inUse(); a != nil && c.session.vpn == v && c.outside() {
		c.roam.HandleMute(c.now, a.iface.Index, a.epoch, false)
		c.drainRoam()
	}
}

// externalHeard tells roam whether the x-HA holds a binding of the attempt's interface.
func (c *Client) externalHeard(a *attempt, bound bool) {
	c.roam.HandleExternal(c.now, a.iface.Index, a.epoch, bound)
}

// needless takes account of an x-HA that does not answer and is not needed, and asks it again later. It reports false where it is
// needed.
func (c *Client) needless(a *attempt) bool {
	using, mode := c.roam.Using()
	comp, ok := mode.Composition()
	if using != a.iface.Index || !ok || !comp.VPN || comp.ExternalMIP {
		return false
	}
	c.externalHeard(a, false)
	c.after(askExternalAgain, func() {
		if i := c.ifaces[a.iface.Index]; c.session != nil && i != nil && i.attempt == a && !a.external.bound {
			a.external.start(c)
		}
	})
	return true
}

// barred keeps user data from passing where the policy demands what is not there, and reports whether it does.
func (c *Client) barred() bool {
	choice := c.roam.Choice()
	if !choice.Barred {
		return false
	}
	c.session.engine.Hold()
	if v := c.session.vpn; v != nil && v.established && v.tunnel.Follows() == vpn.FollowsNot {
		c.story.block(choice.Why)
	}
	return true
}

// groundLost tells roam that there is no tunnel, or that another gateway's turn has come. What follows is carried out when the
// actor comes to it.
func (c *Client) groundLost() {
	c.roam.HandleMechanisms(c.now, roam.Mechanisms{Following: c.follows(), GatewayAgent: c.viaAgent()})
}

// forbids returns why the configuration forbids to pin a mode, nil when it does not.
func (c *Client) forbids(mode stack.Mode) error {
	comp, _ := mode.Composition()
	why := c.cfg.Mechanisms.Forbids(mode)
	if comp.ExternalMIP && !c.cfg.HasExternal() {
		why = "needs an x-HA, and no [external_home_agent] is configured"
	}
	switch {
	case !comp.VPN && c.limits.Plaintext != "":
		why = "sends in the clear, and this system " + c.limits.Plaintext
	case comp.ForeignAgent && c.limits.Frames != "":
		why = "goes through a foreign agent, and this system " + c.limits.Frames
	}
	if why == "" {
		return nil
	}
	return fmt.Errorf("%w: mode %s %s", control.ErrRefused, mode, why)
}
