//go:build linux

package underlay

import (
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
