package ipsec

import (
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// A gateway without MOBIKE may follow packets all the same, where it believes the client behind a NAT (RFC 7296 §2.23, draft
// appendix C). The first tunnel finds out that it has no MOBIKE; in another one beside it, which pretends a NAT, that it follows.

const (
	// renewAfter is how long the first tunnel is left alone, to carry what waits for it.
	renewAfter = 2 * time.Second
	// staysFor is how long a gateway that did not follow is not asked again.
	staysFor = time.Hour
	// probeApart is the least time between two packets that the gateway is made to send an answer by.
	probeApart = time.Second
	// shownWith is the length of the dummy packets that show where the tunnel is, in octets inside.
	shownWith = 64
)

// acquaintance is what is known of a gateway while the process lives.
type acquaintance struct {
	// unaware is set when it has no MOBIKE. staysUntil is the boot time until which it counts as one that does not follow.
	unaware    bool
	staysUntil time.Duration
}

// acquaintance returns what is known of the gateway.
func (a *access) acquaintance() *acquaintance {
	k := a.protocol.known[a.Gateway]
	if k == nil {
		k = &acquaintance{}
		a.protocol.known[a.Gateway] = k
	}
	return k
}

// provable tells whether gateways may be moved by packets alone.
func (a *access) provable() bool {
	e := a.cfg.Mechanisms.EndpointUpdate
	return e == "" || e == config.MechanismAuto || e == config.MechanismAlways
}

// pretendsNAT tells whether a tunnel pretends to be behind a NAT, so that the gateway may follow it.
func (a *access) pretendsNAT() bool {
	k := a.acquaintance()
	return a.provable() && k.unaware && k.staysUntil == 0
}

// beginFollowing says what is known of following when the tunnel comes up.
func (t *tunnel) beginFollowing(now link.Instant, e ike.Established) {
	a, k := t.access, t.access.acquaintance()
	if now.Boot >= k.staysUntil {
		k.staysUntil = 0
	}
	k.unaware = !e.MOBIKE
	t.follows = vpn.FollowingUnknown
	switch {
	case e.MOBIKE:
		t.follows = vpn.FollowsUpdates
	case !a.provable() || e.TCP || k.staysUntil != 0:
		t.follows = vpn.FollowsNot
	case e.UDPEncapsulation:
		t.proveAt = now.Boot
	case t.pretends:
		t.follows, k.staysUntil = vpn.FollowsNot, now.Boot+staysFor // it knows nothing of NATs
	default:
		t.renewAt = now.Boot + renewAfter
	}
}

// followDeadline returns when there is something to do about following.
func (t *tunnel) followDeadline() (time.Duration, bool) {
	at := max(t.proveAt, t.renewAt)
	return at, at != 0 && t.access.used == t && t.current != 0 && !t.parked && !t.ended
}

// proveFollowing begins to find out whether the gateway follows, when that is due: in the tunnel that is used, whose packets show it.
func (t *tunnel) proveFollowing(now link.Instant) {
	at, ok := t.followDeadline()
	if !ok || now.Boot < at {
		return
	}
	if t.renewAt != 0 {
		t.renewAt = 0
		t.emit(vpn.Renew{Why: "the gateway has no MOBIKE: whether it follows packets shows in a tunnel in UDP"})
		return
	}
	t.proveAt = 0
	local, err := t.access.flows.OpenPort(t.at, t.remote.Addr())
	if err == nil {
		err = t.machine.ProveFollowing(now, local.Port())
	}
	if err != nil {
		t.access.Log.Debug("whether the gateway follows is not found out", zap.Error(err))
		t.foundOut(now, false)
	}
}

// foundOut takes note of whether the gateway follows.
func (t *tunnel) foundOut(now link.Instant, follows bool) {
	a, before := t.access, t.follows
	if follows {
		t.follows = vpn.FollowsPackets
		if before != t.follows {
			t.settle(now)
		}
	} else {
		t.follows = vpn.FollowsNot
		a.acquaintance().staysUntil = now.Boot + staysFor
		if _, there := a.bearer(t.at); !there {
			t.end(vpn.ErrBearerGone)
			return
		}
	}
	if before != t.follows {
		a.Log.Info("the gateway has no MOBIKE", zap.Bool("follows packets", follows))
		t.emit(vpn.Ready{})
	}
}

// showWhere shows the gateway by a dummy packet where the tunnel is, and has it send a packet when an answer is wanted.
func (t *tunnel) showWhere(answer bool) {
	if t.access.used != t {
		return
	}
	if answer && t.now.Boot >= t.probeAt {
		t.probeAt = t.now.Boot + probeApart
		t.emit(vpn.Probe{})
	}
	if err := t.access.flows.SendDummy(shownWith); err != nil {
		t.access.Log.Debug("dummy packet not sent", zap.Error(err))
	}
}

// noteArrival tells the IKE machine where packets of a child SA have arrived.
func (t *tunnel) noteArrival(now link.Instant, c *child) {
	if t.follows != vpn.FollowingUnknown && t.follows != vpn.FollowsPackets {
		return
	}
	local, packets := t.access.flows.Arrived(c.open.SPI())
	if packets != c.arrived {
		c.arrived = packets
		t.machine.HandleSource(now, local, c.open.Source())
	}
}
