package gateway

import (
	"errors"
	"testing"

	"mipvpn/ipsec/ike"
)

// Shows: IKE-2, IKE-3 (post-quantum pre-shared keys by identity: nobody can use that of another client)
func TestPPKByIdentity(t *testing.T) {
	key := func(i byte) ike.PPK {
		return ike.PPK{ID: "key " + string('0'+i), Key: append([]byte("a post-quantum key of 32 octets "), i)}
	}
	for _, required := range []bool{false, true} {
		cfg := config(t, 3)
		cfg.PPKs = []PeerPPK{{cfg.Peers[0].Identity, key(0)}, {cfg.Peers[1].Identity, key(1)}}
		cfg.RequirePPK = required
		for _, c := range []struct {
			name  string
			who   int
			ppk   byte
			has   bool
			used  bool
			taken bool
		}{
			{"its own", 0, 0, true, true, true},
			{"another client's", 0, 1, true, false, !required},
			{"none of its own", 2, 0, true, false, !required},
			{"none", 1, 0, false, false, !required},
		} {
			n := newNet(t, cfg)
			cl := n.client(c.who, func(i *ike.InitiatorConfig) {
				if k := key(c.ppk); c.has {
					i.PPK = &k
				}
			})
			cl.start()
			n.settle()
			if up, ok := last[ike.Established](cl.events); ok != c.taken || up.PPK != c.used {
				t.Errorf("%s, required %t: connected %t with PPK %t, want %t, %t", c.name, required, ok, up.PPK, c.taken, c.used)
			}
		}
	}
	for name, change := range map[string]func(*Config){
		"of nobody": func(c *Config) { c.PPKs = []PeerPPK{{PPK: key(0)}} },
		"short":     func(c *Config) { c.PPKs = []PeerPPK{{c.Peers[0].Identity, ike.PPK{ID: "x", Key: []byte("short")}}} },
		"none":      func(c *Config) { c.RequirePPK = true },
	} {
		cfg := config(t, 1)
		change(&cfg)
		if _, err := New(cfg, source(1)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
