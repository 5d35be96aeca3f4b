package packet_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"mipvpn/tun/device/virtio"
	"mipvpn/tun/packet"
)

// changes are what may be different about one packet of a train. Each changes the packet's fields, or what came of them.
var changes = []struct {
	name   string
	fields func(*superpacket)
	octets func([]byte)
}{
	{"nothing", func(*superpacket) {}, nil},
	{"TOS", func(s *superpacket) { s.ip.tos++ }, nil},
	{"DF", func(s *superpacket) { s.ip.df = !s.ip.df }, nil},
	{"TTL", func(s *superpacket) { s.ip.ttl-- }, nil},
	{"source", func(s *superpacket) { s.ip.src[3]++ }, nil},
	{"destination", func(s *superpacket) { s.ip.dst[0]++ }, nil},
	{"source port", func(s *superpacket) { s.tcpHead.src++; s.udpHead.src++ }, nil},
	{"destination port", func(s *superpacket) { s.tcpHead.dst++; s.udpHead.dst++ }, nil},
	{"sequence", func(s *superpacket) { s.tcpHead.seq++ }, nil},
	{"acknowledgement", func(s *superpacket) { s.tcpHead.ack++ }, nil},
	{"window", func(s *superpacket) { s.tcpHead.window++ }, nil},
	{"urgent pointer", func(s *superpacket) { s.tcpHead.urgent++ }, nil},
	{"reserved bits", func(s *superpacket) { s.tcpHead.reserved++ }, nil},
	{"FIN", func(s *superpacket) { s.tcpHead.flags |= 0x01 }, nil},
	{"SYN", func(s *superpacket) { s.tcpHead.flags |= 0x02 }, nil},
	{"RST", func(s *superpacket) { s.tcpHead.flags |= 0x04 }, nil},
	{"PSH", func(s *superpacket) { s.tcpHead.flags |= 0x08 }, nil},
	{"no ACK", func(s *superpacket) { s.tcpHead.flags &^= 0x10 }, nil},
	{"URG", func(s *superpacket) { s.tcpHead.flags |= 0x20 }, nil},
	{"ECE", func(s *superpacket) { s.tcpHead.flags |= 0x40 }, nil},
	{"CWR", func(s *superpacket) { s.tcpHead.flags |= 0x80 }, nil},
	{"timestamps", func(s *superpacket) {
		if n := len(s.tcpHead.options); n > 0 {
			s.tcpHead.options[n-1]++
		}
	}, nil},
	{"an option more", func(s *superpacket) { s.tcpHead.options = append(s.tcpHead.options, 1, 1, 1, 1) }, nil},
	{"an IPv4 option", func(s *superpacket) { s.ip.options = []byte{1, 1, 1, 0} }, nil},
	{"shorter", func(s *superpacket) { s.payload = s.payload[:(len(s.payload)+1)/2] }, nil},
	{"longer", func(s *superpacket) { s.payload = append(s.payload, 7) }, nil},
	{"no payload", func(s *superpacket) { s.payload = nil }, nil},
	{"no checksum", func(s *superpacket) { s.udpHead.unsummed = true }, nil},
	{"the other protocol", func(s *superpacket) { s.tcp = !s.tcp; s.ip.protocol ^= 6 ^ 17 }, nil},
	{"ICMP", nil, func(p []byte) { p[9] = 1; copy(p, withID(p, 5)) }},
	{"a fragment", nil, func(p []byte) { p[6] |= 0x20; copy(p, withID(p, 5)) }},
	{"a later fragment", nil, func(p []byte) { p[7] = 9; copy(p, withID(p, 5)) }},
	{"a wrong sum of the payload", nil, func(p []byte) { p[len(p)-1] ^= 0x40 }},
	{"a wrong sum of the header", nil, func(p []byte) { p[10] ^= 1 }},
	{"a total length that lies", nil, func(p []byte) { p[3]--; copy(p, withID(p, 5)) }},
}

