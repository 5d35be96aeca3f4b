package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/igmp"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

const (
	// broadcastsPerSecond and broadcastBurst bound the broadcasts of one domain that are handed on. Each mobile node gets all of its
	// domain's, so that they bound what goes into each tunnel too.
	broadcastsPerSecond = 50
	broadcastBurst      = 100
	// groupPerSecond and groupBurst bound likewise what goes to groups that mobile nodes have joined.
	groupPerSecond = 2000
	groupBurst     = 1000
	// DHCP's ports (RFC 2131 §4.1).
	portDHCPServer = 67
	portDHCPClient = 68
)

// errBroadcastPolicy means that broadcasts would pass what only the VPN gateways may pass.
var errBroadcastPolicy = errors.New("broadcasts cannot be handed to mobile nodes that may exchange packets with permitted gateways alone")

// broadcasting hands broadcasts of the home networks to the mobile nodes that have asked for them (RFC 5944 §4.3, §4.4).
type broadcasting struct {
	frames  link.Frames // of the home link, nil without one
	mtu     int         // of the home link, in octets
	domains atomic.Pointer[[]*domain]
	// groups is the memberships of mobile nodes. The agent's loop owns it.
	groups igmp.Router
	joined map[netip.Addr]bool // groups on the home link; the loop's
}

// domain is home networks whose broadcasts all of their mobile nodes hear: those on the home link, or a virtual one.
type domain struct {
	networks []netip.Prefix
	link     bool
	limit    *limiter
	// groupLimit is that of groups that are joined.
	groupLimit *limiter
}

// has reports whether a home address is of the domain.
func (d *domain) has(home netip.Addr) bool {
	return slices.ContainsFunc(d.networks, func(p netip.Prefix) bool { return p.Contains(home) })
}

// checkBroadcasts refuses a policy that broadcasts would pass by.
func (c HomeAgentConfig) checkBroadcasts() error {
	if c.Broadcasts && len(c.PermittedGateways) > 0 {
		return fmt.Errorf("%w: %w", homeagent.ErrConfig, errBroadcastPolicy)
	}
	return nil
}

// setDomains makes the domains of the home networks.
func (a *HomeAgent) setDomains(networks []netip.Prefix) {
	if !a.cfg.Broadcasts {
		return
	}
	now := a.host.Now().Boot
	var all []*domain
	add := func(link bool, networks ...netip.Prefix) {
		all = append(all, &domain{networks: networks, link: link,
			limit: newLimiter(broadcastsPerSecond, broadcastBurst, now), groupLimit: newLimiter(groupPerSecond, groupBurst, now)})
	}
	if len(a.homeLink.networks) > 0 {
		add(true, a.homeLink.networks...)
	}
	for _, p := range a.homeLink.virtual(networks) {
		add(false, p)
	}
	a.broadcasting.domains.Store(&all)
}

// domainOf returns the domain of a home address, nil for none or when broadcasts are not granted.
func (a *HomeAgent) domainOf(home netip.Addr) *domain {
	all := a.broadcasting.domains.Load()
	if all == nil {
		return nil
	}
	for _, d := range *all {
		if d.has(home) {
			return d
		}
	}
	return nil
}

// openBroadcasts begins to listen on the home link, where there is one and broadcasts are granted.
func (a *HomeAgent) openBroadcasts() error {
	if !a.cfg.Broadcasts || a.homeLink.name == "" {
		return nil
	}
	iface, err := interfaceByName(a.host, a.homeLink.name)
	if err != nil {
		return fmt.Errorf("broadcasts of the home link: %w", err)
	}
	under, err := a.host.Underlay(iface.Index, a.homeLink.address)
	if err != nil {
		return fmt.Errorf("broadcasts of the home link: %w", err)
	}
	a.broadcasting.mtu = under.MTU()
	a.broadcasting.frames, err = a.host.OpenFrames(iface.Index, whenReady(a.ready, &a.drops, a.receiveHomeLink))
	return err
}

// closeBroadcasts ends that.
func (a *HomeAgent) closeBroadcasts() error {
	if a.broadcasting.frames == nil {
		return nil
	}
	return a.broadcasting.frames.Close()
}

// receiveHomeLink takes what arrives on the home link, of which all but broadcasts is the host's.
func (a *HomeAgent) receiveHomeLink(b *packet.Batch) {
	for _, p := range b.Bufs {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() {
			continue // the host counts it
		}
		d := a.domainOf(a.homeLink.address)
		if d == nil || !tunnel.Broadcast(ip.Dst(), d.networks) && a.broadcasting.groups.Members(ip.Dst()) == nil || !handable(ip) {
			continue
		}
		if r := a.handOver(d, ip[:ip.TotalLen()], false); r != packet.NotDropped {
			a.drops.Count(r, 1)
		}
	}
	b.Release()
}

