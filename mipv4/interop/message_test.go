package interop

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	homeAgent   = netip.MustParseAddr("10.0.1.10")
	homeAddress = netip.MustParseAddr("10.0.8.100")
	careOf      = netip.MustParseAddr("10.0.2.50")
	visited     = netip.MustParseAddr("172.16.5.1")
	foreignCoA  = netip.MustParseAddr("10.0.1.40")
	wall        = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)
)

// at is d after the tests begin.
func at(d time.Duration) link.Instant {
	return link.Instant{Boot: time.Hour + d, Wall: wall.Add(d)}
}

// identification is the timestamp of d after the tests begin.
func identification(d time.Duration) uint64 { return uint64(wire.IdentificationAt(wall.Add(d))) }

// secrets are one of each algorithm.
func secrets() []secret {
	var k []secret
	for i, name := range auth.AlgorithmNames() {
		a, err := auth.ParseAlgorithm(name)
		if err != nil {
			panic(err)
		}
		k = append(k, secret{spi: 1000 + uint32(i), algorithm: a, key: fmt.Sprintf("sixteen octets %d", i)})
	}
	return k
}

// newHomeAgent returns a home agent that shares the secrets with its one mobile node.
func newHomeAgent(t testing.TB, change func(*homeagent.Config), shared ...secret) *homeagent.Machine {
	t.Helper()
	n := homeagent.MobileNode{HomeAddress: homeAddress}
	for _, k := range shared {
		n.Associations = append(n.Associations, k.association(t))
	}
	cfg := homeagent.Config{Address: homeAgent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.8.0/24")}, MobileNodes: []homeagent.MobileNode{n}}
	if change != nil {
		change(&cfg)
	}
	m, err := homeagent.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// request are the fields of a request for a co-located care-of address.
func request(d time.Duration) fields {
	return fields{"flags": 0x22, "lifetime": 600, "homeaddr": homeAddress.String(), "haaddr": homeAgent.String(), "coaddr": careOf.String(), "id": identification(d)}
}

// Scapy's requests are accepted by the home agent when their authenticators are right, and denied when one bit is not; its replies
// are to scapy what they should be, their authenticators by another program included.
//
// Shows: MIP-1, MIP-2 (every algorithm against another implementation), AGT-1, GDL-4
func TestScapyRegisters(t *testing.T) {
	s := startScapy(t)
	for i, k := range secrets() {
		t.Run(k.algorithm.String(), func(t *testing.T) {
			s := s.under(t)
			ha := newHomeAgent(t, nil, secrets()...)
			now := time.Duration(i) * time.Minute
			p := s.build(1, request(now), data(144, 0, 0, 0x80, 4, 0, 0), signature(32, k))
			for bit := range 8 * len(p) { // no request with a wrong bit may be accepted
				if i > 0 && bit%13 != 0 {
					continue
				}
				bad := bytes.Clone(p)
				bad[bit/8] ^= 0x80 >> (bit % 8)
				if err := ha.HandleRequest(at(now), homeagent.Request{Source: netip.AddrPortFrom(careOf, 5000), Payload: bad}); err == nil {
					t.Fatalf("accepted with bit %d inverted", bit)
				}
				for _, ok := ha.PollTransmit(); ok; _, ok = ha.PollTransmit() {
				}
			}
			if err := ha.HandleRequest(at(now), homeagent.Request{Source: netip.AddrPortFrom(careOf, 5000), Payload: p}); err != nil {
				t.Fatal(err)
			}
			out, ok := ha.PollTransmit()
			if !ok {
				t.Fatal("no reply")
			}
			m := s.read(out.Payload, 434, 5000, k)
			f := m.Fields
			if m.Type != 3 || m.Layer != "Mobile IP Registration Reply (RFC3344)" || f.Code > 1 || f.Lifetime != 600 ||
				f.HomeAddr != homeAddress.String() || f.HAAddr != homeAgent.String() || f.ID != identification(now) {
				t.Errorf("the reply is %+v to scapy", m)
			}
			if !m.signed(32, k.spi) || !m.has(44, "000080000000") {
				t.Errorf("extensions %+v, want an authentic one with SPI %d and a UDP Tunnel Reply", m.Extensions, k.spi)
			}
			r := ha.Table().Route(homeAddress)
			if r == nil || r.Admits(tunnel.UDP, netip.AddrPortFrom(careOf, 5000)) == nil {
				t.Errorf("no tunnel to where scapy is: %+v", r)
			}
		})
	}
}

// What is wrong with scapy's request is what the denial says, to scapy too.
//
// Shows: MIP-4 (codes of the home agent to another implementation), GDL-4
func TestScapyDenied(t *testing.T) {
	s := startScapy(t)
	k := secrets()[0]
	stranger := k
	stranger.key = "another secret!!"
	change := func(name string, v any) fields {
		f := request(0)
		f[name] = v
		return f
	}
	for _, c := range []struct {
		name   string
		fields fields
		key    secret
		code   int
	}{
		{"wrong key", request(0), stranger, 131},
		{"unknown SPI", request(0), secret{spi: 5000, key: k.key}, 131},
		{"a minute late", request(-time.Minute), k, 133},
		{"reserved bit", change("flags", 0x23), k, 134},
		{"another home agent", change("haaddr", "10.0.1.11"), k, 136},
		{"no care-of address", change("coaddr", "0.0.0.0"), k, 134},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.under(t)
			ha := newHomeAgent(t, nil, k)
			p := s.build(1, c.fields, signature(32, c.key))
			err := ha.HandleRequest(at(0), homeagent.Request{Source: netip.AddrPortFrom(careOf, 5000), Payload: p})
			var denied *homeagent.Denied
			if !errors.As(err, &denied) || int(denied.Code) != c.code {
				t.Fatalf("error %v, want a denial with code %d", err, c.code)
			}
			out, ok := ha.PollTransmit()
			if !ok {
				t.Fatal("no reply")
			}
			if m := s.read(out.Payload, 434, 5000, k); m.Fields.Code != c.code || !m.signed(32, k.spi) {
				t.Errorf("the denial is %+v to scapy", m)
			}
			if ha.Table().Len() != 0 {
				t.Error("there is a binding")
			}
		})
	}
}

