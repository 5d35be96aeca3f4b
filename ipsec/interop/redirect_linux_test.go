package interop

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/tun/link"
)

// plainCase is a case without anything special.
func plainCase(p peer, side role) Case {
	return Case{peer: p, role: side, auth: allAuthentications()[0], suite: allTransforms()[0], nat: noNAT, sizes: usual, config: plain,
		ppk: noPPK, move: fixed}
}

// secondGateway is the gateway's address on the wire to the first NAT.
var secondGateway = natOuter[0].Prev()

// Shows: IKE-5 (redirect, RFC 5685). A gateway of charon's sends our client away, who is told where to and keeps the IKE SA.
func TestCharonRedirectsUs(t *testing.T) {
	r := &recorder{TB: t}
	on := mustGround(r, t, strongSwan60, initiator)
	g := newGame(r, on, plainCase(strongSwan60, initiator))
	g.load()
	for to, want := range map[string]ike.GatewayName{secondGateway.String(): {Address: secondGateway}, "gw2.corp.example": {Name: "gw2.corp.example"}} {
		cfg := g.initiatorConfig()
		cfg.FollowRedirects = true
		c := g.ourClient(cfg)
		c.start()
		wait[ike.Established](c)
		wait[ike.ChildInstalled](c)
		g.call(r, "redirect", charon.Section{"ike": connection, "gateway": to})
		if e := wait[ike.Redirected](c); e.To != want {
			t.Errorf("redirected to %v, want %v", e.To, want)
		}
		c.data()
		c.command(func(now link.Instant) error { c.machine.Delete(now); return nil })
		wait[ike.Closed](c)
		on.noSAs(r)
		c.close()
	}
}

// Shows: IKE-5 (redirect, RFC 5685; RFC 4478). Our gateway sends charon's client to another address, in IKE_SA_INIT and later, and asks it
// to authenticate anew; the client follows, and data passes.
func TestWeRedirectCharon(t *testing.T) {
	r := &recorder{TB: t}
	on := mustGround(r, t, strongSwan60, responder)
	second := ike.GatewayName{Address: secondGateway}
	for name, initially := range map[string]bool{"in IKE_SA_INIT": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			r := &recorder{TB: t}
			g := newGame(r, on, plainCase(strongSwan60, responder))
			g.change = func(s charon.Section) { delete(s, "local_addrs") } // to the second one it comes through a NAT
			g.load()
			cfg := g.gatewayConfig()
			if initially {
				cfg.Redirect = func(_ ike.Identity, from netip.AddrPort) (ike.GatewayName, bool) {
					return second, from.Addr() != natOuter[0]
				}
			}
			ours := newGate(r, on.gate, cfg, gatewayAddr, secondGateway)
			done := g.initiate()
			if initially {
				var refused *ike.NotifyError
				if end := ours.end(); !errors.As(end, &refused) || refused.Type != message.Redirect {
					t.Fatalf("the first attempt ended with %v", end)
				}
			}
			up := wait[ike.Established](ours)
			wait[ike.ChildInstalled](ours)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if !initially {
				mark := on.mark()
				ours.command(func(now link.Instant) error {
					return ours.gateway.RequireAuthentication(now, ours.session, time.Hour)
				})
				eventually(r, "charon knows that it has to authenticate anew", func() (bool, string) {
					log := on.logSince(mark)
					return strings.Contains(log, "AUTH_LIFETIME of 3600s"), log
				})
				ours.command(func(now link.Instant) error { return ours.gateway.Redirect(now, ours.session, second) })
				up = wait[ike.Established](ours)
				wait[ike.ChildInstalled](ours)
			}
			if up.Local.Addr() != secondGateway || up.Remote.Addr() != natOuter[0] {
				t.Fatalf("established with %+v", up)
			}
			eventually(r, "charon has one IKE SA", func() (bool, string) {
				sas := on.sas(r)
				return len(sas) == 1 && sas[0].String("state") == "ESTABLISHED" && len(installed(sas[0])) == 1, on.logSince(0)
			})
			newTraveller(r, on.client, up.Configuration.Addresses[0]).data()
			g.call(r, "terminate", charon.Section{"ike": connection, "timeout": "20000"})
			on.noSAs(r)
		})
	}
}
