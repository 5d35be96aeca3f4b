package interop

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/discovery"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/mobilenode"
	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/packet"
)

// The peers of these tests know RFC 2002 and, some, RFC 2344 and nothing later. They are written from those texts with nothing of
// this tree: authenticators are keyed MD5 (prefix+suffix, RFC 2002 §3.5.1); a message with an extension numbered 0 to 127 that
// they do not know is discarded, one numbered 128 to 255 skipped (§1.9).

const oldKey = "an old sixteen!!"

var oldSecret = secret{spi: 300, algorithm: auth.KeyedMD5, key: oldKey}

// oldSum is keyed MD5 over everything in front of the authenticator.
func oldSum(p []byte) []byte {
	sum := md5.Sum([]byte(oldKey + string(p) + oldKey))
	return sum[:]
}

// oldSign appends a Mobile-Home Authentication extension.
func oldSign(p []byte) []byte {
	p = append(p, 32, 20)
	p = binary.BigEndian.AppendUint32(p, oldSecret.spi)
	return append(p, oldSum(p)...)
}

// oldRead goes through the extensions behind fixed octets as RFC 2002 §1.9 has it, and reports whether the message is to be
// discarded, and otherwise whether it is authentic and which types were skipped.
func oldRead(p []byte, fixed int) (discarded, authentic bool, skipped []byte) {
	for at := fixed; at < len(p); {
		typ := p[at]
		if typ == 0 {
			at++
			continue
		}
		if at+2 > len(p) || at+2+int(p[at+1]) > len(p) {
			return true, false, nil
		}
		end := at + 2 + int(p[at+1])
		switch {
		case typ == 32:
			authentic = end-at == 22 && binary.BigEndian.Uint32(p[at+2:]) == oldSecret.spi && bytes.Equal(oldSum(p[:at+6]), p[at+6:end])
		case typ == 33 || typ == 34:
		case typ < 128:
			return true, false, nil
		default:
			skipped = append(skipped, typ)
		}
		at = end
	}
	return false, authentic, skipped
}

// oldHomeAgent answers a request as RFC 2002 §3.8 has it: nil for silence. With reverse it knows RFC 2344, too; without, the T bit is
// a reserved one, with which a request must be denied.
func oldHomeAgent(p []byte, reverse bool) []byte {
	if len(p) < 24 || p[0] != 1 {
		return nil
	}
	discarded, authentic, _ := oldRead(p, 24)
	if discarded {
		return nil
	}
	code := byte(1) // it knows no simultaneous bindings
	switch reserved := p[1] & 0x03; {
	case !authentic:
		code = 131
	case reverse && reserved&0x01 != 0, !reverse && reserved != 0:
		code = 134
	}
	r := []byte{3, code, p[2], p[3]}
	if code == 1 && binary.BigEndian.Uint16(p[2:]) > 900 {
		r[2], r[3] = 900>>8, 900&0xff
	}
	r = append(r, p[4:12]...)
	r = append(r, p[16:24]...)
	return oldSign(r)
}

// Our mobile node registers with a home agent that knows keyed MD5, RFC 2344 and nothing later: what it asks for beyond that is
// skipped there and not missed here, whatever encapsulation is configured.
//
// Shows: MIP-2 (keyed MD5 prefix+suffix), MIP-6, MIP-10, GDL-3, GDL-4
func TestOldHomeAgent(t *testing.T) {
	for name, e := range map[string]mobilenode.Encapsulation{"auto": mobilenode.EncapsulationAuto, "ipip": mobilenode.EncapsulationIPIP} {
		t.Run(name, func(t *testing.T) {
			n, err := mobilenode.NewMachine(mobilenode.Config{
				HomeAgent: homeAgent, HomeAddress: homeAddress, CareOfAddress: careOf, Association: oldSecret.association(t),
				Lifetime: 30 * time.Minute, ReverseTunnel: true, Encapsulation: e,
				Origin: mobilenode.Origin{Interface: 3, Epoch: 7, Direct: true},
			}, mathrand.NewChaCha8([32]byte{5}))
			if err != nil {
				t.Fatal(err)
			}
			n.Register(at(0))
			out, ok := n.PollTransmit()
			if !ok {
				t.Fatal("no request")
			}
			reply := oldHomeAgent(out.Payload, true)
			if reply == nil {
				t.Fatalf("the old home agent discards %x", out.Payload)
			}
			if err := n.HandleReply(at(time.Second), reply); err != nil {
				t.Fatal(err)
			}
			b, ok := n.Binding()
			if !ok || b.Lifetime() != 15*time.Minute || b.Tunnel().Encapsulation != tunnel.IPIP || b.TrustedNetwork() || b.StrongKey() {
				t.Fatalf("binding %+v, %t: want 15 minutes of IP-in-IP without a proof of anything", b, ok)
			}
			// It renews and leaves, too.
			for _, step := range []func(){func() { n.Register(at(5 * time.Minute)) }, func() { n.DeregisterAll(at(6 * time.Minute)) }} {
				step()
				if out, ok = n.PollTransmit(); !ok {
					t.Fatal("no request")
				}
				if err := n.HandleReply(at(6*time.Minute), oldHomeAgent(out.Payload, true)); err != nil {
					t.Fatal(err)
				}
			}
			if bound(n) {
				t.Error("the binding is not taken back")
			}
		})
	}
}