// Our mobile node registers with scapy in the part of the home agent.
//
// Shows: MIP-1, MIP-2 (every algorithm), GDL-3, GDL-4
func TestScapyAsHomeAgent(t *testing.T) {
	s := startScapy(t)
	for i, k := range secrets() {
		t.Run(k.algorithm.String(), func(t *testing.T) {
			s := s.under(t)
			n, err := mobilenode.NewMachine(mobilenode.Config{
				HomeAgent: homeAgent, HomeAddress: homeAddress, CareOfAddress: careOf, Association: k.association(t),
				Lifetime: 10 * time.Minute, ReverseTunnel: true, Encapsulation: mobilenode.EncapsulationIPIP,
				Origin: mobilenode.Origin{Interface: 3, Epoch: 7, Direct: true},
			}, mathrand.NewChaCha8([32]byte{byte(i)}))
			if err != nil {
				t.Fatal(err)
			}
			n.Register(at(0))
			out, ok := n.PollTransmit()
			if !ok {
				t.Fatal("no request")
			}
			m := s.read(out.Payload, 5000, 434, k)
			f := m.Fields
			if m.Type != 1 || m.Layer != "Mobile IP Registration Request (RFC3344)" || f.Flags != 0x22 || f.Lifetime != 600 ||
				f.HomeAddr != homeAddress.String() || f.HAAddr != homeAgent.String() || f.CoAddr != careOf.String() || !m.signed(32, k.spi) {
				t.Fatalf("the request is %+v to scapy", m)
			}
			answer := fields{"code": 0, "lifetime": 300, "homeaddr": f.HomeAddr, "haaddr": f.HAAddr, "id": f.ID}
			stranger := k
			stranger.key = "another secret!!"
			for name, p := range map[string][]byte{
				"with another key": s.build(3, answer, signature(32, stranger)),
				"not signed":       s.build(3, answer),
				"with another identification": s.build(3, fields{"code": 0, "lifetime": 300, "homeaddr": f.HomeAddr, "haaddr": f.HAAddr, "id": f.ID + 1},
					signature(32, k)),
			} {
				if err := n.HandleReply(at(time.Second), p); err == nil || bound(n) {
					t.Errorf("a reply %s is taken: %v", name, err)
				}
			}
			if err := n.HandleReply(at(time.Second), s.build(3, answer, signature(32, k))); err != nil {
				t.Fatal(err)
			}
			if b, ok := n.Binding(); !ok || b.Lifetime() != 300*time.Second {
				t.Errorf("binding %+v, %t", b, ok)
			}
		})
	}
}

