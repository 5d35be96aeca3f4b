package esp

import (
	"bytes"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Shows: IKE-9 (TFC padding). Packets shorter than configured leave with the same length, all of them come out as they were, longer
// ones are as without; with each cipher, from small buffers and from ones without room.
func TestTFCPadding(t *testing.T) {
	for _, e := range suite.Encryptions() {
		var drops packet.Drops
		po, pi := parameters(e, true)
		po.TFC = 600
		o, err := NewOutbound(po, &drops)
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		length := 0
		for _, n := range []int{0, 1, 17, 579, 580, 700, 1300} {
			p := ping(client, server, n)
			p.TOS = 3 << 2
			want := bytes.Clone(p.Bytes())
			sealed := seal(o, p)
			if sealed == nil {
				t.Fatalf("%v: %d octets are dropped: %v", e, n, drops.Snapshot())
			}
			if n <= 580 {
				if length == 0 {
					length = sealed.Len()
				}
				if sealed.Len() != length {
					t.Errorf("%v: %d octets leave as %d, others as %d", e, n, sealed.Len(), length)
				}
			} else if sealed.Len() <= length {
				t.Errorf("%v: %d octets leave as %d", e, n, sealed.Len())
			}
			if r := in.Open(sealed); r != packet.NotDropped || !bytes.Equal(sealed.Bytes(), want) {
				t.Errorf("%v: %d octets come out as %x (%v)", e, n, sealed.Bytes(), r)
			}
			sealed.Release()
		}
		if u := o.Usage(); u.Packets != 7 || u.Bytes != 20*7+1+17+579+580+700+1300 {
			t.Errorf("%v: usage %+v", e, u)
		}
	}
}

// Shows: IKE-9 (dummy packets). A dummy packet is as long as a packet with that much inside, and is dropped unread, once.
func TestDummy(t *testing.T) {
	for _, e := range suite.Encryptions() {
		var drops packet.Drops
		o, in := pair(t, e, false, &drops)
		for _, n := range []int{0, 1, 100, 1400} {
			d := o.Dummy(n + 20)
			real := seal(o, ping(client, server, n))
			if d.Len() != real.Len() {
				t.Errorf("%v: %d octets as a dummy packet have %d, as a packet %d", e, n, d.Len(), real.Len())
			}
			again := packet.From(d.Bytes())
			if r := in.Open(d); r != packet.DropDummy {
				t.Errorf("%v: a dummy packet: %v", e, r)
			}
			if r := in.Open(again); r != packet.DropReplayed {
				t.Errorf("%v: the same once more: %v", e, r)
			}
			if r := in.Open(real); r != packet.NotDropped {
				t.Error(r)
			}
			for _, p := range []*packet.Buf{d, again, real} {
				p.Release()
			}
		}
		o.sequence.Store(o.limits.hard.Packets)
		if p := o.Dummy(10); p != nil {
			t.Errorf("%v: a dummy packet past the end", e)
		}
	}
}

// With padding the segments of a superpacket leave padded too, and come out as they are.
func TestTFCPaddingOfSuperpackets(t *testing.T) {
	for i, f := range forms {
		var drops packet.Drops
		po, pi := parameters(suite.AESGCM256, true)
		po.TFC = 900
		o, err := NewOutbound(po, &drops)
		if err != nil {
			t.Fatal(err)
		}
		in, err := NewInbound(pi)
		if err != nil {
			t.Fatal(err)
		}
		want, got := packet.One(superpacket(t, f, uint64(i))), packet.One(superpacket(t, f, uint64(i)))
		want.Cut()
		o.Apply(got)
		if got.Len() != want.Len() {
			t.Fatalf("form %d: %d packets leave, want %d: %v", i, got.Len(), want.Len(), drops.Snapshot())
		}
		least := o.Dummy(900)
		for j, p := range got.Bufs {
			if p.Len() < least.Len() {
				t.Errorf("form %d: a packet leaves with %d octets, want %d at least", i, p.Len(), least.Len())
			}
			p.TOS = 0
			if r := in.Open(p); r != packet.NotDropped || !bytes.Equal(p.Bytes(), want.Bufs[j].Bytes()) {
				t.Fatalf("form %d: packet %d comes out as %x (%v)", i, j, p.Bytes(), r)
			}
		}
		least.Release()
		got.Release()
		want.Release()
	}
}