// train returns packets that follow each other, and one change to each as the script has it; 0 is none.
func train(tcp bool, size int, seed uint64, script []byte) [][]byte {
	rng := rand.New(rand.NewPCG(seed, 5))
	s := newSuperpacket(tcp, uint16(size), 1, 0x10, 3, 0, uint16(rng.Uint32()), true, uint8(bare), seed)
	s.size = size
	var all [][]byte
	for _, octet := range script {
		c := changes[int(octet)%len(changes)]
		one := *s
		one.size = packet.LargeSize
		one.payload = make([]byte, size)
		for i := range one.payload {
			one.payload[i] = byte(rng.Uint32())
		}
		one.tcpHead.options = bytes.Clone(s.tcpHead.options)
		if c.fields != nil {
			c.fields(&one)
		}
		var p []byte
		switch {
		case len(one.payload) > 0:
			p = one.segments()[0]
		case one.tcp:
			p = one.ip.bytes(one.tcpHead.bytes(one.ip, nil))
		default:
			p = one.ip.bytes(one.udpHead.bytes(one.ip, nil))
		}
		if c.octets != nil {
			c.octets(p)
		}
		all = append(all, p)
		s.tcpHead.seq += uint32(len(one.payload))
		s.ip.id++
	}
	return all
}

// judgeTrain joins packets of any kind: what is made of them must be, cut by the plain splitter, the packets again, and what
// is not joined must be as it was.
func judgeTrain(t *testing.T, want [][]byte, udp bool) (joined int) {
	t.Helper()
	bufs := make([]*packet.Buf, len(want))
	for i, p := range want {
		bufs[i] = packet.From(p)
	}
	for at := 0; at < len(bufs); {
		n, h := virtio.Join(bufs[at:], udp)
		if n < 1 || at+n > len(bufs) {
			t.Fatalf("%d packets of %d joined", n, len(bufs)-at)
		}
		if n == 1 {
			differ(t, "left alone", at, bufs[at].Bytes(), want[at])
			at++
			continue
		}
		if want[at][9] == packet.ProtocolUDP && !udp {
			t.Fatal("datagrams were joined though they may not be")
		}
		joined += n
		for i, p := range want[at : at+n] {
			if plainSum(p[:int(p[0]&0x0f)*4]) != 0 {
				t.Fatalf("packet %d, whose IPv4 checksum is wrong, was joined", at+i)
			}
		}
		whole := bytes.Clone(bufs[at].Bytes())
		for i, b := range bufs[at+1 : at+n] {
			differ(t, "tail", at+1+i, b.Bytes(), want[at+1+i]) // only the first may be changed
			whole = append(whole, b.Bytes()[h.HdrLen:]...)
		}
		again := plainSplit(t, h, whole)
		if len(again) != n {
			t.Fatalf("%d packets were joined to what stands for %d", n, len(again))
		}
		for i, p := range again {
			differ(t, "joined and cut", at+i, p, withID(want[at+i], binary.BigEndian.Uint16(want[at][4:])+uint16(i)))
		}
		at += n
	}
	for _, b := range bufs {
		b.Release()
	}
	return joined
}

// TestTrain puts each change into the middle of a train, at its beginning and its end, and all over it.
func TestTrain(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		for i, c := range changes {
			for at := range 7 {
				script := make([]byte, 7)
				script[at] = byte(i)
				packets := train(tcp, 100, uint64(i), script)
				if n := judgeTrain(t, packets, true); n == 0 {
					t.Errorf("TCP %t: nothing was joined of a train with %s at %d", tcp, c.name, at)
				} else if i == 0 && n != 7 {
					t.Errorf("TCP %t: %d packets of 7 joined that differ in nothing", tcp, n)
				}
				judgeTrain(t, packets, false)
			}
			judgeTrain(t, train(tcp, 100, uint64(i), bytes.Repeat([]byte{byte(i)}, 7)), true)
		}
	}
}

// FuzzTrain joins trains with changes anywhere.
func FuzzTrain(f *testing.F) {
	f.Add(true, uint16(1000), uint64(1), make([]byte, 70))
	f.Add(false, uint16(1200), uint64(2), make([]byte, 70))
	f.Add(true, uint16(1), uint64(3), []byte{0, 0, 24, 0, 0, 2, 2, 0, 25, 25, 0})
	f.Add(false, uint16(30), uint64(4), []byte{0, 0, 24, 0, 0, 2, 2, 0, 25, 25, 0, 27, 27, 28, 28, 28})
	f.Fuzz(func(t *testing.T, tcp bool, size uint16, seed uint64, script []byte) {
		n := int(size)%2000 + 1
		judgeTrain(t, train(tcp, n, seed, script[:min(len(script), 200)]), seed%2 == 0)
	})
}