// Scapy registers through our foreign agent with scapy: both directions pass octet for octet up to the Mobile-Home Authentication
// extension.
//
// Shows: AGT-4 (relay for other implementations), GDL-3
func TestScapyThroughForeignAgent(t *testing.T) {
	s := startScapy(t)
	k, withFA := secrets()[2], secrets()[3]
	fa, err := foreignagent.New(foreignagent.Config{
		Address: visited, CareOfAddress: foreignCoA, Interval: -1,
		MobileNodes: []foreignagent.Peer{{Address: homeAddress, Association: withFA.association(t)}},
	}, at(0), mathrand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	f := request(0)
	f["flags"], f["coaddr"] = 0x02, foreignCoA.String()
	p := s.build(1, f, signature(32, k), signature(33, withFA))
	station := foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}
	err = fa.HandleRequest(at(0), foreignagent.Request{Station: station, Source: netip.AddrPortFrom(homeAddress, 5000), Destination: visited, TTL: 255, Payload: p})
	if err != nil {
		t.Fatal(err)
	}
	out, ok := fa.PollTransmit()
	if !ok || out.To != foreignagent.ToHomeAgent || !bytes.HasPrefix(p, out.Payload) {
		t.Fatalf("relayed %+v, want the beginning of %x", out, p)
	}
	m := s.read(out.Payload, 434, 434, k)
	if !m.signed(32, k.spi) || len(m.Extensions) != 1 {
		t.Errorf("what is relayed is %+v to scapy", m)
	}
	answer := s.build(3, fields{"code": 0, "lifetime": 300, "homeaddr": homeAddress.String(), "haaddr": homeAgent.String(), "id": m.Fields.ID}, signature(32, k))
	if err := fa.HandleReply(at(time.Second), netip.AddrPortFrom(homeAgent, 434), answer); err != nil {
		t.Fatal(err)
	}
	if out, ok = fa.PollTransmit(); !ok || out.To != foreignagent.ToMobileNode || !bytes.HasPrefix(out.Payload, answer) {
		t.Fatalf("relayed %+v, want %x and an authentication", out, answer)
	}
	if m := s.read(out.Payload, 434, 5000, withFA); !m.signed(33, withFA.spi) {
		t.Errorf("what arrives is %+v to scapy", m)
	}
	if fa.Table().Len() != 1 {
		t.Errorf("%d visitors", fa.Table().Len())
	}
}

