package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/packet"
)

// Strangers who ask for home addresses, in names that exist and in names that do not, take none of the pool and cost no memory.
//
// Shows: MIP-9, AGT-1 (dynamic home addresses under a flood)
func TestHostileNames(t *testing.T) {
	const nodes = 6 // as many as the pool has addresses
	cfg := homeagent.Config{
		Address: homeAgent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, DynamicAddresses: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/29")},
	}
	var keys []*auth.SecurityAssociation
	name := func(i int) string { return fmt.Sprintf("laptop%d@corp.example", i) }
	for i := range nodes + 1 {
		keys = append(keys, secret{spi: 1000, key: fmt.Sprintf("sixteen octets %d", i)}.association(t))
		if i < nodes {
			cfg.MobileNodes = append(cfg.MobileNodes, homeagent.MobileNode{NAI: name(i), Associations: keys[i : i+1]})
		}
	}
	ha, err := homeagent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Duration(0)
	ask := func(nai string, key *auth.SecurityAssociation, from netip.Addr) (code int, home netip.Addr) {
		t.Helper()
		now += 10 * time.Microsecond
		e, err := wire.NAI(nai)
		if err != nil {
			t.Fatal(err)
		}
		r := wire.RegistrationRequest{
			Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 600, HomeAddress: netip.IPv4Unspecified(), HomeAgent: homeAgent,
			CareOfAddress: from, Identification: wire.IdentificationAt(at(now).Wall), Extensions: wire.Extensions{e},
		}
		p, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		p = key.AppendExtension(p, wire.ExtMobileHomeAuthentication)
		_ = ha.HandleRequest(at(now), homeagent.Request{Source: netip.AddrPortFrom(from, 5000), Payload: p})
		for _, ok := ha.PollEvent(); ok; _, ok = ha.PollEvent() {
		}
		out, ok := ha.PollTransmit()
		if !ok {
			return -1, netip.Addr{}
		}
		reply, err := wire.ParseRegistrationReply(out.Payload)
		if err != nil {
			t.Fatal(err)
		}
		return int(reply.Code), reply.HomeAddress
	}
	before := inUse()
	for i := range 6000 {
		nai := name(i % nodes)
		if i%2 == 1 {
			nai = fmt.Sprintf("stranger%d@%d.example", i, i)
		}
		if code, home := ask(nai, keys[nodes], address(66, i)); code >= 0 && code < 64 {
			t.Fatalf("%s is given %v", nai, home)
		}
	}
	held(t, before)
	now += 2 * time.Second
	given := make(map[netip.Addr]bool)
	for i := range nodes {
		code, home := ask(name(i), keys[i], address(30, i))
		if code > 1 || given[home] || !netip.MustParsePrefix("10.0.8.0/29").Contains(home) {
			t.Errorf("%s: code %d, home address %v", name(i), code, home)
		}
		given[home] = true
	}
}

// Forged, replayed and senseless revocations end no binding, at either agent.
//
// Shows: MIP-9, AGT-1, AGT-4 (revocations under a flood)
func TestHostileRevocations(t *testing.T) {
	shared := secret{spi: 2000, algorithm: auth.HMACSHA256, key: "foreign and home"}
	stranger := secret{spi: 2000, algorithm: auth.HMACSHA256, key: "a stranger's key"}.association(t)
	const nodes = 20
	h := newHome(t, nodes, func(c *homeagent.Config) {
		c.ForeignAgents = []homeagent.ForeignAgent{{Address: foreignCoA, Association: shared.association(t)}}
	})
	v := newVisit(t)
	random := mathrand.New(mathrand.NewPCG(1, 2))
	noise := mathrand.NewChaCha8([32]byte{3})
	before := inUse()
	for i := range 6000 {
		r := wire.Revocation{
			ByHomeAgent: i%2 == 0, Inform: i%3 == 0, HomeAddress: address(20, random.IntN(nodes)), HomeDomain: homeAgent, ForeignDomain: foreignCoA,
			Identifier: wire.RevocationTime(wire.IdentificationAt(at(time.Duration(i) * time.Millisecond).Wall)),
		}
		if i%2 == 0 {
			r.HomeAddress = homeAddress
		}
		p, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		source := foreignCoA
		if i%2 == 0 {
			source = homeAgent
		}
		switch i % 10 / 2 {
		case 0:
			p = stranger.AppendExtension(p, wire.ExtForeignHomeAuthentication)
		case 1: // not signed
		case 2: // of a binding that was not made with revocation support, by one who shares a key
			p = shared.association(t).AppendExtension(p, wire.ExtForeignHomeAuthentication)
		case 3:
			p = p[:random.IntN(len(p))]
		case 4:
			_, _ = noise.Read(p[1:])
			p[0] = byte(wire.TypeRevocationAcknowledgment)
		}
		from := netip.AddrPortFrom(source, wire.Port)
		if i%2 == 1 {
			err = h.m.HandleRevocation(at(h.now), from, p)
			for _, ok := h.m.PollTransmit(); ok; _, ok = h.m.PollTransmit() {
			}
			for _, ok := h.m.PollEvent(); ok; _, ok = h.m.PollEvent() {
			}
		} else {
			err = v.fa.HandleRevocation(at(v.now), from, p)
			v.drain()
		}
		if err == nil && i%10/2 != 2 { // its maker is told that there is no such binding any more (RFC 3543 §4.2.3.2), and that is all
			t.Fatalf("message %d is obeyed: %x", i, p)
		}
	}
	held(t, before)
	h.intact()
	v.intact()
}

