package interop

import (
	"bytes"
	"encoding/binary"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

var (
	laptop   = foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}
	intruder = foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 66}}
)

// visit is a foreign agent with one visitor, and the visitor's key with its home agent.
type visit struct {
	t   testing.TB
	fa  *foreignagent.Machine
	mn  secret
	now time.Duration
}

func newVisit(t testing.TB) *visit {
	t.Helper()
	v := &visit{t: t, mn: secrets()[0]}
	var err error
	v.fa, err = foreignagent.New(foreignagent.Config{Address: visited, CareOfAddress: foreignCoA, Interval: -1}, at(0), mathrand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	v.register(homeAddress, laptop)
	return v
}

// request returns a request for a home address, signed by who need not be the mobile node.
func (v *visit) request(home netip.Addr, by secret) ([]byte, *wire.RegistrationRequest) {
	v.t.Helper()
	v.now += time.Millisecond
	r := &wire.RegistrationRequest{
		Flags: wire.FlagReverseTunnel, Lifetime: 600, HomeAddress: home, HomeAgent: homeAgent, CareOfAddress: foreignCoA,
		Identification: wire.IdentificationAt(at(v.now).Wall),
	}
	p, err := r.Append(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return by.association(v.t).AppendExtension(p, wire.ExtMobileHomeAuthentication), r
}

// send gives the foreign agent a request from a station.
func (v *visit) send(p []byte, home netip.Addr, s foreignagent.Station) error {
	return v.fa.HandleRequest(at(v.now), foreignagent.Request{
		Station: s, Source: netip.AddrPortFrom(home, 5000), Destination: visited, TTL: 255, Payload: p})
}

// register takes a registration of the visitor through to its acceptance.
func (v *visit) register(home netip.Addr, s foreignagent.Station) {
	v.t.Helper()
	p, r := v.request(home, v.mn)
	if err := v.send(p, home, s); err != nil {
		v.t.Fatal(err)
	}
	b, err := r.Reply(wire.CodeAccepted, 600).Append(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	b = v.mn.association(v.t).AppendExtension(b, wire.ExtMobileHomeAuthentication)
	if err := v.fa.HandleReply(at(v.now), netip.AddrPortFrom(homeAgent, wire.Port), b); err != nil {
		v.t.Fatal(err)
	}
	v.drain()
}

// drain takes what the foreign agent has to say and returns how much of it goes to mobile nodes.
func (v *visit) drain() int {
	n := 0
	for out, ok := v.fa.PollTransmit(); ok; out, ok = v.fa.PollTransmit() {
		if out.To == foreignagent.ToMobileNode {
			n++
		}
	}
	for _, ok := v.fa.PollEvent(); ok; _, ok = v.fa.PollEvent() {
	}
	return n
}

// intact fails when the visitor is not where it registered, with its packets coming from and going to its own station.
func (v *visit) intact() {
	v.t.Helper()
	table := v.fa.Table()
	d := table.Deliver(homeAddress, homeAgent)
	if d == nil || d.Station != laptop || table.Reverse(at(v.now).Boot, homeAddress, laptop) == nil || table.Reverse(at(v.now).Boot, homeAddress, intruder) != nil {
		v.t.Fatalf("the visitor is %+v", d)
	}
}

// A neighbour claims the visitor's home address with requests that only the home agent can tell from good ones: nothing of the
// visitor moves, while the home agent refuses them and when it does not answer.
//
// Shows: AGT-4 (a visitor that claims another's address)
func TestHostileVisitorClaimsAnothersAddress(t *testing.T) {
	v := newVisit(t)
	stranger := secret{spi: v.mn.spi, key: "a stranger's key"}
	for round := range 50 {
		p, r := v.request(homeAddress, stranger)
		if err := v.send(p, homeAddress, intruder); err != nil {
			t.Fatal(err) // it is relayed: the foreign agent cannot know
		}
		v.intact()
		if round%2 == 0 {
			b, err := r.Reply(wire.CodeMobileNodeAuthentication, 600).Append(nil)
			if err != nil {
				t.Fatal(err)
			}
			b = v.mn.association(t).AppendExtension(b, wire.ExtMobileHomeAuthentication)
			if err := v.fa.HandleReply(at(v.now), netip.AddrPortFrom(homeAgent, wire.Port), b); err != nil {
				t.Fatal(err)
			}
			v.intact()
		}
		v.drain()
	}
	// Recorded requests of the visitor, sent again from the neighbour's station, are refused by the home agent as replays.
	p, r := v.request(homeAddress, v.mn)
	if err := v.send(p, homeAddress, intruder); err != nil {
		t.Fatal(err)
	}
	b, err := r.Reply(wire.CodeIdentificationMismatch, 600).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	b = v.mn.association(t).AppendExtension(b, wire.ExtMobileHomeAuthentication)
	if err := v.fa.HandleReply(at(v.now), netip.AddrPortFrom(homeAgent, wire.Port), b); err != nil {
		t.Fatal(err)
	}
	v.intact()
	v.register(homeAddress, laptop) // and the visitor renews as ever
	v.intact()
	v.now += 8 * time.Second
	v.fa.HandleTimeout(at(v.now))
	v.intact()
}

// A flood of requests on the visited link, for every home address and from every station, and of replies from everywhere costs
// bounded memory and no visitor; when it is over everybody is served.
//
// Shows: AGT-4, GDL-8 (a foreign agent under a flood)
func TestHostileFloodAtForeignAgent(t *testing.T) {
	const flood = 12_000
	v := newVisit(t)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	noise := mathrand.NewChaCha8([32]byte{3})
	good, _ := v.request(homeAddress, v.mn)
	before := inUse()
	answers := 0
	for i := range flood {
		p := bytes.Clone(good)
		home := address(66, i)
		binary.BigEndian.PutUint32(p[4:], 66<<24|uint32(i)) // each a home address that nobody has had
		s := foreignagent.Station{Hardware: packet.HardwareAddr{2, byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i), 66}}
		switch i % 5 {
		case 0:
			p = make([]byte, random.IntN(1500))
			_, _ = noise.Read(p)
		case 1:
			p = p[:random.IntN(len(p))]
		case 2: // for a home agent that nobody has
			binary.BigEndian.PutUint32(p[8:], random.Uint32()|1)
		case 3: // asks for too much
			p[2], p[3] = 0xff, 0xff
		case 4:
		}
		v.now += 10 * time.Microsecond
		_ = v.send(p, home, s)
		answers += v.drain()
		if i%10 == 0 { // forged replies
			r := bytes.Clone(good[:wire.ReplyLen])
			_, _ = noise.Read(r)
			r[0] = byte(wire.TypeRegistrationReply)
			if err := v.fa.HandleReply(at(v.now), netip.AddrPortFrom(homeAgent, wire.Port), r); err == nil {
				t.Fatal("a forged reply is taken")
			}
			v.drain()
		}
	}
	held(t, before+foreignagent.DefaultMaxPending<<10) // what may wait for replies, 1 KiB each
	v.intact()
	if d := int(v.now/time.Second) + 1; answers > d*2048 {
		t.Errorf("%d answers in about %d s", answers, d)
	}
	v.now += foreignagent.PendingTime
	v.fa.HandleTimeout(at(v.now))
	v.drain()
	v.register(homeAddress, laptop)
	v.register(netip.MustParseAddr("10.0.8.101"), foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 9}})
	v.intact()
	if due, ok := v.fa.Deadline(); !ok || due < at(v.now).Boot {
		t.Errorf("a timer of the flood is left: %v", due)
	}
}

