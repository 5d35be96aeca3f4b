package stack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"mipvpn/tun/packet"
)

var correspondent = netip.MustParseAddr("10.0.1.20")

// tcp returns an IPv4 packet of a TCP segment with the flags, the octets of options and data given. The options are as long
// as the header says they are; ipOptions go into the IPv4 header.
func tcp(flags uint8, ipOptions, options, data []byte) packet.IPv4 {
	p := make(packet.IPv4, packet.IPv4Len, 200)
	p.Encode(packet.IPv4Fields{TTL: 64, DontFragment: true, Protocol: packet.ProtocolTCP, Src: home, Dst: correspondent}, packet.IPv4Len)
	p = append(p, ipOptions...)
	p[0] = 0x40 | byte(len(p)/4)
	at := len(p)
	t := make([]byte, tcpHeaderLen)
	binary.BigEndian.PutUint16(t[0:], 40000)
	binary.BigEndian.PutUint16(t[2:], 443)
	t[12], t[13] = byte((tcpHeaderLen+len(options))/4)<<4, flags
	p = append(append(append(p, t...), options...), data...)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], 0)
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:at], 0))
	binary.BigEndian.PutUint16(p[at+16:], packet.TransportChecksum(p[at:], home, correspondent, packet.ProtocolTCP))
	return p
}

// intact reports whether the TCP checksum is right.
func intact(p packet.IPv4) bool {
	return packet.TransportChecksum(p.Payload(), p.Src(), p.Dst(), packet.ProtocolTCP) == 0
}

// Shows: HST-4 (the MSS option of SYN and SYN-ACK is lowered to the path MTU less 40 octets, never raised, whatever else
// stands in both headers, and nothing else is touched)
func TestClampMSS(t *testing.T) {
	const syn, ack = 0x02, 0x10
	mss := func(n uint16) []byte { return []byte{2, 4, byte(n >> 8), byte(n)} }
	usual := func(n uint16) []byte { // as Linux sends them: MSS, SACK permitted, timestamps, no operation, window scale
		return slices.Concat(mss(n), []byte{4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7})
	}
	for _, c := range []struct {
		name    string
		packet  packet.IPv4
		mtu     int
		at      int // offset of the option in the TCP header
		want    uint16
		changed bool
	}{
		{"SYN", tcp(syn, nil, usual(1460), nil), 1380, 20, 1340, true},
		{"SYN-ACK", tcp(syn|ack, nil, usual(1460), nil), 1380, 20, 1340, true},
		{"as small as need be", tcp(syn, nil, usual(1340), nil), 1380, 20, 1340, false},
		{"smaller", tcp(syn, nil, usual(536), nil), 1380, 20, 536, false},
		{"no SYN", tcp(ack, nil, usual(1460), nil), 1380, 20, 1460, false},
		{"with data", tcp(syn, nil, usual(1460), []byte("fast open")), 1280, 20, 1240, true},
		{"IPv4 options", tcp(syn, []byte{0x94, 4, 0, 0}, usual(9000), nil), 1280, 20, 1240, true},
		{"at an odd offset", tcp(syn, nil, slices.Concat([]byte{1}, mss(1460), []byte{1, 1, 1}), nil), 1283, 21, 1243, true},
		{"at an odd offset with data of odd length", tcp(syn, nil, slices.Concat([]byte{1, 1, 1}, mss(0xfffe), []byte{0}), []byte("abc")), 1283, 23, 1243, true},
		{"behind an unknown option", tcp(syn, nil, slices.Concat([]byte{254, 4, 1, 2}, mss(1460)), nil), 1380, 24, 1340, true},
		{"behind the end of the list", tcp(syn, nil, slices.Concat([]byte{0, 0, 0, 0}, mss(1460)), nil), 1380, 24, 1460, false},
		{"behind a length of 0", tcp(syn, nil, slices.Concat([]byte{9, 0, 0, 0}, mss(1460)), nil), 1380, 24, 1460, false},
		{"behind a length that is too long", tcp(syn, nil, slices.Concat([]byte{9, 9, 0, 0}, mss(1460)), nil), 1380, 24, 1460, false},
		{"of a wrong length", tcp(syn, nil, []byte{2, 3, 5, 0xb4}, nil), 1380, 20, 0x05b4, false},
		{"an MTU under IPv4's least", tcp(syn, nil, mss(1460), nil), 1, 20, 28, true},
		{"of zero", tcp(syn, nil, mss(0), nil), 1380, 20, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := bytes.Clone(c.packet)
			if got := ClampMSS(c.packet, c.mtu); got != c.changed {
				t.Errorf("changed %t, want %t", got, c.changed)
			}
			option := c.packet.HeaderLen() + c.at
			if got := binary.BigEndian.Uint16(c.packet[option+2:]); got != c.want {
				t.Errorf("MSS %d, want %d", got, c.want)
			}
			if !intact(c.packet) || !c.packet.ChecksumOK() {
				t.Error("a checksum is wrong")
			}
			sum := c.packet.HeaderLen() + 16
			for i := range before {
				if field := i == option+2 || i == option+3 || i == sum || i == sum+1; !field && before[i] != c.packet[i] {
					t.Errorf("octet %d was changed", i)
				}
			}
			if ClampMSS(c.packet, c.mtu) {
				t.Error("changed again")
			}
		})
	}
}

