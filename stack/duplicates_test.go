package stack

import (
	"encoding/binary"
	"testing"

	"mipvpn/tun/packet"
)

// copyOf returns an IPv4 packet whose payload is a number, as it looks behind a number of routers.
func copyOf(n uint32, ttl uint8) packet.IPv4 {
	p := packet.From(binary.BigEndian.AppendUint32(make([]byte, 8), n))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: ttl, Protocol: packet.ProtocolUDP, Src: inner, Dst: home})
	defer p.Release()
	return packet.IPv4(append([]byte(nil), p.Bytes()...))
}

// Shows: MOD-prefer (second copies by another care-of address are dropped, and nothing else)
func TestDuplicates(t *testing.T) {
	d := newDuplicates()
	const behind = 50 // how far the other path is behind
	for n := range uint32(10_000) {
		if d.second(copyOf(n, 64), 1) {
			t.Fatalf("packet %d: the first copy is taken for a second", n)
		}
		if n >= behind && !d.second(copyOf(n-behind, 60), 2) { // other routers
			t.Fatalf("packet %d: the second copy is not known", n-behind)
		}
	}
	// What is sent twice comes twice by each route.
	same := copyOf(5000, 64)
	for i, c := range []struct {
		via    route
		second bool
	}{{1, false}, {1, false}, {2, true}, {2, true}, {2, false}, {routeVPN, true}, {1, true}, {1, false}} {
		if got := d.second(same, c.via); got != c.second {
			t.Errorf("copy %d by route %d: second %t, want %t", i, c.via, got, c.second)
		}
	}
	// Another packet with the same payload is another packet.
	d = newDuplicates()
	d.second(copyOf(1, 64), 1)
	for name, change := range map[string]func(packet.IPv4){
		"identification": func(p packet.IPv4) { p[5]++ },
		"DF":             func(p packet.IPv4) { p[6] ^= 0x40 },
		"protocol":       func(p packet.IPv4) { p[9]++ },
		"source":         func(p packet.IPv4) { p[15]++ },
	} {
		p := copyOf(1, 64)
		change(p)
		if d.second(p, 2) {
			t.Errorf("a packet of another %s is taken for a copy", name)
		}
	}
	d.second(same, 1)
	if n := testing.AllocsPerRun(100, func() { d.second(same, 2) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkDuplicates(b *testing.B) {
	d := newDuplicates()
	p := packet.From(make([]byte, 1280))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: packet.ProtocolUDP, Src: inner, Dst: home})
	ip := packet.IPv4(p.Bytes())
	b.ReportAllocs()
	for n := range b.N {
		binary.BigEndian.PutUint32(ip[20:], uint32(n))
		d.second(ip, 1)
	}
}
