package interop

import (
	"slices"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/tun/link"
)

// Shows: IKE-2 (strongSwan as gateway). A gateway that proves itself twice (RFC 4739 §2.5): by its certificate and by a
// pre-shared key, while the client has one round or two, with EAP or without.
func TestGatewayProvesItselfTwice(t *testing.T) {
	on := mustGround(&recorder{TB: t}, t, strongSwan59, initiator)
	for _, client := range [][]string{{byCertificate}, {byMSCHAPv2}, {byCertificate, byMSCHAPv2}} {
		a := authentication{name: "twice", kind: pkitest.P256, client: client}
		t.Run(client[len(client)-1], func(t *testing.T) {
			g := newGame(&recorder{TB: t}, on, Case{name: a.name, peer: strongSwan59, role: initiator, auth: a, suite: allTransforms()[0],
				nat: noNAT, sizes: usual, config: plain, move: fixed})
			g.change = func(s charon.Section) {
				s.Section("local-0")["round"] = "1"
				s["local-2"] = charon.Section{"auth": byPSK, "id": gatewayName, "round": "2"}
			}
			g.load()
			g.changeOurs = func(c *ike.InitiatorConfig) { c.Accept.PSK = slices.Clone(key) }
			ours := g.ourClient(g.initiatorConfig())
			ours.start()
			up := wait[ike.Established](ours)
			if want := identity(t, gatewayName); up.RemoteID != want || !slices.Equal(up.Proved, []ike.Identity{want, want}) {
				t.Fatalf("established with %+v", up)
			}
			wait[ike.ChildInstalled](ours)
			ours.data()
			ours.command(func(now link.Instant) error { ours.machine.Delete(now); return nil })
			wait[ike.Closed](ours)
			on.noSAs(g.recorder)
		})
	}
}
