package stack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/mipv4/tunnel"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// fragments returns the packet cut to the MTU.
func fragments(t testing.TB, whole packet.IPv4, mtu int) [][]byte {
	t.Helper()
	out := packet.GetBatch()
	defer out.Release()
	if r := tunnel.Fragment(packet.From(whole), mtu, out); r != packet.NotDropped {
		t.Fatalf("cannot be cut: %v", r)
	}
	var all [][]byte
	for _, p := range out.Bufs {
		all = append(all, bytes.Clone(p.Bytes()))
	}
	return all
}

// piece is a fragment of a packet between near and far.
func piece(id uint16, offset int, more bool, payload []byte) []byte {
	b := packet.From(payload)
	defer b.Release()
	packet.PushIPv4(b, packet.IPv4Fields{ID: id, TTL: 60, Protocol: packet.ProtocolESP, Src: far, Dst: near})
	ip := packet.IPv4(b.Bytes())
	field := uint16(offset / 8)
	if more {
		field |= 0x2000
	}
	binary.BigEndian.PutUint16(ip[6:], field)
	binary.BigEndian.PutUint16(ip[10:], 0)
	binary.BigEndian.PutUint16(ip[10:], packet.Checksum(ip[:packet.IPv4Len], 0))
	return bytes.Clone(ip)
}

// Shows: HST-4, MIP-12 (fragments in any order, with duplicates, also cut twice, make the packet)
func TestReassembly(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for n := 100; n < 9000; n = n*3/2 + 1 {
		whole := patterned(min(n, packet.SmallSize), false)
		if n > packet.SmallSize {
			b := packet.From(bytes.Repeat(whole[packet.IPv4Len:], 5)[:n-packet.IPv4Len])
			packet.PushIPv4(b, packet.IPv4Fields{ID: 77, TTL: 64, Protocol: packet.ProtocolUDP, Src: home, Dst: correspondent})
			whole = bytes.Clone(b.Bytes())
			b.Release()
		}
		for range 20 {
			var all [][]byte
			for _, f := range fragments(t, whole, 68+rng.IntN(n)) {
				all = append(all, fragments(t, f, 68+rng.IntN(n))...)
			}
			if len(all) == 1 {
				continue
			}
			rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
			last := all[len(all)-1]
			all = slices.Concat(all[:len(all)-1], all[:rng.IntN(len(all))]) // some come twice
			var r reassembler
			for _, f := range all {
				if got, reason := r.add(packet.From(f)); got != nil || reason != packet.Delivered {
					t.Fatalf("%d octets: %v before the last fragment", n, reason)
				}
			}
			got, reason := r.add(packet.From(last))
			if got == nil || !bytes.Equal(got.Bytes(), whole) {
				t.Fatalf("%d octets: %v", n, reason)
			}
			got.Release()
			if len(r.open) != 0 {
				t.Fatalf("%d packets are still waited for", len(r.open))
			}
		}
	}
}

// What does not fit together, or would be too long, is given up, and nothing of it is kept.
func TestReassemblyOfNonsense(t *testing.T) {
	x, y := bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{2}, 32)
	for name, all := range map[string][][]byte{
		"an overlap":                  {piece(1, 0, true, x), piece(1, 32, true, x)},
		"an overlap before":           {piece(1, 32, true, x), piece(1, 0, true, x)},
		"another length at one place": {piece(1, 0, true, x), piece(1, 0, true, y)},
		"two ends":                    {piece(1, 64, false, x), piece(1, 128, false, y)},
		"something behind the end":    {piece(1, 64, false, x), piece(1, 256, true, y)},
		"an end before what is there": {piece(1, 256, true, y), piece(1, 64, false, x)},
	} {
		var r reassembler
		for i, f := range all {
			want := packet.Delivered
			if i == len(all)-1 {
				want = packet.DropMalformed
			}
			if got, reason := r.add(packet.From(f)); got != nil || reason != want {
				t.Errorf("%s: fragment %d: %v, want %v", name, i, reason, want)
			}
		}
		if len(r.open) != 0 {
			t.Errorf("%s: %d packets are still waited for", name, len(r.open))
		}
	}
	for name, f := range map[string][]byte{
		"no octets":       piece(1, 64, true, nil),
		"an odd length":   piece(1, 0, true, x[:63]),
		"over the length": piece(1, 65528, false, x),
	} {
		var r reassembler
		if got, reason := r.add(packet.From(f)); got != nil || reason != packet.DropMalformed || len(r.open) != 0 {
			t.Errorf("%s: %v", name, reason)
		}
	}
}

