package interop

import (
	"errors"
	"fmt"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// Shows: IKE-2, IKE-3, GDL-1 (strongSwan; RFC 8784: a post-quantum pre-shared key that both have, that the gateway has not, and
// that either requires; data passes, also behind rekeyings)
func TestCharonPPK(t *testing.T) {
	known := ike.PPK{ID: "laptop-ppk", Key: []byte("a post-quantum key of the tests, 32 octets and more")}
	unknown := ike.PPK{ID: "nobody's", Key: known.Key}
	secret := fmt.Sprintf("secrets { ppk-laptop { id-1 = %s\n secret = \"%s\" } }\n", known.ID, known.Key)
	connection := func(words string) string { return "connections { mobile { " + words + " } }\n" }
	for _, c := range []struct {
		name, extra   string
		ours          *ike.PPK
		required      bool
		used, refused bool
	}{
		{"both", secret + connection("ppk_id = laptop-ppk"), &known, false, true, false},
		{"both require it", secret + connection("ppk_id = laptop-ppk\n ppk_required = yes"), &known, true, true, false},
		{"we have another one", secret, &unknown, false, false, false},
		{"we have another one and require it", secret, &unknown, true, false, true},
		{"the gateway has none", "", &known, false, false, false},
		{"the gateway requires one", secret + connection("ppk_id = laptop-ppk\n ppk_required = yes"), nil, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t, c.extra, "")
			change := func(cfg *ike.InitiatorConfig) { cfg.PPK, cfg.RequirePPK = c.ours, c.required }
			if c.refused {
				cfg := l.config()
				change(&cfg)
				cl := newClient(t, l.outside, cfg)
				cl.start()
				if end := wait[ike.Closed](cl); !errors.Is(end.Err, &ike.NotifyError{Type: message.AuthenticationFailed}) && !errors.Is(end.Err, ike.ErrPPK) {
					t.Errorf("closed with %v", end.Err)
				}
				return
			}
			cfg := l.config()
			change(&cfg)
			cl := newClient(t, l.outside, cfg)
			cl.start()
			if up := wait[ike.Established](cl); up.PPK != c.used {
				t.Errorf("PPK %t, want %t", up.PPK, c.used)
			}
			wait[ike.ChildInstalled](cl)
			cl.data()
			cl.command(func(now link.Instant) error { return cl.machine.RekeyIKE(now) })
			wait[ike.IKERekeyed](cl)
			cl.command(func(now link.Instant) error { return cl.machine.RekeyChild(now, cl.using.child) })
			wait[ike.ChildInstalled](cl)
			cl.data()
		})
	}
}
