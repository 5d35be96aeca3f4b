package stack

import (
	"fmt"
	"math"
	"testing"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

const (
	// frameOctets is what a packet socket pushes: an Ethernet header (RFC 894) and the virtio-net header before it.
	frameOctets = 14 + 10
	// kernelOctets is what the kernel writes behind a UDP flow of the underlay; an underlay that writes it into the buffer
	// itself must find the room too.
	kernelOctets = packet.IPv4Len + packet.UDPLen
)

// The draft's table of overhead (§6.2) with AES-GCM-16 in place of its cipher, whose maximum happens to be 57 as well:
// IPv4 20, ESP 8, IV 8, padding 3, trailer 2, ICV 16. UDP encapsulation adds 8 to ESP (RFC 3948) and 12 to each Mobile IP
// tunnel (RFC 3519).
const (
	overheadIPIP = 20
	overheadESP  = 20 + 8 + 8 + 3 + 2 + 16
	natESP       = 8
	natMIP       = 12
)

var overheads = map[composition]int{
	{ModeC, false}:   overheadIPIP,
	{ModeC, true}:    overheadIPIP + natMIP,
	{ModeF, false}:   0,
	{ModeVC, false}:  overheadIPIP + overheadESP,
	{ModeVC, true}:   overheadIPIP + natMIP + overheadESP + natESP,
	{ModeVF, false}:  overheadESP,
	{ModeVF, true}:   overheadESP + natESP,
	{ModeCVC, false}: overheadIPIP + overheadESP + overheadIPIP,
	{ModeCVC, true}:  overheadIPIP + natMIP + overheadESP + natESP + overheadIPIP + natMIP,
	{ModeCVF, false}: overheadIPIP + overheadESP,
	{ModeCVF, true}:  overheadIPIP + natMIP + overheadESP + natESP,
	{ModeFVC, false}: overheadIPIP + overheadESP,
	{ModeFVC, true}:  overheadIPIP + natMIP + overheadESP + natESP,
	{ModeFVF, false}: overheadESP,
	{ModeFVF, true}:  overheadESP + natESP,
}

// Shows: MEC-OVH (every cipher in the modes that there are: what a pipeline declares is what the
// longest packet really gets, octet by octet, and what the draft's arithmetic gives)
func TestOverheadOfEveryComposition(t *testing.T) {
	for _, e := range suite.Encryptions() {
		for _, c := range everyComposition() {
			t.Run(fmt.Sprintf("%v/%v", c, e), func(t *testing.T) {
				want, known := overheads[c]
				if !known {
					t.Fatal("no figure for this composition")
				}
				vpn := c.layers().VPN
				if vpn { // the figures are those of the combined-mode ciphers
					want += esp.Overhead(e) - esp.Overhead(suite.AESGCM128)
				}
				l := compose(t, c, e)
				if got := l.pipeline.Overhead(); got != want {
					t.Errorf("declared %d octets, want %d", got, want)
				}
				mtu := memoryMTU - want
				if vpn { // the longest packet, with i-MIP's header and ESP's trailer, needs no padding
					align, inner := max(4, e.Align()), 0
					if !c.layers().GatewayAgent {
						inner += overheadIPIP
						if c.nat {
							inner += natMIP
						}
					}
					text := mtu + inner + align - 1 + 2
					mtu = text - text%align - 2 - inner
				}
				if got := l.pipeline.MTU(); got != mtu {
					t.Errorf("MTU %d, want %d", got, mtu)
				}
				kernel := packet.IPv4Len // the outermost header, which the underlay writes
				if c.nat {
					kernel += packet.UDPLen
				}
				if c.layers().ForeignAgent {
					kernel = 0
				}
				most := 0
				for size := 40; size < 40+16; size++ {
					before := l.wire.octets
					l.send(t, from(home.String(), size), 1)
					most = max(most, (l.wire.octets-before)/batchOf-size+kernel)
				}
				if most != want {
					t.Errorf("a packet got %d octets, want at most %d and at least once so many", most, want)
				}
			})
		}
	}
	if overheads[composition{ModeCVC, true}] != 129 || overheads[composition{ModeCVC, false}] != 97 || overheadESP != 57 ||
		overheads[composition{ModeVF, false}] != 57 || overheads[composition{ModeCVF, false}] != 77 || overheads[composition{ModeFVF, false}] != 57 {
		t.Error("the figures are not those of REQUIREMENTS and of the draft")
	}
}

// A packet as long as the MTU fills the underlay's MTU, and one octet more is refused.
func TestMTUOfEveryComposition(t *testing.T) {
	for _, c := range everyComposition() {
		l := compose(t, c, suite.AESGCM128)
		mtu := l.pipeline.MTU()
		l.send(t, from(home.String(), mtu), 1)
		if l.wire.packets != batchOf {
			t.Errorf("%v: %d of %d packets of %d octets left", c, l.wire.packets, batchOf, mtu)
		}
		l.send(t, from(home.String(), mtu+1), 1)
		if l.wire.packets != batchOf || l.drops.Of(packet.DropTooBig) != batchOf {
			t.Errorf("%v: packets of %d octets left; drops %v", c, mtu+1, l.drops.Snapshot())
		}
	}
}

// Every mode's headers fit into the room in front of a packet, with UDP encapsulation in every layer and what the
// underlay pushes, and every cipher's trailer behind it, also behind the longest packet that a small buffer holds
// (DESIGN §2.3: rooms for the deepest mode).
func TestRoomsFitEveryMode(t *testing.T) {
	front, behind := 0, 0
	for _, e := range suite.Encryptions() {
		for _, c := range everyComposition() {
			l := compose(t, c, e)
			for size := 40; size < 40+16; size++ {
				l.send(t, from(home.String(), size), 1)
				p := from(home.String(), size)
				behind = max(behind, packet.SmallSize+packet.Tailroom-len(p)-l.wire.free)
				l.wire.free = math.MaxInt
			}
			used := packet.Headroom - l.wire.room
			if c.layers().ForeignAgent {
				used += frameOctets
			} else {
				used += kernelOctets
			}
			front = max(front, used)
			if used > packet.Headroom {
				t.Errorf("%v, %v: %d octets in front, room for %d", c, e, used, packet.Headroom)
			}
		}
	}
	// i-MIP 4+8+20, ESP 8+16, UDP 8, IPv4 20, x-MIP 4+8+20 (or the frame's 24). Padding 15, trailer 2, ICV 32.
	if front != 116 || behind != 49 {
		t.Errorf("the deepest mode takes %d octets in front and %d behind, want 116 and 49", front, behind)
	}
	if behind > packet.Tailroom {
		t.Errorf("%d octets behind, room for %d", behind, packet.Tailroom)
	}
}
