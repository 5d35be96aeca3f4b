package gateway

import (
	"bytes"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// errReloaded ends an EAP conversation whose RADIUS servers are not configured any more.
var errReloaded = errors.New("the configuration of the RADIUS servers has changed")

// Reload takes another configuration in the place of the one before. Sessions go on that it still grants all that they have:
// their client may come in by the same rounds and the same key, has the same inner addresses and reaches no fewer networks.
// Others are closed and their clients told, which connect anew and get what is theirs now; Reload returns how many. A session
// whose peer is not authenticated yet is judged when it is. What the IKE part says is for new sessions. An error, which wraps
// ErrConfig or ike.ErrConfig, leaves all as it was.
func (g *Gateway) Reload(now link.Instant, cfg Config) (closed int, err error) {
	fresh, err := New(cfg, g.rand)
	if err != nil {
		return 0, err
	}
	before := g.cfg.RADIUS
	g.cfg, g.peers, g.users, g.byName, g.homes = fresh.cfg, fresh.peers, fresh.users, fresh.byName, fresh.homes
	g.bind()
	for name, v := range fresh.provisions {
		if old := g.provisions[name]; old != nil {
			v.remember(old)
		}
	}
	g.provisions = fresh.provisions
	g.reloads++
	if !reflect.DeepEqual(before, cfg.RADIUS) {
		for _, s := range slices.Collect(maps.Values(g.talks)) {
			g.endEAP(s)
			g.answerEAP(now, s, ike.EAPAnswer{Err: errReloaded})
			g.pump(now, s)
		}
		g.radius = fresh.radius
	}
	for _, id := range g.ids() {
		s := g.sessions[id]
		if s == nil || g.byIdentity[s.identity] != s || g.rebase(s) {
			continue
		}
		closed++
		s.machine.Delete(now)
		g.pump(now, s)
	}
	return closed, nil
}

// bind gives the IKE part what it asks this gateway.
func (g *Gateway) bind() {
	if secrets := g.cfg.CrashSecrets; len(secrets) > 0 {
		g.cfg.IKE.CrashToken = func(spiI, spiR uint64) []byte { return crashToken(secrets[0], spiI, spiR) }
	}
	g.cfg.IKE.SPIInUse = func(spi uint32) bool { return g.byInbound[spi] != nil }
}

// rebase puts an authenticated session on the configuration that is in force, and reports false when that does not grant all
// that it has.
func (g *Gateway) rebase(s *session) bool {
	rule, name, ok := g.admits(s)
	v := g.provisions[name]
	if !ok || v == nil || s.provision == nil || !v.reaches(s.provision.Networks) || !g.keepsHome(s) {
		return false
	}
	if v != s.provision && !v.takeOver(s) {
		return false
	}
	s.rule, s.provision, s.reloads = rule, v, g.reloads
	return true
}

// admits tells whether a session's client may come in as it has, by which rule (nil for a peer with a key of its own), and by
// which policy's name.
func (g *Gateway) admits(s *session) (rule *Rule, policy string, ok bool) {
	if s.rule == nil {
		peer, ok := g.peers[s.asked]
		return nil, "", ok && bytes.Equal(peer.PSK, s.key)
	}
	rule = g.cfg.rule(s.asked)
	if _, own := g.peers[s.asked]; own || rule == nil || rule.EAPOnly != s.rule.EAPOnly || !slices.Equal(rule.Rounds, s.rule.Rounds) {
		return nil, "", false
	}
	switch policy = rule.Policy; {
	case rule.Rounds[len(rule.Rounds)-1] != ByEAP:
	case g.radius == nil:
		u, there := g.byName[s.identity]
		if !there {
			return nil, "", false
		}
		if u.Policy != "" {
			policy = u.Policy
		}
	case s.provision.Name != s.rule.Policy: // RADIUS has named it
		policy = s.provision.Name
	}
	return rule, policy, true
}

// reaches reports whether each of the networks lies within one of the policy's.
func (p *Policy) reaches(networks []netip.Prefix) bool {
	return !slices.ContainsFunc(networks, func(n netip.Prefix) bool {
		return !slices.ContainsFunc(p.Networks, func(own netip.Prefix) bool { return own.Bits() <= n.Bits() && own.Contains(n.Addr()) })
	})
}

// remember keeps which address each peer had last, for a pool that has been made anew.
func (v *provision) remember(old *provision) {
	maps.Copy(v.pool.had, old.pool.had)
	if v.pool6 != nil && old.pool6 != nil {
		maps.Copy(v.pool6.had, old.pool6.had)
	}
}

// takeOver assigns a session's addresses out of this provision's pools. When one is not to be had it returns false and has
// assigned none.
func (v *provision) takeOver(s *session) bool {
	for _, family := range []struct{ from, to *pool }{{s.provision.pool, v.pool}, {s.provision.pool6, v.pool6}} {
		if family.from == nil {
			continue
		}
		a := family.from.had[s.identity]
		if !a.IsValid() || family.from.owner[a] != s.identity {
			continue // none of this family
		}
		if family.to == nil || !family.to.takeOver(s.identity, a, a == s.fixed) {
			v.release(s.identity)
			return false
		}
	}
	return true
}

// takeOver assigns a and no other. chosen says that somebody else has chosen it, so that it need not be of the prefix.
func (p *pool) takeOver(id ike.Identity, a netip.Addr, chosen bool) bool {
	if chosen {
		return p.assignFixed(id, a) == nil
	}
	if fixed, ok := p.fixed[id]; ok && fixed != a || !ok && !p.free(a, id) {
		return false
	}
	p.take(a, id)
	return true
}
