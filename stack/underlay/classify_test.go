//go:build linux

package underlay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// tunnelled returns a message with tunnelled data of a UDP datagram, its header with as many options as given.
func tunnelled(t testing.TB, options int, src, dst uint16, payload []byte) []byte {
	t.Helper()
	b := packet.Get(len(payload))
	defer b.Release()
	copy(b.Extend(len(payload)), payload)
	from, to := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("198.51.100.100")
	packet.PushUDP(b, netip.AddrPortFrom(from, src), netip.AddrPortFrom(to, dst))
	udp := b.Bytes()
	ip := make([]byte, packet.IPv4Len+options, 128)
	ip[0], ip[9] = byte(0x40|len(ip)/4), packet.ProtocolUDP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(udp)))
	return append(append([]byte{4, 4, 0, 0}, ip...), udp...)
}

// verdict runs the program as the kernel does.
func verdict(t testing.TB, s link.Signalling, payload []byte) int {
	t.Helper()
	vm, err := bpf.NewVM(classify(s))
	if err != nil {
		t.Fatal(err)
	}
	place, err := vm.Run(payload)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

// What is signalling on the two ports, for the kernel and for the sender.
func TestClassify(t *testing.T) {
	marked, esp := []byte{0, 0, 0, 0, 1, 2, 3}, []byte{1, 2, 3, 4, 5}
	later := tunnelled(t, 0, 500, 500, esp)
	later[4+7] = 1
	first := tunnelled(t, 0, 500, 500, esp)
	first[4+6] = 0x20
	gre := tunnelled(t, 0, 500, 500, esp)
	gre[1] = packet.ProtocolGRE
	tcp := tunnelled(t, 0, 500, 500, esp)
	tcp[4+9] = packet.ProtocolTCP
	for _, c := range []struct {
		name       string
		s          link.Signalling
		payload    []byte
		signalling bool
	}{
		{"nothing", link.SignallingMobileIP, nil, false},
		{"registration request", link.SignallingMobileIP, []byte{1, 0}, true},
		{"registration reply", link.SignallingMobileIP, []byte{3}, true},
		{"data without a packet", link.SignallingMobileIP, []byte{4, 4, 0, 0}, false},
		{"IKE from the gateway", link.SignallingMobileIP, tunnelled(t, 0, 500, 40000, esp), true},
		{"IKE to the gateway", link.SignallingMobileIP, tunnelled(t, 0, 40000, 500, esp), true},
		{"IKE behind the marker, from the gateway", link.SignallingMobileIP, tunnelled(t, 0, 4500, 40000, marked), true},
		{"IKE behind the marker, to the gateway", link.SignallingMobileIP, tunnelled(t, 0, 40000, 4500, marked), true},
		{"IKE behind options", link.SignallingMobileIP, tunnelled(t, 40, 500, 500, esp), true},
		{"ESP in UDP", link.SignallingMobileIP, tunnelled(t, 0, 4500, 4500, esp), false},
		{"NAT keepalive", link.SignallingMobileIP, tunnelled(t, 0, 4500, 4500, []byte{0xff}), false},
		{"another port", link.SignallingMobileIP, tunnelled(t, 0, 53, 53, marked), false},
		{"a later fragment", link.SignallingMobileIP, later, false},
		{"a first fragment", link.SignallingMobileIP, first, false},
		{"GRE", link.SignallingMobileIP, gre, false},
		{"TCP", link.SignallingMobileIP, tcp, false},
		{"cut off", link.SignallingMobileIP, tunnelled(t, 0, 500, 500, nil)[:4+20+7], false},
		{"IKE", link.SignallingNATTraversal, marked, true},
		{"a marker alone", link.SignallingNATTraversal, marked[:4], true},
		{"ESP", link.SignallingNATTraversal, esp, false},
		{"keepalive", link.SignallingNATTraversal, []byte{0xff}, false},
		{"zeros that are too few", link.SignallingNATTraversal, marked[:3], false},
	} {
		if got := c.s.Is(c.payload); got != c.signalling {
			t.Errorf("%s: signalling %v", c.name, got)
		}
		if got := verdict(t, c.s, c.payload) == placeSignalling; got != c.signalling {
			t.Errorf("%s: the program says signalling %v", c.name, got)
		}
	}
	for s, is := range map[link.Signalling]bool{link.SignallingNone: false, link.SignallingAll: true} {
		if s.Is(nil) != is || s.Is([]byte{4, 4}) != is || classify(s) != nil {
			t.Errorf("a flow that carries one kind only (%d) tells two apart", s)
		}
	}
}

// FuzzClassify: the kernel's program and the sender agree on any octets.
func FuzzClassify(f *testing.F) {
	f.Add([]byte{}, true)
	f.Add([]byte{0, 0, 0, 0}, false)
	f.Add([]byte{1}, true)
	f.Add(tunnelled(f, 0, 500, 500, nil), true)
	f.Add(tunnelled(f, 0, 4500, 1, []byte{0, 0, 0, 0}), true)
	f.Add(tunnelled(f, 40, 1, 4500, []byte{0, 0, 0, 1}), true)
	f.Add(tunnelled(f, 0, 4500, 500, []byte{1}), true)
	f.Fuzz(func(t *testing.T, payload []byte, mobileIP bool) {
		s := link.SignallingNATTraversal
		if mobileIP {
			s = link.SignallingMobileIP
		}
		if got, want := verdict(t, s, payload), s.Is(payload); (got == placeSignalling) != want || got > placeSignalling {
			t.Errorf("the program says %d, the sender signalling %v", got, want)
		}
	})
}

// frameOf is what a filter sees of a frame with the IPv4 packet of a message with tunnelled data.
func frameOf(ip []byte) []byte { return append(make([]byte, ethernetLen), ip...) }

// filtered runs both filters as the kernel does and returns which of the sockets take the frame.
func filtered(t testing.TB, frame []byte) (data, signalling bool) {
	t.Helper()
	took := [2]bool{}
	for i, program := range [][]bpf.Instruction{classifyFrames(0, accepted), classifyFrames(accepted, 0)} {
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		n, err := vm.Run(frame)
		if err != nil {
			t.Fatal(err)
		}
		took[i] = n != 0
	}
	return took[0], took[1]
}

// What is signalling among frames, for the kernel and for the sender. Each frame goes to one of the two sockets.
func TestClassifyFrames(t *testing.T) {
	udp := func(src, dst uint16, payload ...byte) []byte { return tunnelled(t, 0, src, dst, payload)[4:] }
	icmp := func(typ byte) []byte {
		ip := udp(0, 0, 0, 0, 0, 0)
		ip[9], ip[packet.IPv4Len] = packet.ProtocolICMP, typ
		return ip
	}
	fragment := udp(434, 1000, 3, 0, 0, 0)
	fragment[6] = 0x20
	options := tunnelled(t, 40, 434, 1000, []byte{3, 0, 0, 0})[4:]
	for _, c := range []struct {
		name       string
		ip         []byte
		signalling bool
	}{
		{"registration reply", udp(434, 1000, 3, 0, 0, 0), true},
		{"registration request", udp(1000, 434, 1, 0, 0, 0), true},
		{"reply behind options", options, true},
		{"tunnelled data", udp(434, 1000, 4, 4, 0, 0), false},
		{"IKE", udp(500, 500, 1, 2, 3, 4), true},
		{"IKE behind the marker", udp(4500, 1000, 0, 0, 0, 0), true},
		{"ESP", udp(1000, 4500, 1, 2, 3, 4), false},
		{"keepalive", udp(4500, 4500, 0xff), false},
		{"nothing for port 434", udp(434, 434), false},
		{"DNS", udp(1000, 53, 0, 0, 0, 0), false},
		{"agent advertisement", icmp(9), true},
		{"agent solicitation", icmp(10), true},
		{"ping", icmp(8), false},
		{"fragment", fragment, false},
		{"TCP", append(bytes.Clone(udp(500, 500, 1, 2, 3, 4)[:9]), append([]byte{6}, udp(500, 500, 1, 2, 3, 4)[10:]...)...), false},
		{"a piece of a header", udp(500, 500)[:19], false},
		{"a header that is longer than the packet", append([]byte{0x4f}, make([]byte, 23)...), false},
		{"nothing", nil, false},
	} {
		if got := signalsFrame(c.ip); got != c.signalling {
			t.Errorf("%s: signalling %v", c.name, got)
		}
		if data, signalling := filtered(t, frameOf(c.ip)); data == c.signalling || signalling != c.signalling {
			t.Errorf("%s: the filters say data %v, signalling %v", c.name, data, signalling)
		}
	}
}

// FuzzClassifyFrames: whatever the octets, exactly one of the sockets takes the frame, the one that the sender would take.
func FuzzClassifyFrames(f *testing.F) {
	f.Add([]byte{})
	for _, port := range []uint16{434, 500, 4500, 53} {
		f.Add(tunnelled(f, 0, port, 1000, []byte{0, 0, 0, 0})[4:])
		f.Add(tunnelled(f, 40, 1000, port, []byte{4, 0, 0, 0})[4:])
	}
	f.Add(append([]byte{0x4f, 9: 1}, make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, ip []byte) {
		data, signalling := filtered(t, frameOf(ip))
		if want := signalsFrame(ip); signalling != want || data == want {
			t.Errorf("the filters say data %v, signalling %v, the sender signalling %v", data, signalling, want)
		}
	})
}
