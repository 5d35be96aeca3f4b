package simnet

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"mipvpn/tun/packet"
)

// Whatever arrives, the stack, the NAT and the firewall take it without a panic, and what they pass on is a whole packet.
func FuzzInput(f *testing.F) {
	seg := udpSegment(netip.AddrPortFrom(addrA, 1000), netip.AddrPortFrom(right, 2000), []byte("payload"))
	for _, proto := range []uint8{packet.ProtocolUDP, packet.ProtocolTCP, packet.ProtocolICMP, packet.ProtocolESP} {
		f.Add(proto, uint16(0), true, seg)
	}
	f.Add(uint8(packet.ProtocolUDP), uint16(0x2000), true, seg)
	f.Add(uint8(packet.ProtocolUDP), uint16(0x1fff), false, seg)
	quote := make([]byte, packet.IPv4Len, packet.IPv4Len+8)
	packet.IPv4(quote).Encode(packet.IPv4Fields{Protocol: packet.ProtocolUDP, Src: right, Dst: addrA}, 500)
	f.Add(uint8(packet.ProtocolICMP), uint16(0), true, icmpMessage(icmpUnreachable, codeFragmentationNeeded, 80, append(quote, seg[:8]...)))
	f.Add(uint8(packet.ProtocolICMP), uint16(0), false, icmpMessage(icmpUnreachable, codePort, 0, append(quote, seg[:8]...)))
	f.Add(uint8(packet.ProtocolICMP), uint16(0), false, icmpMessage(icmpUnreachable, codePort, 0, quote[:8]))
	tcp := segment{src: netip.AddrPortFrom(addrA, 1), dst: netip.AddrPortFrom(right, 80), flags: tcpSYN, mss: 1000}
	f.Add(uint8(packet.ProtocolTCP), uint16(0), true, tcp.encode())
	c := newNatted(NATConfig{})
	f.Cleanup(func() { c.Close() })
	c.router.SetFirewall(Rule{In: c.rl, Verdict: Accept})
	if _, err := c.right.ListenTCP(netip.AddrPortFrom(netip.Addr{}, 80)); err != nil {
		f.Fatal(err)
	}
	c.TapAll(func(fr Frame) {
		if ip := packet.IPv4(fr.Packet); !ip.Valid() || !ip.ChecksumOK() {
			f.Errorf("on wire %s from %s: % x", fr.Wire, fr.Sender, fr.Packet)
		}
	})
	f.Fuzz(func(t *testing.T, protocol uint8, fragment uint16, toRight bool, payload []byte) {
		if len(payload) > 1480 {
			return
		}
		src, dst, from, at := addrA, right, c.left, c.router
		in := c.rl
		if !toRight {
			src, dst, in = right, external, c.rr
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		pkt := from.build(packet.IPv4Fields{Protocol: protocol, Src: src, Dst: dst}, payload)
		binary.BigEndian.PutUint16(pkt[6:], fragment)
		rewriteChecksum(pkt)
		at.input(in, nil, append([]byte(nil), pkt...))
		// The same without a router between, and damaged.
		c.right.input(c.rn, nil, append([]byte(nil), pkt...))
		c.right.input(c.rn, nil, payload)
	})
}

func FuzzSegment(f *testing.F) {
	f.Add(segment{flags: tcpSYN, mss: 1460}.withEnds().encode()[:])
	f.Add(segment{seq: 1, ack: 2, flags: tcpACK | tcpPSH, window: 100, data: []byte("data")}.withEnds().encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1400 {
			return
		}
		if len(b) >= tcpLen {
			b = append([]byte(nil), b...)
			b[16], b[17] = 0, 0
			binary.BigEndian.PutUint16(b[16:], packet.TransportChecksum(b, addrA, addrB, packet.ProtocolTCP))
		}
		ip := make(packet.IPv4, packet.IPv4Len+len(b))
		ip.Encode(packet.IPv4Fields{Protocol: packet.ProtocolTCP, Src: addrA, Dst: addrB}, len(ip))
		copy(ip[packet.IPv4Len:], b)
		s, ok := decodeSegment(ip)
		if !ok {
			return
		}
		again := append(ip[:packet.IPv4Len:packet.IPv4Len], s.encode()...)
		binary.BigEndian.PutUint16(again[2:], uint16(len(again)))
		r, ok := decodeSegment(again)
		if !ok || r.seq != s.seq || r.ack != s.ack || r.flags != s.flags || r.window != s.window || r.mss != s.mss || string(r.data) != string(s.data) {
			t.Errorf("%+v came back as %+v", s, r)
		}
	})
}

func (s segment) withEnds() segment {
	s.src, s.dst = netip.AddrPortFrom(addrA, 1), netip.AddrPortFrom(addrB, 2)
	return s
}

// Outside a bubble the same network runs in real time.
func TestRealTime(t *testing.T) {
	p := newPair(1, WireConfig{Impairment: Impairment{Latency: time.Millisecond}})
	defer p.Close()
	if _, err := exchange(t, p.a, p.b, addrB, 100_000); err != nil {
		t.Error(err)
	}
}
