package interop

import (
	"fmt"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/interop/charon"
)

// Shows: IKE-3 (ML-KEM by preference, downgrade visible). With nothing configured ML-KEM is used with a gateway that can, and its
// lack is told with one that cannot; a profile that requires it is refused there.
func TestDefaultProposalsWithCharon(t *testing.T) {
	profiles := map[string]ike.Proposals{}
	for _, name := range []string{"default", "compatible", "cnsa"} {
		p, err := ike.ProposalsOf(name)
		if err != nil {
			t.Fatal(err)
		}
		profiles[name] = p
	}
	hybrids := []string{"aes256gcm16-prfsha384-ecp384-ke1_mlkem1024", "aes256gcm16-prfsha256-x25519-ke1_mlkem768", "aes256gcm16-prfsha256-x25519"}
	classic := []string{"aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha256-x25519"}
	for _, c := range []struct {
		peer       peer
		proposals  []string
		profile    string
		downgraded bool
		refused    bool
	}{
		{strongSwan61, hybrids, "default", false, false},
		{strongSwan61, hybrids, "cnsa", false, false},
		{strongSwan61, classic, "default", true, false},
		{strongSwan59, classic, "default", true, false},
		{strongSwan59, []string{"aes256-sha256-modp2048"}, "compatible", true, false},
		{strongSwan59, classic, "cnsa", false, true},
	} {
		t.Run(fmt.Sprintf("%s, %s, %s", c.peer.name, c.profile, c.proposals[0]), func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			on := mustGround(r, t, c.peer, initiator)
			s := allTransforms()[0]
			s.ours = profiles[c.profile]
			g := newGame(r, on, Case{peer: c.peer, role: initiator, auth: allAuthentications()[0], suite: s, nat: noNAT, sizes: usual,
				config: plain, ppk: noPPK, move: fixed})
			g.change = func(s charon.Section) { s["proposals"] = c.proposals }
			g.load()
			cfg := g.initiatorConfig()
			cfg.Retransmission.RefusedTries = 2
			ours := g.ourClient(cfg)
			ours.start()
			up, err := settled(ours.endpoint)
			if c.refused != (err != nil) {
				t.Fatalf("closed with %v, want a refusal: %t", err, c.refused)
			}
			if err == nil && (up.Downgraded != c.downgraded || len(up.KeyExchanges) == 0) {
				t.Errorf("downgraded: %t, key exchanges %v", up.Downgraded, up.KeyExchanges)
			}
			if err == nil {
				wait[ike.ChildInstalled](ours)
				ours.data()
			}
		})
	}
}
