package pathmtu

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/packet"
)

// quoted returns an ICMP "fragmentation needed" about a UDP packet of n octets.
func quoted(mtu uint16, n int, whole bool) []byte {
	b := packet.GetSmall()
	defer b.Release()
	clear(b.Extend(n - packet.IPv4Len - packet.UDPLen))
	packet.PushUDP(b, netip.AddrPortFrom(home, 40000), netip.AddrPortFrom(agent, 434))
	packet.PushIPv4(b, packet.IPv4Fields{DontFragment: whole, TTL: 60, Protocol: packet.ProtocolUDP, Src: home, Dst: agent})
	return tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, mtu, b.Bytes())
}

func TestParseHint(t *testing.T) {
	h, ok := ParseHint(quoted(1400, 1500, true), home)
	if want := (Hint{Remote: agent, Protocol: packet.ProtocolUDP, Length: 1500, MTU: 1400}); !ok || h != want {
		t.Errorf("%+v, %t, want %+v", h, ok, want)
	}
	if h, ok := ParseHint(quoted(0, 1500, true), home); !ok || h.MTU != 0 {
		t.Errorf("a router before RFC 1191: %+v, %t", h, ok)
	}
	short := quoted(1400, 1500, true)[:8+20+8] // RFC 792: header and 8 octets
	binary.BigEndian.PutUint16(short[2:], 0)
	binary.BigEndian.PutUint16(short[2:], packet.Checksum(short, 0))
	if _, ok := ParseHint(short, home); !ok {
		t.Error("the shortest quotation is refused")
	}
	damaged := quoted(1400, 1500, true)
	damaged[40] ^= 1
	for name, m := range map[string][]byte{
		"an MTU under IPv4's least":     quoted(67, 1500, true),
		"a packet that fits":            quoted(1500, 1500, true),
		"a packet without DF":           quoted(1400, 1500, false),
		"a damaged message":             damaged,
		"nothing":                       nil,
		"half a header":                 quoted(1400, 1500, true)[:30],
		"another code":                  tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodePort, 0, packet.IPv4(AppendProbe(nil, home, agent, 1, 1, Token{}, 100))),
		"a packet of somebody else's":   tunnel.AppendICMPError(nil, tunnel.ICMPUnreachable, tunnel.CodeFragmentNeeded, 68, packet.IPv4(AppendProbe(nil, agent, home, 1, 1, Token{}, 100))),
		"a time that has been exceeded": tunnel.AppendICMPError(nil, tunnel.ICMPTimeExceeded, 0, 0, packet.IPv4(AppendProbe(nil, home, agent, 1, 1, Token{}, 100))),
	} {
		if h, ok := ParseHint(m, home); ok {
			t.Errorf("%s: %+v", name, h)
		}
	}
}

// FuzzParseHint: any octets are a hint within bounds or none.
func FuzzParseHint(f *testing.F) {
	f.Add(quoted(1400, 1500, true))
	f.Add(quoted(68, 100, true)[:36])
	f.Add([]byte{3, 4})
	f.Fuzz(func(t *testing.T, m []byte) {
		before := bytes.Clone(m)
		h, ok := ParseHint(m, home)
		if !bytes.Equal(before, m) {
			t.Fatal("the message was changed")
		}
		if ok && (h.MTU >= h.Length || h.MTU != 0 && h.MTU < minIPv4MTU || !h.Remote.Is4()) {
			t.Fatalf("%+v", h)
		}
	})
}

// FuzzParseAnswer: nothing but the echo reply itself is taken for it.
func FuzzParseAnswer(f *testing.F) {
	b := packet.From(AppendProbe(nil, home, agent, 7, 9, Token{1, 2, 3}, 60))
	tunnel.AnswerEcho(b, agent)
	f.Add(bytes.Clone(b.Bytes()))
	b.Release()
	f.Add(AppendProbe(nil, home, agent, 7, 9, Token{1, 2, 3}, 0))
	f.Fuzz(func(t *testing.T, p []byte) {
		seq, ok := parseAnswer(packet.IPv4(p), home, agent, 7, Token{1, 2, 3})
		if ok && (p[20] != 0 || seq != binary.BigEndian.Uint16(p[packet.IPv4(p).HeaderLen()+6:])) && packet.IPv4(p).HeaderLen() == 20 {
			t.Fatalf("%x taken as answer %d", p, seq)
		}
	})
}
