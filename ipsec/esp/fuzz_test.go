package esp

import (
	"bytes"
	"net/netip"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// FuzzOpen gives an SA any octets as a packet, and any octets as the decrypted part of an authentic one.
func FuzzOpen(f *testing.F) {
	_, pi := parameters(suite.AESGCM128, false)
	pi.Local, pi.Remote = []Selector{AnySelector()}, []Selector{AnySelector()}
	f.Add([]byte{})
	f.Add([]byte{0, 4})
	f.Add([]byte{255, 59})
	f.Add(append(ping(client, server, 12).Bytes(), 1, 2, 2, 4))
	f.Add(append(bytes.Repeat([]byte{0x45}, 60), 0, 4))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > 60000 {
			return
		}
		in, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		raw := packet.From(p)
		defer raw.Release()
		if r := in.Open(raw); r == packet.NotDropped {
			t.Fatalf("a forgery opens: %x", p)
		}
		b := sealRaw(t, pi, 1, p)
		defer b.Release()
		if len(p) < trailerLen {
			if r := in.Open(b); r != packet.DropMalformed {
				t.Fatalf("%x: %v", p, r)
			}
			return
		}
		if r := in.Open(b); r == packet.NotDropped {
			ip := packet.IPv4(b.Bytes())
			if !ip.Valid() || ip.TotalLen() != b.Len() || !bytes.HasPrefix(p, ip[:1]) {
				t.Fatalf("%x came out as %x", p, b.Bytes())
			}
		}
	})
}

// FuzzOpenBatch gives a table any octets as a batch of packets, among them authentic ones: each either comes out or is
// counted, and what comes out, in which order, is what single packets give.
func FuzzOpenBatch(f *testing.F) {
	_, pi := parameters(suite.AESGCM128, true)
	f.Add([]byte{})
	f.Add([]byte{3, 1, 2, 3, 40, 0xc0, 0xff, 0xee, 1, 0, 0, 0, 7})
	f.Add([]byte{200, 1, 200, 2, 200, 2, 7, 200, 1, 255, 200, 9})
	f.Fuzz(func(t *testing.T, p []byte) {
		var table Table
		var drops, singleDrops packet.Drops
		batched, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		single, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		table.Add(batched)
		b := packet.GetBatch()
		defer b.Release()
		var want []string
		for len(p) > 1 && b.Len() < 2*maxRun {
			n := int(p[0])
			var q *packet.Buf
			if n < 200 { // so many octets as they are
				n = min(n, len(p)-1)
				q = packet.From(p[1 : 1+n])
				p = p[1+n:]
			} else { // a packet with this sequence number
				q = rawPing(t, pi, uint64(p[1])<<(n-200))
				p = p[2:]
			}
			one := packet.From(q.Bytes())
			if r := single.Open(one); r == packet.NotDropped {
				want = append(want, string(one.Bytes()))
			} else {
				singleDrops.Count(r, 1)
			}
			one.Release()
			b.Append(q)
		}
		count := b.Len()
		table.Open(b, &drops)
		dropped := uint64(0)
		for _, n := range drops.Snapshot() {
			dropped += n
		}
		if b.Len() != len(want) || uint64(count) != uint64(b.Len())+dropped {
			t.Fatalf("%d of %d packets came out, drops %v; single packets: %d, %v", b.Len(), count, drops.Snapshot(), len(want), singleDrops.Snapshot())
		}
		for i, q := range b.Bufs {
			if string(q.Bytes()) != want[i] {
				t.Fatalf("packet %d is %x, want %x", i, q.Bytes(), want[i])
			}
		}
	})
}

// FuzzSelectors checks that looking for ports does not leave the packet.
func FuzzSelectors(f *testing.F) {
	f.Add(ping(client, server, 0).Bytes(), uint16(0), uint16(65535), uint8(0))
	f.Add(ping(client, server, 4).Bytes(), uint16(80), uint16(443), uint8(6))
	f.Fuzz(func(t *testing.T, p []byte, from, to uint16, protocol uint8) {
		ip := packet.IPv4(p)
		if !ip.Valid() {
			return
		}
		s := AnySelector()
		s.StartPort, s.EndPort, s.Protocol = from, to, protocol
		src, dst := sides(ip)
		if got := src.matches(compile([]Selector{s})); got && protocol != 0 && ip.Protocol() != protocol {
			t.Fatal("another protocol matches")
		}
		if dst.matches(compile([]Selector{AddrSelector(netip.AddrFrom4([4]byte{255, 255, 255, 254}))})) != (ip.Dst().String() == "255.255.255.254") {
			t.Fatal("the address is not what is compared")
		}
	})
}
