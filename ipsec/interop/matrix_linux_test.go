package interop

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
)

var all = flag.Bool("all", false, "play all cases, not a third of them, and print them as a table")

// role is what our end is.
type role string

const (
	initiator role = "initiator"
	responder role = "responder"
)

// transforms are a choice of algorithms, for both ends.
type transforms struct {
	name string
	// ike and esp are strongSwan's words for it.
	ike, esp string
	ours     ike.Proposals
	// ikeSA and childSA are what charon must say of its SAs.
	ikeSA, childSA map[string]string
}

// step is something that happens to an SA that is up.
type step string

const (
	childByUs   step = "child by us"
	childByThem step = "child by peer"
	ikeByUs     step = "IKE by us"
	ikeByThem   step = "IKE by peer"
)

// Case is one run against a peer: connect, data both ways, what the case is about, data again, delete.
type Case struct {
	name    string
	peer    peer
	role    role
	suite   transforms
	behind  bool   // the client is behind a NAT
	rekey   []step // in this order
	deleter string // us or peer
}

// choice is a value of an axis, with what it does to a case.
type choice struct {
	name string
	set  func(*Case)
}

// dimension is an axis with its choices.
type dimension struct {
	name    string
	choices []choice
}

// dimensions are what cases differ in.
func dimensions() []dimension {
	peers := dimension{name: "peer"}
	for _, p := range []peer{strongSwan59, strongSwan60, strongSwan61} {
		peers.choices = append(peers.choices, choice{p.name, func(c *Case) { c.peer = p }})
	}
	suites := dimension{name: "suite"}
	for _, s := range allTransforms() {
		suites.choices = append(suites.choices, choice{s.name, func(c *Case) { c.suite = s }})
	}
	rekeys := dimension{name: "rekey", choices: []choice{{"-", func(*Case) {}}}}
	for _, s := range [][]step{{childByUs}, {childByThem}, {ikeByUs}, {ikeByThem}, {ikeByThem, childByUs, ikeByUs, childByThem}} {
		name := string(s[0])
		if len(s) > 1 {
			name = "all four"
		}
		rekeys.choices = append(rekeys.choices, choice{name, func(c *Case) { c.rekey = s }})
	}
	return []dimension{
		peers,
		{"we are", []choice{
			{"initiator", func(c *Case) { c.role = initiator }},
			{"responder", func(c *Case) { c.role = responder }},
		}},
		suites,
		{"NAT", []choice{{"-", func(*Case) {}}, {"client", func(c *Case) { c.behind = true }}}},
		rekeys,
		{"delete", []choice{{"by us", func(c *Case) { c.deleter = "us" }}, {"by peer", func(c *Case) { c.deleter = "peer" }}}},
	}
}

// makeCase makes the case of a pick; open axes stay as they are.
func makeCase(dims []dimension, p pick) Case {
	var c Case
	var words []string
	for i, d := range dims {
		if p[i] == open {
			continue
		}
		d.choices[p[i]].set(&c)
		words = append(words, d.choices[p[i]].name)
	}
	c.name = strings.Join(words, ", ")
	return c
}

// possible reports whether a case makes sense, as far as it is filled in.
func possible(Case) bool { return true }

// cases returns the cases to be played, each with the words of the table's columns.
func cases(dims []dimension, all bool) (list []Case, columns [][]string) {
	axes := make([]axis, len(dims))
	for i, d := range dims {
		axes[i].name = d.name
		for _, c := range d.choices {
			axes[i].values = append(axes[i].values, c.name)
		}
	}
	picks := cover(axes, func(p pick) bool { return possible(makeCase(dims, p)) })
	if !all {
		picks = third(axes, picks)
	}
	for _, p := range picks {
		var words []string
		for i, v := range p {
			words = append(words, dims[i].choices[v].name)
		}
		list, columns = append(list, makeCase(dims, p)), append(columns, words)
	}
	return list, columns
}

// lanes is how many grounds of one peer in one role are used at the same time.
const lanes = 2

