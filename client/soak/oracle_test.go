package soak

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/client/e2e"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// ipv4 returns a packet.
func ipv4(protocol uint8, src, dst netip.Addr, payload []byte) []byte {
	p := make([]byte, packet.IPv4Len+len(payload))
	packet.IPv4(p).Encode(packet.IPv4Fields{Protocol: protocol, TTL: 64, Src: src, Dst: dst}, len(p))
	copy(p[packet.IPv4Len:], payload)
	return p
}

func udp(src, dst netip.AddrPort, payload []byte) []byte {
	b := packet.From(payload)
	defer b.Release()
	packet.PushUDP(b, src, dst)
	return ipv4(packet.ProtocolUDP, src.Addr(), dst.Addr(), slices.Clone(b.Bytes()))
}

var (
	stranger = netip.MustParseAddr("203.0.113.9")
	careOf   = netip.MustParseAddr("10.0.2.100")
)

// user returns a packet of an application's.
func user() []byte {
	return udp(netip.AddrPortFrom(simnet.LabHomeAddress, 1), netip.AddrPortFrom(simnet.LabCorrespondent, 2), e2e.Canary)
}

func TestInspect(t *testing.T) {
	port := netip.AddrPortFrom
	for _, c := range []struct {
		name string
		p    []byte
		want sight
	}{
		{"an application's packet", user(), bare},
		{"in IP", ipv4(packet.ProtocolIPIP, stranger, simnet.LabExternalHA, user()), bare},
		{"in two tunnels", ipv4(packet.ProtocolIPIP, stranger, simnet.LabExternalHA, ipv4(packet.ProtocolIPIP, stranger, stranger, user())), bare},
		{"in UDP (RFC 3519)", udp(port(stranger, 434), port(simnet.LabExternalHA, 434), append([]byte{4, 4, 0, 0}, user()...)), bare},
		{"in ESP", ipv4(packet.ProtocolESP, stranger, simnet.LabGateway, []byte("what cannot be read")), sealed},
		{"ESP of the home address's own", ipv4(packet.ProtocolESP, simnet.LabHomeAddress, simnet.LabGateway, []byte("what cannot be read")), bare},
		{"ESP in UDP", udp(port(careOf, 4500), port(simnet.LabGateway, 4500), []byte("what cannot be read")), sealed},
		{"the canary in anything", udp(port(stranger, 9), port(stranger, 9), append([]byte("x"), e2e.Canary...)), bare},
		{"the canary in a second fragment", func() []byte {
			p := ipv4(packet.ProtocolUDP, stranger, stranger, append([]byte("x"), e2e.Canary...))
			p[7] = 1 // offset 8
			return p
		}(), bare},
		{"an acknowledgment without the canary", ipv4(packet.ProtocolTCP, simnet.LabHomeAddress, simnet.LabCorrespondent, make([]byte, 20)), bare},
		{"both addresses in a payload", ipv4(packet.ProtocolICMP, stranger, stranger, append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, user()[:packet.IPv4Len+8]...)), bare},
		{"an enterprise address alone", ipv4(packet.ProtocolICMP, careOf, stranger, []byte{8, 0, 0, 0, 0, 0, 0, 0}), named},
		{"an error about a tunnel", ipv4(packet.ProtocolICMP, careOf, stranger, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, udp(port(stranger, 434), port(careOf, 434), []byte{3})...)), foreign},
		{"IPv6 with the canary", ipv6Packet(), bare},
		{"somebody else's", udp(port(stranger, 1), port(stranger, 2), []byte("hello")), foreign},
		{"nothing", nil, foreign},
	} {
		if got, _ := inspect(packet.IPv4(c.p)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	request := wire.RegistrationRequest{HomeAddress: simnet.LabHomeAddress, HomeAgent: simnet.LabInternalHA, CareOfAddress: careOf}
	message, err := request.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, in := inspect(packet.IPv4(udp(port(careOf, 434), port(simnet.LabInternalHA, 434), message))); got != registration || !slices.Equal(in, message) {
		t.Errorf("a registration request: %d, %x", got, in)
	}
}

// FuzzInspect gives the oracle any octets: it never panics, and the canary is seen wherever it is.
func FuzzInspect(f *testing.F) {
	f.Add(user())
	f.Add(ipv6Packet())
	f.Add(udp(netip.AddrPortFrom(stranger, 434), netip.AddrPortFrom(careOf, 434), append([]byte{4, 4, 0, 0}, user()...)))
	f.Fuzz(func(t *testing.T, p []byte) {
		kind, message := inspect(packet.IPv4(p))
		if kind == registration && len(message) == 0 {
			t.Errorf("a registration message of no octets in %x", p)
		}
		if bytes.Contains(p, e2e.Canary) && kind != bare {
			t.Errorf("the canary in %x passes for %d", p, kind)
		}
	})
}

// TestOracle tells one frame of plaintext from another by what went before.
func TestOracle(t *testing.T) {
	const nic = "laptop/eth0"
	frame := func(at time.Duration, p []byte) simnet.Frame {
		return simnet.Frame{At: at, Wire: "office", Sender: nic, Packet: p}
	}
	prove := func(o *oracle, at time.Duration) {
		o.nics[nic].proven = at
	}
	for _, c := range []struct {
		name string
		do   func(o *oracle)
		want Frames
	}{
		{"no proof", func(*oracle) {}, Frames{Leaks: 1}},
		{"a live proof inside", func(o *oracle) { prove(o, 50*time.Second) }, Frames{Inside: 1}},
		{"an old proof", func(o *oracle) { prove(o, 40*time.Second) }, Frames{Leaks: 1}},
		{"a proof that sleep has made old", func(o *oracle) { prove(o, 50*time.Second); o.slept(time.Minute) }, Frames{Leaks: 1}},
		{"a proof of before an event", func(o *oracle) { prove(o, 50*time.Second); o.allObservable(60 * time.Second) }, Frames{Leaks: 1}},
		{"a live proof and a silent re-route", func(o *oracle) { prove(o, 50*time.Second); o.silently(nic, 70*time.Second, nil) }, Frames{Exposed: 1}},
		{"a person took it down", func(o *oracle) { o.lift(true, 0) }, Frames{Lifted: 1}},
	} {
		o, err := newOracle(e2e.ClientConfig(), nic)
		if err != nil {
			t.Fatal(err)
		}
		c.do(o)
		o.look(false)(frame(100*time.Second, user()))
		c.want.Examined = 1
		if o.frames != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, o.frames, c.want)
		}
	}
}
