package agent

import (
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/igmp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Groups that mobile nodes join through their tunnels (RFC 5944 §4.4): the home agent is their multicast router, and itself a member,
// on the home link, of what those at home there would be members of.

// maxJoined is how many groups the home agent is a member of on the home link at a time, whatever mobile nodes report.
const maxJoined = 1024

// members returns the routes of those mobile nodes that have joined a group.
func (a *HomeAgent) members(group netip.Addr) (list []*homeagent.Route) {
	for _, home := range a.broadcasting.groups.Members(group) {
		if r := a.table.Route(home); r != nil {
			list = append(list, r)
		}
	}
	return list
}

// takeReport has what a mobile node says of its groups handled.
func (a *HomeAgent) takeReport(ip packet.IPv4) {
	if ip.FragmentOffset() != 0 || ip.MoreFragments() {
		a.drops.Count(packet.DropUnsupported, 1)
		return
	}
	home, message := ip.Src(), append([]byte(nil), ip.Payload()...)
	a.post(func(now link.Instant) {
		if err := a.broadcasting.groups.HandleReport(now, home, message); err != nil {
			a.drops.Count(packet.DropPolicy, 1)
			if suppressed, due := a.notices.due("IGMP", now.Boot); due {
				a.log.Info("IGMP message of a mobile node dropped", zap.Stringer("home_address", home), zap.Error(err), zap.Int("suppressed", suppressed))
			}
		}
	})
}

// followGroups begins or ends to keep the memberships of a mobile node whose binding has changed.
func (a *HomeAgent) followGroups(now link.Instant, home netip.Addr) {
	r := a.table.Route(home)
	if r != nil && slices.ContainsFunc(r.Tunnels, func(t *homeagent.Tunnel) bool { return t.Broadcasts != homeagent.NoBroadcasts }) {
		a.broadcasting.groups.Listen(now, home)
		return
	}
	a.broadcasting.groups.Forget(home)
}

// actOnGroups asks the mobile nodes that are to be asked, and joins and leaves groups on the home link.
func (a *HomeAgent) actOnGroups() {
	b := &a.broadcasting
	if home, ok := b.groups.PollQuery(); ok {
		now := a.host.Now().Boot
		var out exits
		a.prepare(&out)
		for ; ok; home, ok = b.groups.PollQuery() {
			a.query(now, home, &out)
			a.sendFull(&out)
		}
		a.sendAll(&out)
	}
	for group, ok := b.groups.PollChange(); ok; group, ok = b.groups.PollChange() {
		a.joinOnHomeLink(group)
	}
}

// query asks one mobile node what groups it is in.
func (a *HomeAgent) query(now time.Duration, home netip.Addr, out *exits) {
	r := a.table.Route(home)
	if r == nil {
		return
	}
	q := igmp.Packet(a.cfg.Address, igmp.AllSystems, igmp.AppendQuery(nil))
	defer q.Release()
	for _, t := range r.Tunnels {
		if t.Broadcasts != homeagent.NoBroadcasts && !t.HalfBound() {
			a.enterBroadcast(now, home, t, packet.IPv4(q.Bytes()), out)
		}
	}
}

// joinOnHomeLink makes this host a member of a group there while any mobile node of the link's is one.
func (a *HomeAgent) joinOnHomeLink(group netip.Addr) {
	l, b := &a.homeLink, &a.broadcasting
	if l.link == nil {
		return
	}
	wanted := slices.ContainsFunc(b.groups.Members(group), l.on)
	switch {
	case wanted == b.joined[group]:
		return
	case !wanted:
		delete(b.joined, group)
		if err := l.link.Leave(group); err != nil {
			a.log.Warn("home link: a group cannot be left", zap.Stringer("group", group), zap.Error(err))
		}
	case len(b.joined) >= maxJoined:
		if suppressed, due := a.notices.due("groups", a.host.Now().Boot); due {
			a.log.Warn("home link: too many groups, this one is not joined", zap.Stringer("group", group), zap.Int("suppressed", suppressed))
		}
		return
	default:
		if err := l.link.Join(group); err != nil { // tried again when another joins
			a.log.Warn("home link: a group cannot be joined", zap.Stringer("group", group), zap.Error(err))
			return
		}
		if b.joined == nil {
			b.joined = make(map[netip.Addr]bool)
		}
		b.joined[group] = true
	}
}