// leaveToAll takes a packet that has come out of the tunnel of a mobile node, and reports whether it was a broadcast to its home
// network or for a group. Then it has been handed to the others there and sent on the home link.
func (a *HomeAgent) leaveToAll(p *packet.Buf) bool {
	ip := packet.IPv4(p.Bytes())
	d := a.domainOf(ip.Src())
	switch {
	case d == nil || !ip.Dst().IsMulticast() && !tunnel.Broadcast(ip.Dst(), d.networks):
		return false
	case ip.Protocol() == igmp.Protocol:
		a.takeReport(ip)
		return true
	}
	segments := packet.GetBatch()
	if p.Super() {
		p.CutTo(segments)
	} else {
		segments.Append(packet.From(ip[:ip.TotalLen()]))
	}
	for _, s := range segments.Bufs {
		r := packet.DropPolicy
		if ip := packet.IPv4(s.Bytes()); handable(ip) {
			r = a.handOver(d, ip, d.link)
		}
		if r != packet.NotDropped {
			a.drops.Count(r, 1)
		}
	}
	segments.Release()
	return true
}

// handable reports whether a broadcast is of the kind that is handed on: UDP, which applications use, from a host with an address,
// and not about addresses or registrations on the link itself. Later fragments have no ports and go with the first.
func handable(ip packet.IPv4) bool {
	src := ip.Src()
	if ip.Protocol() != packet.ProtocolUDP || src.IsUnspecified() || src.IsMulticast() || src.IsLoopback() || src.As4()[0] >= 240 {
		return false
	}
	if ip.FragmentOffset() != 0 {
		return true
	}
	u := packet.UDP(ip.Payload())
	if len(u) < packet.UDPLen {
		return false
	}
	switch u.DstPort() {
	case portDHCPServer, portDHCPClient, wire.Port:
		return false
	}
	return true
}

// handOver hands one broadcast to the mobile nodes of its domain that have asked for such, and a datagram for a group to those that
// have joined it, but not to its sender, and sends it on the home link if it comes from a mobile node. It returns why not.
func (a *HomeAgent) handOver(d *domain, ip packet.IPv4, onLink bool) packet.DropReason {
	now, limit, hearers := a.host.Now().Boot, d.limit, a.table.Listeners
	if dst := ip.Dst(); !tunnel.Broadcast(dst, d.networks) {
		limit, hearers = d.groupLimit, func() []*homeagent.Route { return a.members(dst) }
	}
	if !limit.allow(now) {
		return packet.DropPolicy
	}
	if onLink {
		a.sendOnHomeLink(ip)
	}
	var out exits
	a.prepare(&out)
	for _, route := range hearers() {
		if route.Home == ip.Src() || !d.has(route.Home) {
			continue
		}
		for _, t := range route.Tunnels {
			if t.Broadcasts != homeagent.NoBroadcasts {
				a.enterBroadcast(now, route.Home, t, ip, &out)
			}
		}
		a.sendFull(&out)
	}
	a.sendAll(&out)
	return packet.NotDropped
}

// sendFull sends of what is to leave what has become many.
func (a *HomeAgent) sendFull(out *exits) {
	for e, o := range out {
		if o != nil && o.Len() >= packet.BatchSize/2 {
			a.send(exit(e), o)
			out[e] = packet.GetBatch()
		}
	}
}

// enterBroadcast puts a copy of one broadcast into one tunnel. Nobody is told of one that is too long (RFC 1122 §3.2.2).
func (a *HomeAgent) enterBroadcast(now time.Duration, home netip.Addr, t *homeagent.Tunnel, ip packet.IPv4, out *exits) {
	mtu := t.State.MTU.Of(now, a.out[t.Encapsulation].mtu)
	if t.Broadcasts == homeagent.NestedBroadcasts {
		mtu -= packet.IPv4Len
	}
	c, pieces := packet.From(ip), packet.GetBatch()
	if r := tunnel.Fragment(c, mtu, pieces); r != packet.NotDropped {
		a.drops.Count(r, 1)
		c.Release()
	}
	for _, p := range pieces.Bufs {
		if t.Broadcasts == homeagent.NestedBroadcasts {
			tunnel.Nest(p, a.cfg.Address, home)
		}
		if r := a.enter(now, t, p, out); r != packet.NotDropped {
			a.drops.Count(r, 1)
			p.Release()
		}
	}
	pieces.Forget()
}

// sendOnHomeLink sends a copy of a mobile node's broadcast on the home link, as the mobile node would there.
func (a *HomeAgent) sendOnHomeLink(ip packet.IPv4) {
	c := packet.From(ip)
	c.Hardware = packet.GroupHardware(ip.Dst())
	out := packet.GetBatch()
	if r := tunnel.Fragment(c, a.broadcasting.mtu, out); r != packet.NotDropped {
		a.drops.Count(r, 1)
		c.Release()
		out.Release()
		return
	}
	n := out.Len()
	if err := a.broadcasting.frames.Out(link.Protected).Send(out); err != nil {
		a.drops.Count(packet.DropSendFailed, n)
	}
}