// What came out of an ESP security association is never mixed with what did not, nor with another sender's.
func TestReassemblyKeepsApart(t *testing.T) {
	var r reassembler
	first, last := piece(9, 0, true, make([]byte, 64)), piece(9, 64, false, make([]byte, 64))
	add := func(raw []byte, sa uint32) *packet.Buf {
		p := packet.From(raw)
		p.SA = sa
		got, _ := r.add(p)
		return got
	}
	other := bytes.Clone(last)
	other[15]++
	if add(first, 5) != nil || add(last, 0) != nil || add(last, 6) != nil || add(other, 5) != nil {
		t.Fatal("fragments of different origin were put together")
	}
	got := add(last, 5)
	if got == nil || got.SA != 5 {
		t.Fatal("the right ones were not, or lost their mark")
	}
	got.Release()
}

// However many fragments come that never become whole, only so many packets are waited for, and the newest are.
func TestReassemblyIsBounded(t *testing.T) {
	var r reassembler
	for id := range uint16(1000) {
		if _, reason := r.add(packet.From(piece(id, 0, true, make([]byte, 64)))); reason != packet.Delivered {
			t.Fatal(reason)
		}
	}
	if len(r.open) != maxAssemblies {
		t.Errorf("%d packets are waited for", len(r.open))
	}
	if got, _ := r.add(packet.From(piece(0, 64, false, make([]byte, 8)))); got != nil {
		t.Error("the oldest is still there")
	}
	got, _ := r.add(packet.From(piece(999, 64, false, make([]byte, 8))))
	if got == nil {
		t.Fatal("the newest is gone")
	}
	got.Release()
}

// A link puts together what is for one of its flows, and leaves other fragments to the host.
func TestPacketLinkReassembles(t *testing.T) {
	var drops packet.Drops
	var rest, flow [][]byte
	keep := func(to *[][]byte) link.Receiver {
		return func(b *packet.Batch) {
			for _, p := range b.Bufs {
				*to = append(*to, bytes.Clone(p.Bytes()))
			}
			b.Release()
		}
	}
	l := NewPacketLink(near, &drops, keep(&rest))
	if _, err := l.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Port: 4500, Remote: netip.AddrPortFrom(far, 4500)}, keep(&flow)); err != nil {
		t.Fatal(err)
	}
	datagram := func(src netip.Addr) packet.IPv4 {
		b := packet.From(bytes.Repeat([]byte("octets"), 200))
		defer b.Release()
		packet.PushUDP(b, netip.AddrPortFrom(src, 4500), netip.AddrPortFrom(near, 4500))
		packet.PushIPv4(b, packet.IPv4Fields{ID: 3, TTL: 60, Protocol: packet.ProtocolUDP, Src: src, Dst: near})
		return bytes.Clone(b.Bytes())
	}
	for _, f := range fragments(t, datagram(far), 500) {
		l.Deliver(one(f))
	}
	if len(flow) != 1 || !bytes.Equal(flow[0], bytes.Repeat([]byte("octets"), 200)) || len(rest) != 0 {
		t.Errorf("%d datagrams for the flow, %d packets for the host", len(flow), len(rest))
	}
	for _, f := range fragments(t, datagram(correspondent), 500) {
		l.Deliver(one(f))
	}
	if len(flow) != 1 || len(rest) != 3 {
		t.Errorf("%d datagrams for the flow, %d packets for the host", len(flow), len(rest))
	}
	wrong := fragments(t, datagram(far), 500)
	wrong[1][30] ^= 1 // the UDP checksum shows it
	for _, f := range wrong {
		l.Deliver(one(f))
	}
	if len(flow) != 1 || drops.Of(packet.DropMalformed) != 1 {
		t.Errorf("%d datagrams for the flow, drops %v", len(flow), drops.Snapshot())
	}
}

// FuzzReassembly feeds fragments of any offsets and lengths: no panic, no more memory than allowed, and what comes out is a
// valid packet.
func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 0, 8, 1, 1, 0, 8, 0})
	f.Add([]byte{0, 0, 16, 1, 1, 1, 8, 1, 0, 2, 8, 0})
	f.Add([]byte{3, 255, 255, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var r reassembler
		for ; len(steps) >= 4; steps = steps[4:] {
			raw := piece(uint16(steps[0]%8), int(steps[1])*8*(1+int(steps[3]>>1)), steps[3]&1 != 0, make([]byte, steps[2]))
			got, reason := r.add(packet.From(raw))
			if (got == nil) == (reason == packet.NotDropped) || len(r.open) > maxAssemblies {
				t.Fatalf("%v, %d open", reason, len(r.open))
			}
			if got != nil {
				if ip := packet.IPv4(got.Bytes()); !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != got.Len() || ip.MoreFragments() || ip.FragmentOffset() != 0 {
					t.Fatalf("%x", ip[:packet.IPv4Len])
				}
				got.Release()
			}
		}
		for len(r.open) > 0 {
			r.forget(0)
		}
	})
}