// Shows: IKE-1, IKE-2, IKE-3, IKE-4, IKE-5, IKE-6, IKE-9, IKE-10, GDL-1 (strongSwan 5.9 and 6, as gateway and as client). Each pair of values of
// the dimensions is in one of the cases; without -all a third of them is played, with each value in one.
func TestMatrix(t *testing.T) {
	dims := dimensions()
	list, columns := cases(dims, *all)
	table := newTable(dims)
	type lane struct {
		peer string
		role role
		n    int
	}
	byLane := map[lane][]int{}
	var order []lane
	count := map[lane]int{}
	for i, c := range list {
		whole := lane{c.peer.name, c.role, 0}
		l := lane{c.peer.name, c.role, count[whole] % lanes}
		count[whole]++
		if byLane[l] == nil {
			order = append(order, l)
		}
		byLane[l] = append(byLane[l], i)
	}
	t.Run("cases", func(t *testing.T) {
		for _, l := range order {
			t.Run(fmt.Sprintf("%s, we are %s, %d", l.peer, l.role, l.n), func(t *testing.T) {
				t.Parallel()
				var g *ground
				for _, i := range byLane[l] {
					c := list[i]
					ok := t.Run(c.name, func(tt *testing.T) {
						r := &recorder{TB: tt}
						defer table.note(columns[i], r)
						if g == nil {
							var err error
							if g, err = newGround(t, c.peer, c.role); unavailable(err) {
								r.Skip(err)
							} else if err != nil {
								r.Fatal(err)
							}
						}
						play(r, g, c)
					})
					if !ok {
						g = nil // what a failure leaves behind is not the next case's fault
					}
				}
			})
		}
	})
	if *all {
		fmt.Println(table)
	}
}

// allTransforms returns the choices of algorithms.
func allTransforms() []transforms {
	one := func(e suite.Encryption, p suite.PRF, g suite.Group, child suite.Encryption) ike.Proposals {
		return ike.Proposals{Encryption: []suite.Encryption{e}, PRFs: []suite.PRF{p}, Groups: []suite.Group{g}, ChildEncryption: []suite.Encryption{child}}
	}
	sa := func(encryption, bits, prf, group string) map[string]string {
		return map[string]string{"encr-alg": encryption, "encr-keysize": bits, "prf-alg": prf, "dh-group": group}
	}
	child := func(encryption, bits string) map[string]string {
		return map[string]string{"encr-alg": encryption, "encr-keysize": bits}
	}
	const gcm, chacha = "AES_GCM_16", "CHACHA20_POLY1305"
	return []transforms{
		{"AES-256-GCM, x25519", "aes256gcm16-prfsha256-x25519", "aes256gcm16-x25519",
			one(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupCurve25519, suite.AESGCM256),
			sa(gcm, "256", "PRF_HMAC_SHA2_256", "CURVE_25519"), child(gcm, "256")},
		{"AES-128-GCM, P-256", "aes128gcm16-prfsha256-ecp256", "aes128gcm16-ecp256",
			one(suite.AESGCM128, suite.PRFHMACSHA256, suite.GroupP256, suite.AESGCM128),
			sa(gcm, "128", "PRF_HMAC_SHA2_256", "ECP_256"), child(gcm, "128")},
		{"AES-256-GCM, P-384", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-ecp384",
			one(suite.AESGCM256, suite.PRFHMACSHA384, suite.GroupP384, suite.AESGCM256),
			sa(gcm, "256", "PRF_HMAC_SHA2_384", "ECP_384"), child(gcm, "256")},
		{"ChaCha20-Poly1305, x25519", "chacha20poly1305-prfsha512-x25519", "chacha20poly1305-x25519",
			one(suite.ChaCha20Poly1305, suite.PRFHMACSHA512, suite.GroupCurve25519, suite.ChaCha20Poly1305),
			sa(chacha, "", "PRF_HMAC_SHA2_512", "CURVE_25519"), child(chacha, "")},
		{"AES-256-GCM, MODP-2048", "aes256gcm16-prfsha256-modp2048", "chacha20poly1305-modp2048",
			one(suite.AESGCM256, suite.PRFHMACSHA256, suite.GroupMODP2048, suite.ChaCha20Poly1305),
			sa(gcm, "256", "PRF_HMAC_SHA2_256", "MODP_2048"), child(chacha, "")},
	}
}