// Strangers who heard a challenge and cannot answer it, who repeat answers of others, and who make challenges up cost bounded memory and
// no visitor, although nobody answers the questions about them.
//
// Shows: MIP-9, AGT-4 (challenges under a flood)
func TestHostileChallenges(t *testing.T) {
	var random [64 << 10]byte
	_, _ = mathrand.NewChaCha8([32]byte{5}).Read(random[:])
	mn := secrets()[0]
	withFA := secrets()[2]
	fa, err := foreignagent.New(foreignagent.Config{
		Address: visited, CareOfAddress: foreignCoA, Interval: -1, Challenge: true, AAA: true,
		MobileNodes: []foreignagent.Peer{{Address: homeAddress, Association: withFA.association(t)}},
	}, at(0), bytes.NewReader(random[:]))
	if err != nil {
		t.Fatal(err)
	}
	v := &visit{t: t, mn: mn, fa: fa}
	signed := func(p []byte) []byte {
		return withFA.association(t).AppendExtension(p, wire.ExtMobileForeignAuthentication)
	}
	register := func() {
		t.Helper()
		p, r := v.request(homeAddress, mn)
		if err := v.send(signed(p), homeAddress, laptop); err != nil {
			t.Fatal(err)
		}
		b, err := r.Reply(wire.CodeAccepted, 600).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		b = mn.association(t).AppendExtension(b, wire.ExtMobileHomeAuthentication)
		if err := fa.HandleReply(at(v.now), netip.AddrPortFrom(homeAgent, wire.Port), b); err != nil {
			t.Fatal(err)
		}
		v.drain()
	}
	register()
	ad := fa.Advertisement()
	i := bytes.LastIndex(ad, []byte{24, 16}) // RFC 4721 §2: type, length, challenge
	if i < 0 || i+18 > len(ad) {
		t.Fatalf("no challenge in %x", ad)
	}
	heard := ad[i+2 : i+18]
	good, _ := v.request(homeAddress, mn)
	before := inUse()
	questions := 0
	for i := range 12_000 {
		p := bytes.Clone(good)
		binary.BigEndian.PutUint32(p[4:], 66<<24|uint32(i%3000))
		challenge := bytes.Clone(heard)
		if i%3 == 0 {
			binary.BigEndian.PutUint32(challenge, uint32(i)) // made up
		}
		e, err := wire.Challenge(challenge)
		if err != nil {
			t.Fatal(err)
		}
		if p, err = e.Append(p); err != nil {
			t.Fatal(err)
		}
		p = append(wire.AppendMobileAAAHeader(p, wire.CHAPSPI, 16), make([]byte, 16)...)
		v.now += 10 * time.Microsecond
		_ = v.send(p, address(66, i%3000), foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, byte(i >> 8), byte(i), 66}})
		v.drain()
		for _, ok := fa.PollQuestion(); ok; _, ok = fa.PollQuestion() {
			questions++ // and never answered
		}
	}
	if questions == 0 {
		t.Fatal("no question was asked: the flood does not reach that far")
	}
	held(t, before+2*foreignagent.DefaultMaxPending<<10) // what may wait for verdicts, with its messages
	v.intact()
	v.now += foreignagent.PendingTime
	fa.HandleTimeout(at(v.now))
	v.drain()
	held(t, before+foreignagent.DefaultMaxPending<<10) // the room that tables keep
	register()
	v.intact()
}