// Scapy's tunnelled packets come out of ours, and ours are tunnels to scapy.
//
// Shows: MIP-6, MIP-7 (formats of tunnelled data against another implementation)
func TestScapyTunnels(t *testing.T) {
	s := startScapy(t)
	for _, c := range []struct {
		name   string
		form   tunnel.Encapsulation
		gre    tunnel.GREOptions
		outer  int // octets in front of the flow's payload
		layers []string
	}{
		{"ipip", tunnel.IPIP, tunnel.GREOptions{}, 20, []string{"IP", "IP", "UDP"}},
		{"udp", tunnel.UDP, tunnel.GREOptions{}, 28, []string{"IP", "UDP", "MobileIP", "MobileIPTunnelData", "IP", "UDP"}},
		{"gre", tunnel.GRE, tunnel.GREOptions{}, 20, []string{"IP", "GRE", "IP", "UDP"}},
		{"gre", tunnel.GRE, tunnel.GREOptions{Keyed: true, Key: 0xdeadbeef}, 20, []string{"IP", "GRE", "IP", "UDP"}},
		{"gre", tunnel.GRE, tunnel.GREOptions{Checksum: true}, 20, []string{"IP", "GRE", "IP", "UDP"}},
		{"gre", tunnel.GRE, tunnel.GREOptions{Keyed: true, Key: 7, Checksum: true}, 20, []string{"IP", "GRE", "IP", "UDP"}},
	} {
		t.Run(fmt.Sprintf("%s %+v", c.name, c.gre), func(t *testing.T) {
			s := s.under(t)
			build := func(form string) []byte {
				var answer struct{ Octets string }
				s.ask("packet", map[string]any{
					"src": homeAddress.String(), "dst": "10.0.1.20", "ttl": 64, "osrc": careOf.String(), "odst": homeAgent.String(), "tunnel": form,
					"checksum": c.gre.Checksum, "keyed": c.gre.Keyed, "key": c.gre.Key,
				}, &answer)
				return unhex(t, answer.Octets)
			}
			plain, theirs := build(""), build(c.name)
			p := packet.From(theirs[c.outer:])
			defer p.Release()
			if r := c.gre.Open(p, c.form); r != packet.NotDropped || !bytes.Equal(p.Bytes(), plain) {
				t.Fatalf("%v: out came %x, want %x", r, p.Bytes(), plain)
			}
			if r := (tunnel.Encapsulator{Encapsulation: c.form, GRE: c.gre}).Encapsulate(p); r != packet.NotDropped {
				t.Fatal(r)
			}
			var got struct {
				Layers   []string
				Src, Dst string
				TTL      int
				Chksum   bool
				GRE      *struct {
					Key      *uint32
					Checksum any // false or 0 without one
				}
			}
			s.ask("dissect", map[string]any{"octets": hex.EncodeToString(append(slices.Clone(theirs[:c.outer]), p.Bytes()...))}, &got)
			if !slices.Equal(got.Layers, c.layers) || got.Src != homeAddress.String() || got.Dst != "10.0.1.20" || got.TTL != 64 || !got.Chksum {
				t.Errorf("to scapy it is %+v, want layers %v", got, c.layers)
			}
			if c.form != tunnel.GRE {
				return
			}
			if keyed := got.GRE.Key != nil; keyed != c.gre.Keyed || keyed && *got.GRE.Key != c.gre.Key || (got.GRE.Checksum == true) != c.gre.Checksum {
				t.Errorf("to scapy the GRE header is %+v, want %+v", got.GRE, c.gre)
			}
			// Another key, or a damaged checksum, is refused.
			wrong := packet.From(theirs[c.outer:])
			defer wrong.Release()
			other := c.gre
			if other.Key++; c.gre.Checksum {
				wrong.Bytes()[4] ^= 1
			}
			if r := other.Open(wrong, tunnel.GRE); (r == packet.NotDropped) != (c.gre == tunnel.GREOptions{}) {
				t.Errorf("with another key or checksum: %v", r)
			}
		})
	}
}

// The numbers that stand in these tests as octets are what this tree calls them.
func TestNumbers(t *testing.T) {
	if wire.ExtMobileHomeAuthentication != 32 || wire.ExtMobileForeignAuthentication != 33 || wire.ExtUDPTunnelReply != 44 || wire.ExtUDPTunnelRequest != 144 ||
		wire.FlagDecapsulation|wire.FlagReverseTunnel != 0x22 || wire.CodeMobileNodeAuthentication != 131 || wire.CodeIdentificationMismatch != 133 ||
		wire.CodePoorlyFormedRequest != 134 || wire.CodeUnknownHomeAgent != 136 {
		t.Error("a number differs from the RFC's")
	}
}

// bound reports whether the mobile node has a binding.
func bound(n *mobilenode.Machine) bool {
	_, ok := n.Binding()
	return ok
}
