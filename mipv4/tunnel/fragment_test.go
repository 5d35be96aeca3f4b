package tunnel

import (
	"bytes"
	"testing"

	"mipvpn/tun/packet"
)

// reassemble puts fragments, which must be in order, together again (RFC 791 §3.2) and returns header and payload.
func reassemble(t testing.TB, b *packet.Batch, mtu int) (packet.IPv4, []byte) {
	t.Helper()
	var payload []byte
	for i, p := range b.Bufs {
		ip := packet.IPv4(p.Bytes())
		if !ip.Valid() || !ip.ChecksumOK() || ip.TotalLen() != p.Len() || p.Len() > mtu {
			t.Fatalf("fragment %d of %d octets is wrong: %x", i, p.Len(), ip[:20])
		}
		if ip.FragmentOffset() != len(payload) {
			t.Fatalf("fragment %d has offset %d, want %d", i, ip.FragmentOffset(), len(payload))
		}
		if ip.MoreFragments() != (i < b.Len()-1) {
			t.Fatalf("fragment %d has MF %t", i, ip.MoreFragments())
		}
		payload = append(payload, ip.Payload()...)
	}
	return packet.IPv4(b.Bufs[0].Bytes()), payload
}

// Shows: MIP-7, MIP-12 (RFC 3519 §4.8, RFC 2003 §5.1: fragmentation before encapsulation).
func TestFragment(t *testing.T) {
	payload := make([]byte, 3000)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for _, mtu := range []int{68, 576, 1468, 1480, 3019} {
		p := ipv4(t, fields(), payload)
		p.TOS = 5
		b := packet.GetBatch()
		if r := Fragment(p, mtu, b); r != packet.NotDropped {
			t.Fatalf("mtu %d: %v", mtu, r)
		}
		ip, got := reassemble(t, b, mtu)
		if !bytes.Equal(got, payload) || ip.ID() != 77 || ip.Src() != correspondent || b.Bufs[b.Len()-1].TOS != 5 {
			t.Errorf("mtu %d: payload or header changed", mtu)
		}
		b.Release()
	}
}

func TestFragmentLimits(t *testing.T) {
	f := fields()
	b := packet.GetBatch()
	defer b.Release()
	whole := ipv4(t, f, make([]byte, 100))
	if r := Fragment(whole, 120, b); r != packet.NotDropped || b.Len() != 1 || b.Bufs[0] != whole {
		t.Errorf("a packet that fits: %v, %d packets", r, b.Len())
	}
	f.DontFragment = true
	p := ipv4(t, f, make([]byte, 200))
	if r := Fragment(p, 120, b); r != packet.DropTooBig {
		t.Errorf("DF: %v", r)
	}
	p.Release()
	f.DontFragment = false
	p = ipv4(t, f, make([]byte, 200))
	if r := Fragment(p, 67, b); r != packet.DropTooBig {
		t.Errorf("mtu 67: %v", r)
	}
	p.Bytes()[6], p.Bytes()[7] = 0x1f, 0xff // the last offset: the end would be past 65535
	if r := Fragment(p, 100, b); r != packet.DropMalformed {
		t.Errorf("past the end: %v", r)
	}
	p.Release()
}

// Options with the copied flag go into every fragment, others into the first alone (RFC 791 §3.1).
func TestFragmentOptions(t *testing.T) {
	options := []byte{
		7, 7, 4, 0, 0, 0, 0, // record route, not copied
		0x88, 4, 1, 2, // stream identifier, copied
		0, // end
	}
	payload := make([]byte, 200)
	p := packet.From(payload)
	copy(p.Push(len(options)), options)
	packet.PushIPv4(p, fields())
	ip := packet.IPv4(p.Bytes())
	ip[0] = 0x40 | byte((20+len(options))/4)
	ip[10], ip[11] = 0, 0
	sum := packet.Checksum(ip[:ip.HeaderLen()], 0)
	ip[10], ip[11] = byte(sum>>8), byte(sum)
	b := packet.GetBatch()
	defer b.Release()
	if r := Fragment(p, 100, b); r != packet.NotDropped {
		t.Fatal(r)
	}
	reassemble(t, b, 100)
	if h := packet.IPv4(b.Bufs[0].Bytes()); h.HeaderLen() != 32 || !bytes.Equal(h[20:32], options) {
		t.Errorf("first header %x", h[:h.HeaderLen()])
	}
	for _, f := range b.Bufs[1:] {
		if h := packet.IPv4(f.Bytes()); h.HeaderLen() != 24 || !bytes.Equal(h[20:24], options[7:11]) {
			t.Errorf("later header %x", h[:h.HeaderLen()])
		}
	}
}

func FuzzFragment(f *testing.F) {
	p := packet.From(make([]byte, 1000))
	packet.PushIPv4(p, fields())
	f.Add(append([]byte(nil), p.Bytes()...), 576)
	q := append([]byte(nil), p.Bytes()...)
	q[0] = 0x4f
	f.Add(q, 100)
	q = append([]byte(nil), p.Bytes()...)
	q[6] = 0x20
	f.Add(q, 68)
	f.Fuzz(func(t *testing.T, data []byte, mtu int) {
		if len(data) > 9000 {
			return
		}
		p := packet.From(data)
		b := packet.GetBatch()
		defer b.Release()
		if Fragment(p, mtu, b) != packet.NotDropped {
			p.Release()
			return
		}
		total := 0
		for _, f := range b.Bufs {
			ip := packet.IPv4(f.Bytes())
			if !ip.Valid() || f.Len() > max(mtu, 0) || ip.TotalLen() != f.Len() {
				t.Fatalf("fragment %x at mtu %d", ip, mtu)
			}
			total += len(ip.Payload())
		}
		if ip := packet.IPv4(data); total != len(ip.Payload()) {
			t.Fatalf("%d octets of payload, want %d", total, len(ip.Payload()))
		}
	})
}
