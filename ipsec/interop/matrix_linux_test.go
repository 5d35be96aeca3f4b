package interop

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"mipvpn/tun/hostnet/netnstest"
)

var all = flag.Bool("all", false, "play all cases, not a third of them, and print them as a table")

// role is what our end is.
type role string

const (
	initiator role = "initiator"
	responder role = "responder"
)

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
	auth    authentication
	ppk     ppk
	suite   transforms
	nat     nat
	sizes   sizes
	config  configuration
	move    move
	rekey   []step // in this order
	deleter string // us or peer
}

// ppk says whether a post-quantum pre-shared key is used (RFC 8784).
type ppk string

const (
	noPPK       ppk = "-"
	optionalPPK ppk = "optional"
	requiredPPK ppk = "required"
)

// nat says who is behind a NAT.
type nat string

const (
	noNAT     nat = "-"
	clientNAT nat = "client"
)

// sizes says in which sizes IKE messages are sent (RFC 7383).
type sizes string

const (
	whole sizes = "off"
	usual sizes = "on"
	small sizes = "small"
)

// configuration is what the gateway assigns, beside an IPv4 address and a name server.
type configuration string

const (
	plain    configuration = "IPv4"
	both     configuration = "IPv4, IPv6"
	splitDNS configuration = "split DNS"
)

// move is what the client's addresses do while the IKE SA is up (RFC 4555).
type move string

const (
	fixed        move = "-" // without MOBIKE
	stays        move = "none"
	otherAddress move = "address"
	behindNAT    move = "into NAT"
	outOfNAT     move = "out of NAT"
	otherNAT     move = "other NAT"
)

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
	auths := dimension{name: "authentication"}
	for _, a := range allAuthentications() {
		auths.choices = append(auths.choices, choice{a.name, func(c *Case) { c.auth = a }})
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
		auths,
		named("PPK", func(c *Case, p ppk) { c.ppk = p }, noPPK, optionalPPK, requiredPPK),
		suites,
		named("NAT", func(c *Case, n nat) { c.nat = n }, noNAT, clientNAT),
		named("fragments", func(c *Case, z sizes) { c.sizes = z }, whole, usual, small),
		named("assigned", func(c *Case, v configuration) { c.config = v }, plain, both, splitDNS),
		named("move", func(c *Case, m move) { c.move = m }, fixed, stays, otherAddress, behindNAT, outOfNAT, otherNAT),
		rekeys,
		{"delete", []choice{{"by us", func(c *Case) { c.deleter = "us" }}, {"by peer", func(c *Case) { c.deleter = "peer" }}}},
	}
}

// named makes a dimension whose choices are values with names.
func named[T ~string](name string, set func(*Case, T), values ...T) dimension {
	d := dimension{name: name}
	for _, v := range values {
		d.choices = append(d.choices, choice{string(v), func(c *Case) { set(c, v) }})
	}
	return d
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

// possible reports whether a case makes sense. What is open has its zero value.
func possible(c Case) bool {
	if c.suite.mlkem && c.peer.name != "" && c.peer.name != strongSwan61.name {
		return false // Debian's 6.0 is built without it
	}
	if c.suite.hybrid && c.peer.name == strongSwan59.name {
		return false
	}
	switch c.move {
	case otherAddress, behindNAT:
		return c.nat != clientNAT
	case outOfNAT, otherNAT:
		return c.nat != noNAT
	}
	return true
}

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
	netnstest.New(t) // skips the test where there are none
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