// newRegistered returns a mobile node with a binding at home, and its key.
func newRegistered(t testing.TB) (*mobilenode.Machine, secret) {
	t.Helper()
	k := secrets()[3]
	n, err := mobilenode.NewMachine(mobilenode.Config{
		HomeAgent: homeAgent, HomeAddress: homeAddress, CareOfAddress: careOf, Association: k.association(t),
		Lifetime: 10 * time.Minute, ReverseTunnel: true, Encapsulation: mobilenode.EncapsulationIPIP,
		Origin: mobilenode.Origin{Interface: 3, Epoch: 7, Direct: true},
	}, mathrand.NewChaCha8([32]byte{9}))
	if err != nil {
		t.Fatal(err)
	}
	n.Register(at(0))
	answer(t, n, k, wire.CodeAccepted, time.Second)
	for _, ok := n.PollEvent(); ok; _, ok = n.PollEvent() {
	}
	return n, k
}

// asked takes the one request that the mobile node sends.
func asked(t testing.TB, n *mobilenode.Machine) *wire.RegistrationRequest {
	t.Helper()
	out, ok := n.PollTransmit()
	if !ok {
		t.Fatal("no request")
	}
	r, err := wire.ParseRegistrationRequest(out.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// answer gives the mobile node its home agent's answer to the request that it sends.
func answer(t testing.TB, n *mobilenode.Machine, k secret, code wire.Code, d time.Duration) {
	t.Helper()
	b, err := asked(t, n).Reply(code, 600).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.HandleReply(at(d), k.association(t).AppendExtension(b, wire.ExtMobileHomeAuthentication)); err != nil {
		t.Fatal(err)
	}
}

// Forged, replayed and cut replies neither end a mobile node's binding nor pass for the answer that it waits for, and they cost
// bounded memory; the home agent's answer is taken behind all of them.
//
// Shows: GDL-8, MIP-2, MIP-3 (a mobile node under a flood)
func TestHostileRepliesAtMobileNode(t *testing.T) {
	n, k := newRegistered(t)
	n.Register(at(2 * time.Second)) // it waits for an answer
	r := asked(t, n)
	random := mathrand.New(mathrand.NewPCG(7, 8))
	noise := mathrand.NewChaCha8([32]byte{3})
	good, err := r.Reply(wire.CodeAccepted, 300).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	good = k.association(t).AppendExtension(good, wire.ExtMobileHomeAuthentication)
	before := inUse()
	for i := range 6_000 {
		p := bytes.Clone(good)
		switch i % 6 {
		case 0:
			p = make([]byte, random.IntN(1500))
			_, _ = noise.Read(p)
		case 1:
			p = p[:random.IntN(len(p))]
		case 2: // one bit
			bit := random.IntN(8 * len(p))
			p[bit/8] ^= 1 << (bit % 8)
		case 3: // a denial by nobody, to the very request: each code in turn
			p = p[:wire.ReplyLen]
			p[1] = byte(i / 6 % 256)
		case 4: // another's signature
			p = secret{spi: k.spi, algorithm: k.algorithm, key: "a stranger's key"}.association(t).AppendExtension(p[:wire.ReplyLen], wire.ExtMobileHomeAuthentication)
		case 5: // a forged signature in front of the good one
			forged := bytes.Clone(p[wire.ReplyLen:])
			forged[len(forged)-1] ^= 1
			p = slices.Concat(p[:wire.ReplyLen], forged, p[wire.ReplyLen:])
		}
		_ = n.HandleReply(at(2*time.Second+time.Duration(i)*time.Microsecond), p)
		for _, ok := n.PollEvent(); ok; _, ok = n.PollEvent() {
		}
		if b, ok := n.Binding(); !ok || b.Lifetime() != 10*time.Minute {
			t.Fatalf("reply %d (%x) changed the binding: %t", i, p, ok)
		}
		for _, ok := n.PollTransmit(); ok; _, ok = n.PollTransmit() {
			t.Fatalf("reply %d (%x) makes the mobile node send", i, p)
		}
	}
	held(t, before)
	if err := n.HandleReply(at(3*time.Second), good); err != nil {
		t.Fatalf("the home agent's answer: %v", err)
	}
	if b, ok := n.Binding(); !ok || b.Lifetime() != 5*time.Minute {
		t.Error("the home agent's answer is not taken")
	}
	if err := n.HandleReply(at(4*time.Second), good); err == nil {
		t.Error("the same answer is taken twice")
	}
}

// A flood of forged advertisements costs bounded memory, makes the mobile node solicit no more than before, and does not push out the
// agent that it knows.
//
// Shows: MIP-5, GDL-8 (spoofed advertisements)
func TestHostileAdvertisements(t *testing.T) {
	m, err := discovery.NewMachine(discovery.Config{}, mathrand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	v := newVisit(t)
	known := v.fa.Advertisement()
	hw := packet.HardwareAddr{2, 0, 0, 0, 0, 1}
	m.Start(at(0))
	hear := func(d time.Duration) {
		t.Helper()
		if err := m.HandleAdvertisement(at(d), known, visited, hw); err != nil {
			t.Fatal(err)
		}
	}
	hear(0)
	sent := func() int {
		n := 0
		for _, ok := m.PollTransmit(); ok; _, ok = m.PollTransmit() {
			n++
		}
		for _, ok := m.PollEvent(); ok; _, ok = m.PollEvent() {
		}
		return n
	}
	sent()
	random := mathrand.New(mathrand.NewPCG(7, 8))
	noise := mathrand.NewChaCha8([32]byte{3})
	before := inUse()
	solicitations := 0
	for i := range 9_000 {
		p, src := bytes.Clone(known), address(66, i)
		switch i % 4 {
		case 0:
			p = make([]byte, random.IntN(1500))
			_, _ = noise.Read(p)
		case 1:
			p = p[:random.IntN(len(p))]
		case 2: // damaged
			p[random.IntN(len(p))] ^= byte(1 + random.IntN(255))
			src = visited // in the known agent's name: the checksum gives it away
		case 3: // well formed, another agent each
		}
		d := time.Duration(i) * 150 * time.Microsecond
		_ = m.HandleAdvertisement(at(d), p, src, hw)
		if due, ok := m.Deadline(); ok && due <= at(d).Boot {
			m.HandleTimeout(at(d))
		}
		if i%3000 == 2999 {
			hear(d)
		}
		solicitations += sent()
	}
	held(t, before)
	found := false
	for _, a := range m.Agents() {
		found = found || a.Address == visited
	}
	if !found {
		t.Errorf("the agent is lost among %d", len(m.Agents()))
	}
	if solicitations > 10 {
		t.Errorf("%d solicitations", solicitations)
	}
}