// A home agent of before reverse tunnelling denies the T bit as a reserved one. The mobile node, which must not send without a tunnel,
// says so and ends, instead of asking for ever.
//
// Shows: MIP-4, MIP-8
func TestOldHomeAgentWithoutReverseTunnels(t *testing.T) {
	n, err := mobilenode.NewMachine(mobilenode.Config{
		HomeAgent: homeAgent, HomeAddress: homeAddress, CareOfAddress: careOf, Association: oldSecret.association(t),
		Lifetime: 30 * time.Minute, ReverseTunnel: true, Encapsulation: mobilenode.EncapsulationAuto,
		Origin: mobilenode.Origin{Interface: 3, Epoch: 7, Direct: true},
	}, mathrand.NewChaCha8([32]byte{5}))
	if err != nil {
		t.Fatal(err)
	}
	n.Register(at(0))
	requests := 0
	for out, ok := n.PollTransmit(); ok; out, ok = n.PollTransmit() {
		if requests++; requests > 10 {
			t.Fatal("it goes on asking")
		}
		if err := n.HandleReply(at(time.Second), oldHomeAgent(out.Payload, false)); err != nil {
			t.Fatal(err)
		}
	}
	refused := ""
	for e, ok := n.PollEvent(); ok; e, ok = n.PollEvent() {
		if r, is := e.(mobilenode.Refused); is && !r.Retrying {
			refused = r.Err.Error()
		}
	}
	if bound(n) || !strings.Contains(refused, "134") || !strings.Contains(refused, "reverse") {
		t.Errorf("after %d requests the refusal is %q: want code 134 and the T bit as a possible reason", requests, refused)
	}
}

// A mobile node that knows RFC 2002 alone registers with our home agent, co-located or through a foreign agent, with and without the
// bit that asked for Van Jacobson compression; it never gets an extension that it would have to discard the reply for.
//
// Shows: AGT-1, MIP-2 (keyed MD5), MIP-10, GDL-3, GDL-4
func TestOldMobileNode(t *testing.T) {
	for _, internal := range []bool{false, true} {
		ha := newHomeAgent(t, func(c *homeagent.Config) {
			if c.Internal = internal; internal {
				c.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			}
		}, secrets()[0], oldSecret)
		for i, c := range []struct {
			name   string
			flags  byte
			careOf netip.Addr
			life   uint16
			tunnel bool
		}{
			{"co-located", 0x20, careOf, 600, true},
			{"with V", 0x24, careOf, 600, true},
			{"through a foreign agent", 0x00, foreignCoA, 0xffff, true},
			{"with reverse tunnel (RFC 2344)", 0x02, foreignCoA, 600, true},
			{"leaves", 0x00, homeAddress, 0, false},
		} {
			now := time.Duration(i) * time.Second
			h, a, co := homeAddress.As4(), homeAgent.As4(), c.careOf.As4()
			p := binary.BigEndian.AppendUint16([]byte{1, c.flags}, c.life)
			p = append(append(append(p, h[:]...), a[:]...), co[:]...)
			p = oldSign(binary.BigEndian.AppendUint64(p, identification(now)))
			source := netip.AddrPortFrom(c.careOf, 434)
			if err := ha.HandleRequest(at(now), homeagent.Request{Source: source, Payload: p}); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			out, ok := ha.PollTransmit()
			if !ok {
				t.Fatalf("%s: no reply", c.name)
			}
			discarded, authentic, skipped := oldRead(out.Payload, 20)
			want := min(c.life, 1800)
			if discarded || !authentic || out.Payload[1] > 1 || binary.BigEndian.Uint16(out.Payload[2:]) != want || !bytes.Equal(out.Payload[12:20], p[16:24]) {
				t.Errorf("%s: the reply is %x: discarded %t, authentic %t", c.name, out.Payload, discarded, authentic)
			}
			if tnc := bytes.Equal(skipped, []byte{149}); tnc != internal || !internal && len(skipped) != 0 {
				t.Errorf("%s: the reply has extensions %v", c.name, skipped)
			}
			if r := ha.Table().Route(homeAddress); (r != nil) != c.tunnel || r != nil && r.Admits(tunnel.IPIP, netip.AddrPortFrom(c.careOf, 0)) == nil {
				t.Errorf("%s: the tunnel is %+v", c.name, r)
			}
		}
	}
}

// An advertisement as agents of RFC 2002 send it, with V and without what came later, is understood.
//
// Shows: MIP-5, GDL-4
func TestOldAdvertisement(t *testing.T) {
	p := golden(t, `
		09 00 0000      # router advertisement, checksum below
		01 02 001e      # one address of two words, lifetime 30 s
		ac100501 00000000
		10 0a 0102 0708 # mobility agent: length, sequence number 258, registration lifetime 1800 s
		9200            # R, F, V
		c0000228        # care-of address 192.0.2.40
		13 01 18        # prefix lengths: 24
		00              # padding to an even length`)
	binary.BigEndian.PutUint16(p[2:], checksum(p))
	m, err := discovery.NewMachine(discovery.Config{}, mathrand.NewChaCha8([32]byte{7}))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.HandleAdvertisement(at(0), p, visited, packet.HardwareAddr{2, 0, 0, 0, 0, 1}); err != nil {
		t.Fatal(err)
	}
	agents := m.Agents()
	if len(agents) != 1 {
		t.Fatalf("%d agents", len(agents))
	}
	a := agents[0]
	if a.Address != visited || len(a.CareOfAddresses) != 1 || a.CareOfAddresses[0].String() != "192.0.2.40" || a.RegistrationLifetime != 1800 ||
		!a.Flags.Has(discovery.FlagRegistrationRequired|discovery.FlagForeignAgent) || a.Flags.Has(discovery.FlagReverseTunnel) || a.Flags.Has(discovery.FlagUDPTunnel) {
		t.Errorf("the agent is %+v", a)
	}
}

// checksum is the Internet checksum (RFC 1071) of octets of even number.
func checksum(p []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(p); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
