package tunnel

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/tun/packet"
)

// superpacket returns a UDP superpacket of the home address with so much payload in segments of size octets.
func superpacket(tb testing.TB, payload, size int, f packet.IPv4Fields) *packet.Buf {
	tb.Helper()
	data := make([]byte, payload)
	for i := range data {
		data[i] = byte(i * 7)
	}
	p := packet.From(data)
	f.Protocol = packet.ProtocolUDP
	packet.PushUDP(p, netip.AddrPortFrom(f.Src, 4000), netip.AddrPortFrom(f.Dst, 5000))
	packet.PushIPv4(p, f)
	if err := p.MakeSuper(size); err != nil {
		tb.Fatal(err)
	}
	return p
}

// contents returns what the batch's packets are once all are cut, and releases it.
func contents(b *packet.Batch) [][]byte {
	defer b.Release()
	b.Cut()
	var all [][]byte
	for _, p := range b.Bufs {
		all = append(all, bytes.Clone(p.Bytes()))
	}
	return all
}

// Shows: MIP-7, MIP-12 (a superpacket in a tunnel is each of its segments in the tunnel: header rules, data header, TTL)
func TestEncapsulateSuperpacket(t *testing.T) {
	for _, e := range []Encapsulator{{Encapsulation: IPIP}, {Encapsulation: UDP}, {Encapsulation: UDP, Forwarding: true}} {
		f := fields()
		f.TOS = 0xb8 | ecnECT0
		one := packet.One(superpacket(t, 1501, 500, f))
		one.Cut()
		e.Apply(one)
		whole := packet.One(superpacket(t, 1501, 500, f))
		e.Apply(whole)
		if whole.Len() != 1 || !whole.Bufs[0].Super() || whole.Bufs[0].TOS != f.TOS || whole.Segments() != 4 {
			t.Fatalf("%+v: %d packets of %d segments", e, whole.Len(), whole.Segments())
		}
		if !slices.EqualFunc(contents(whole), contents(one), bytes.Equal) {
			t.Errorf("%+v: other segments than those encapsulated alone", e)
		}
		f.TTL = 0
		var drops packet.Drops
		e.Drops = &drops
		dead := packet.One(superpacket(t, 1501, 500, f))
		e.Apply(dead)
		if dead.Len() != 0 || drops.Of(packet.DropTTL) != 4 {
			t.Errorf("%+v: no time to live: %d packets, drops %v", e, dead.Len(), drops.Snapshot())
		}
		dead.Release()
	}
}

// Shows: MIP-7, MIP-12 (what fits stays whole, what does not is cut as its segments alone would be, what has DF is refused)
func TestFragmentSuperpacket(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	cut := 0
	for range 300 {
		payload, size, mtu := 1+rng.IntN(20000), 1+rng.IntN(3000), minMTU+rng.IntN(3000)
		f := fields()
		f.DontFragment = rng.IntN(4) == 0
		p := superpacket(t, payload, size, f)
		segment := p.SegmentLen()
		var want [][]byte
		alone, out := packet.One(superpacket(t, payload, size, f)), packet.GetBatch()
		alone.Cut()
		for _, q := range alone.Bufs {
			if r := Fragment(q, mtu, out); r != packet.NotDropped {
				q.Release()
			}
		}
		alone.Forget()
		want = contents(out)
		got := packet.GetBatch()
		r := Fragment(p, mtu, got)
		switch {
		case segment > mtu && f.DontFragment:
			if r != packet.DropTooBig || got.Len() != 0 || !p.Super() {
				t.Fatalf("segments of %d octets with DF, MTU %d: %v", segment, mtu, r)
			}
			p.Release()
			got.Release()
			continue
		case r != packet.NotDropped:
			t.Fatalf("segments of %d octets, MTU %d: %v", segment, mtu, r)
		case segment <= mtu:
			if got.Len() != 1 || got.Bufs[0] != p {
				t.Fatalf("segments of %d octets, MTU %d: %d packets, want the one superpacket", segment, mtu, got.Len())
			}
		default:
			cut++
		}
		if !slices.EqualFunc(contents(got), want, bytes.Equal) {
			t.Fatalf("segments of %d octets, MTU %d: others than those of the segments alone", segment, mtu)
		}
	}
	if cut < 50 {
		t.Errorf("%d of 300 superpackets were cut", cut)
	}
	p := superpacket(t, 1000, 100, fields())
	defer p.Release()
	if r := Fragment(p, minMTU-1, nil); r != packet.DropTooBig {
		t.Errorf("MTU %d: %v", minMTU-1, r)
	}
}
