package ipsec

import (
	"net/netip"

	"mipvpn/client/vpn"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
)

// redirection is where the last gateway has sent the client, and how often that was (RFC 5685). The gateway there is told, and has
// to prove the identity that is configured like any other.
type redirection struct {
	limit    ike.RedirectLimit
	from     ike.GatewayName
	to       netip.Addr
	followed bool
}

// follow notes a redirection and says so, unless there have been too many (RFC 5685 §7). It reports whether it is followed.
func (t *tunnel) follow(now link.Instant, to ike.GatewayName) bool {
	a := t.access
	r := &a.protocol.redirection
	if !r.limit.Allow(now) {
		return false
	}
	*r = redirection{limit: r.limit, from: ike.GatewayName{Address: a.Gateway}, to: to.Address, followed: true}
	t.emit(vpn.Elsewhere{Address: to.Address, Name: to.Name})
	return true
}

// redirected returns the gateway that has sent the client here, the zero GatewayName for none.
func (a *access) redirected() ike.GatewayName {
	r := &a.protocol.redirection
	if !r.followed || r.to.IsValid() && r.to != a.Gateway {
		return ike.GatewayName{}
	}
	r.followed = false
	return r.from
}