func TestClampMSSLeavesAlone(t *testing.T) {
	options := []byte{2, 4, 0x23, 0x28}
	later := tcp(2, nil, options, nil)
	binary.BigEndian.PutUint16(later[6:], 100)
	udp := tcp(2, nil, options, nil)
	udp[9] = packet.ProtocolUDP
	short := tcp(2, nil, options, nil)[:packet.IPv4Len+tcpHeaderLen-1]
	binary.BigEndian.PutUint16(short[2:], uint16(len(short)))
	cutOff := tcp(2, nil, options, nil)
	cutOff[packet.IPv4Len+12] = 0xf0 // a header of 60 octets, of which 24 are there
	for name, p := range map[string]packet.IPv4{"a later fragment": later, "UDP": udp, "half a header": short, "a header that is cut off": cutOff} {
		before := bytes.Clone(p)
		if ClampMSS(p, 1280) || !bytes.Equal(before, p) {
			t.Errorf("%s was changed", name)
		}
	}
	both := tcp(2, nil, slices.Concat(options, options), nil)
	if !ClampMSS(both, 1280) || !intact(both) || binary.BigEndian.Uint16(both[42:]) != 1240 || binary.BigEndian.Uint16(both[46:]) != 1240 {
		t.Errorf("of two options one is left: %x", []byte(both))
	}
}

// Whatever the packet, nothing but MSS values and the checksum change, the values only downwards, and a checksum that was
// right stays right.
func FuzzClampMSS(f *testing.F) {
	f.Add([]byte(tcp(2, nil, []byte{2, 4, 0x05, 0xb4, 1, 1, 1, 0}, nil)), uint16(1380))
	f.Add([]byte(tcp(0x12, []byte{0x94, 4, 0, 0}, []byte{1, 2, 4, 0xff, 0xff, 1, 1, 0}, []byte("x"))), uint16(576))
	f.Add([]byte(tcp(2, nil, []byte{9, 0, 2, 4}, nil)), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, mtu uint16) {
		p := packet.IPv4(bytes.Clone(data))
		if !p.Valid() {
			return
		}
		right := p.Protocol() == packet.ProtocolTCP && len(p.Payload()) >= tcpHeaderLen && intact(p)
		changed := ClampMSS(p, int(mtu))
		if !changed {
			if !bytes.Equal(p, data) {
				t.Fatal("changed without saying so")
			}
			return
		}
		if right && !intact(p) {
			t.Fatalf("the checksum became wrong: %x to %x", data, []byte(p))
		}
		h := p.HeaderLen()
		for i := range p {
			if p[i] != data[i] && (i < h+16 || i == h+18 || i == h+19 || i >= h+60) {
				t.Fatalf("octet %d of %x was changed", i, data)
			}
		}
		if ClampMSS(p, int(mtu)) {
			t.Fatal("changed again")
		}
	})
}

func TestClampMSSDoesNotAllocate(t *testing.T) {
	p := tcp(2, nil, []byte{2, 4, 0x05, 0xb4}, nil)
	if n := testing.AllocsPerRun(100, func() {
		binary.BigEndian.PutUint16(p[42:], 1460)
		ClampMSS(p, 1380)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What a packet costs that is a SYN, and one that is not.
func BenchmarkClampMSS(b *testing.B) {
	for _, flags := range []uint8{0x02, 0x10} {
		b.Run(fmt.Sprintf("flags=%#02x", flags), func(b *testing.B) {
			b.ReportAllocs()
			p := tcp(flags, nil, []byte{2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}, nil)
			for range b.N {
				binary.BigEndian.PutUint16(p[42:], 1460)
				ClampMSS(p, 1380)
			}
		})
	}
}
