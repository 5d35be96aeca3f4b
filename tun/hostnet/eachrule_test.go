//go:build linux

package hostnet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

func ipv4Packet(src, dst netip.Addr) func(string) []byte {
	return func(payload string) []byte { return ipv4(src, dst, 9, 67, payload) }
}

func ipv6Packet(dst netip.Addr) func(string) []byte {
	return func(payload string) []byte { return ipv6(tunnel6.Addr(), dst, datagram6, payload) }
}

// lyingProbe sends a tagged frame that the packet socket calls IPv4, whose header then seems to begin at the tag.
func lyingProbe(src, dst netip.Addr) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(false, "eth0", h.gateHW, unix.ETH_P_IP, 0, []uint16{unix.ETH_P_8021Q, unix.ETH_P_IP}, ipv4(src, dst, 9, 67, payload))
	}
}

// vlanProbe sends a frame on the VLAN's interface.
func vlanProbe(src, dst netip.Addr, sport uint16, mark uint32) sendFunc {
	return func(h *hostile, payload string) error {
		return h.sendFrame(false, "vlan5", h.gateHW, unix.ETH_P_IP, mark, []uint16{unix.ETH_P_IP}, ipv4(src, dst, sport, 67, payload))
	}
}

// later makes an IPv4 packet one that is not the first fragment (RFC 791): octets 800 and on of a datagram.
func later(p []byte) []byte {
	p[7] = 100
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], packet.Checksum(p[:20], 0))
	return p
}

// text4 are octets that are no packet of any protocol.
func text4(payload string) []byte { return append(make([]byte, 46), payload...) }

// inetProbes are judged by the inet table of split tunnels.
var inetProbes = []probe{
	{name: "an application to the enterprise, by option 121", rule: "output: to 10.0.0.0/16: drop", send: udpProbe(enterprise, 0, 0)},
	{
		name: "an application to the enterprise by an IPv4-mapped address", rule: "output: to 10.0.0.0/16: drop",
		send: udpProbe(netip.AddrFrom16(enterprise.As16()), 0, 0),
	},
	{name: "a raw socket from the i-HoA", rule: "output: from 10.0.8.100: drop", send: rawProbe(home, lan)},
	{name: "a raw socket from the x-HoA", rule: "output: from 198.51.100.100: drop", send: rawProbe(ethHome, lan)},
	{name: "a later fragment that looks like DHCP", rule: "output: to 10.0.0.0/16: drop", send: func(h *hostile, payload string) error {
		return h.inside(func() error { return sendRaw(later(ipv4(eth0.Addr(), enterprise, 68, 67, payload))) })
	}},
	{name: "a renewal of a DHCP lease", rule: "output: DHCP to a server: accept", passes: true, send: udpProbe(gate, 68, 0)},
	{name: "signalling to the enterprise", rule: "output: marked as the client's own: accept", passes: true, send: udpProbe(enterprise, 0, protectedMark)},
	{name: "IPv6 that looks like the i-HoA", rule: "output: IPv6: six", passes: true, send: udpFromProbe("", tunnel6.Addr(), lan6, 0, 0)},
	{name: "IPv6 to the enterprise", rule: "six: to fd00:e::/32: drop", also: "output: IPv6: six", send: udpFromProbe("", plain6.Addr(), enterprise6, 0, 0)},
	{name: "signalling by IPv6 to the enterprise", rule: "output: IPv6, marked as protected: accept", passes: true, send: udpFromProbe("", plain6.Addr(), enterprise6, 0, protectedMark)},
	{name: "plaintext by IPv6", rule: "six: marked as plaintext: drop", also: "output: IPv6: six", send: udpFromProbe("", plain6.Addr(), outside6, 0, plaintextMark)},
	{name: "IPv6 elsewhere", rule: "", passes: true, send: udpFromProbe("", plain6.Addr(), outside6, 0, 0)},
	{name: "to this host itself", rule: "output: to this host itself: accept", passes: true, local: true, send: udpProbe(eth0.Addr(), 0, 0)},
	{
		name: "into the device", rule: "output: into the device: accept", passes: true, local: true,
		send: udpFromProbe("mip0", netip.Addr{}, enterprise, 0, 0),
	},
	{name: "a portal's browser to the portal", rule: "portal: named by the set: accept", passes: true, send: udpProbe(portal, 0, portalMark)},
	{name: "a portal's browser elsewhere", rule: "portal: anything else: drop", also: "output: marked as a portal's: portal", send: udpProbe(outside, 0, portalMark)},
	{
		name: "a portal's browser to the enterprise", rule: "portal: to 10.0.0.0/16: drop", also: "output: marked as a portal's: portal",
		send: udpProbe(enterprise, 0, portalMark),
	},
	{
		name: "a portal's browser by IPv6", rule: "portal: anything else: drop", also: "output: marked as a portal's: portal",
		send: udpFromProbe("", portal6.Addr(), outside6, 0, portalMark),
	},
	{
		name: "forwarded to the enterprise", rule: "forward: to 10.0.0.0/16: drop", send: forwardProbe(guestAddr, enterprise, 9),
		benign: benignForwards,
	},
	{
		name: "forwarded from the x-HoA", rule: "forward: from 198.51.100.100: drop", send: forwardProbe(ethHome, lan, 9),
		benign: benignForwards,
	},
	{
		name: "DHCP forwarded to the enterprise", rule: "forward: to 10.0.0.0/16: drop",
		send: forwardProbe(guestAddr, enterprise, 68), benign: benignForwards,
	},
	{
		name: "IPv6 forwarded to the enterprise", rule: "six: to fd00:e::/32: drop", also: "forward: IPv6: six",
		send: forward6Probe(enterprise6), benign: benignForwards,
	},
}

// netdevProbes are judged by the netdev table of split tunnels.
var netdevProbes = []probe{
	{name: "a frame to the enterprise", rule: "judge: to 10.0.0.0/16: drop", send: frameProbe(eth0.Addr(), enterprise, 9, unix.ETH_P_IP, 0)},
	{name: "a frame from the i-HoA", rule: "judge: from 10.0.8.100: drop", send: frameProbe(home, lan, 9, unix.ETH_P_IP, 0)},
	{name: "a frame from the x-HoA", rule: "judge: from 198.51.100.100: drop", send: frameProbe(ethHome, lan, 9, unix.ETH_P_IP, 0)},
	{
		name: "a frame that is called ARP", rule: "judge: to 10.0.0.0/16: drop", also: "frame: IPv4 by Ethernet type: judge",
		send: frameProbe(eth0.Addr(), enterprise, 9, unix.ETH_P_ARP, 0),
	},
	{
		name: "an interface without a link layer", rule: "judge: to 10.0.0.0/16: drop", also: "frame: IPv4 by protocol: judge",
		send: udpProbe(netip.MustParseAddr("10.0.1.77"), 0, 0), where: onTun9,
		benign: []sendFunc{udpProbe(netip.MustParseAddr("192.0.2.77"), 0, 0)},
	},
	{
		name: "a frame with a later fragment that looks like DHCP", rule: "judge: to 10.0.0.0/16: drop",
		send: typedProbe(0, func(payload string) []byte { return later(ipv4(eth0.Addr(), enterprise, 68, 67, payload)) }, unix.ETH_P_IP),
	},
	{name: "DHCP in a frame", rule: "judge: DHCP to a server: accept", passes: true, send: frameProbe(eth0.Addr(), gate, 68, unix.ETH_P_IP, 0)},
	{name: "a protected frame", rule: "judge: marked as protected: accept", passes: true, send: frameProbe(home, enterprise, 9, unix.ETH_P_IP, protectedMark)},
	{name: "a protected frame elsewhere", rule: "", passes: true, send: frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, protectedMark)},
	unpermitted,
	{
		name: "a frame with IPv6 to the enterprise", rule: "judge6: to fd00:e::/32: drop",
		send: frame6Probe(enterprise6, unix.ETH_P_IPV6, 0, datagram6),
	},
	{
		name: "a protected frame with IPv6 to the enterprise", rule: "judge6: marked as protected: accept", passes: true,
		send: frame6Probe(enterprise6, unix.ETH_P_IPV6, protectedMark, datagram6),
	},
	{
		name: "a frame with IPv6 in the clear", rule: "judge6: marked as plaintext: drop",
		send: frame6Probe(outside6, unix.ETH_P_IPV6, plaintextMark, datagram6),
	},
	{
		name: "a frame with IPv6 that is called ARP", rule: "judge6: to fd00:e::/32: drop", also: "frame: IPv6 by Ethernet type: judge6",
		send: frame6Probe(enterprise6, unix.ETH_P_ARP, 0, datagram6),
	},
	{
		name: "IPv6 on an interface without a link layer", rule: "judge6: to fd00:e::/32: drop", also: "frame: IPv6 by protocol: judge6",
		send: udpFromProbe("", tunnel6.Addr(), netip.MustParseAddr("fd00:e::77"), 0, 0), where: onTun9,
		benign: []sendFunc{udpFromProbe("", tunnel6.Addr(), netip.MustParseAddr("2001:db8::77"), 0, 0)},
	},
	{name: "a portal's browser to the portal", rule: "judge: marked as a portal's, named by the set: accept", passes: true, send: udpProbe(portal, 0, portalMark)},
	{name: "a portal's browser elsewhere", rule: "judge: marked as a portal's: drop", send: udpProbe(lan, 0, portalMark)},
	{name: "a portal's browser to the enterprise", rule: "judge: to 10.0.0.0/16: drop", send: udpProbe(enterprise, 0, portalMark)},
	{
		name: "a portal's later fragment", rule: "judge: marked as a portal's: drop",
		send: typedProbe(portalMark, func(payload string) []byte { return later(ipv4(lan, portal, 68, 67, payload)) }, unix.ETH_P_IP),
	},
	{
		name: "a tagged frame to the enterprise", rule: "tagged: to 10.0.0.0/16: drop", also: "frame: tagged for a VLAN: tagged",
		send: typedProbe(0, ipv4Packet(eth0.Addr(), enterprise), unix.ETH_P_8021Q, unix.ETH_P_IP),
	},
	{
		name: "a tagged frame from the i-HoA", rule: "tagged: from 10.0.8.100: drop", also: "frame: tagged for a VLAN: tagged",
		send: typedProbe(0, ipv4Packet(home, lan), unix.ETH_P_8021Q, unix.ETH_P_IP),
	},
	{
		name: "a frame from the x-HoA, tagged by a provider", rule: "tagged: from 198.51.100.100: drop", also: "frame: tagged for a provider's VLAN: tagged",
		send: typedProbe(0, ipv4Packet(ethHome, lan), unix.ETH_P_8021AD, unix.ETH_P_IP),
	},
	{
		name: "a tagged frame with IPv6 to the enterprise", rule: "tagged: to fd00:e::/32: drop", also: "frame: tagged for a VLAN: tagged",
		send: typedProbe(0, ipv6Packet(enterprise6), unix.ETH_P_8021Q, unix.ETH_P_IPV6),
	},
	{
		name: "a tagged frame that is protected", rule: "tagged: marked as the client's own: accept", passes: true,
		send: typedProbe(protectedMark, ipv4Packet(eth0.Addr(), enterprise), unix.ETH_P_8021Q, unix.ETH_P_IP),
	},
	{
		name: "to this host itself", rule: "egress: to this host itself: accept", passes: true, where: onLo,
		send: udpProbe(eth0.Addr(), 0, 0), benign: []sendFunc{udpProbe(netip.MustParseAddr("127.0.0.1"), 0, 0)},
	},
	{
		name: "into the device", rule: "egress: into the device: accept", passes: true, where: onMip0,
		send:   udpFromProbe("mip0", netip.Addr{}, enterprise, 0, 0),
		benign: []sendFunc{udpFromProbe("mip0", eth0.Addr(), outside, 0, 0)},
	},
}

// unpermitted is plaintext without a permit for eth0.
var unpermitted = probe{
	name: "plaintext without a permit, to anywhere", rule: "judge: marked as plaintext: drop",
	send: frameProbe(eth0.Addr(), lan, 9, unix.ETH_P_IP, plaintextMark),
}

// permitted is judged by the netdev table when there is a permit for eth0.
var permitted = probe{
	name: "plaintext with a permit", rule: "judge: marked as plaintext, with a permit: accept", passes: true,
	send: frameProbe(home, enterprise, 9, unix.ETH_P_IP, plaintextMark),
}

// attachments are what IPv6 takes to be attached to a network, and what looks like it.
var attachments = []struct {
	name, rule string
	passes     bool
	kind       kind6
	dst        string // empty for outside6
}{
	{"a router solicitation", "router solicitation: accept", true, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 133}, ""},
	{"a neighbour solicitation", "neighbour discovery: accept", true, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 135}, ""},
	{"a neighbour advertisement", "neighbour discovery: accept", true, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 136}, ""},
	{"a group's report, version 1", "multicast listener report, version 1: accept", true, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 1, icmp: 131}, "ff05::9"},
	{"a group's report", "multicast listener report: accept", true, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 1, icmp: 143}, "ff05::9"},
	{"DHCPv6", "DHCPv6 to a server: accept", true, kind6{protocol: packet.ProtocolUDP, hops: 64, sport: 546, dport: 547}, ""},
	{"a neighbour solicitation from afar", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 64, icmp: 135}, ""},
	{"a group's report to one", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 1, icmp: 143}, ""},
	{"a group's report to afar", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 9, icmp: 143}, "ff05::9"},
	{"a router advertisement", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 134}, ""},
	{"a redirect", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 137}, ""},
	{"an echo request", "anything else", false, kind6{protocol: unix.IPPROTO_ICMPV6, hops: 255, icmp: 128}, ""},
	{"IPv6", "anything else", false, datagram6, ""},
}

// neighbours4 are addresses of the local network, one for each prefix of local4.
var neighbours4 = []string{"10.9.9.9", "172.20.0.9", "192.168.9.9", "169.254.9.9", "224.0.0.251", "239.255.255.250", "255.255.255.255"}

// localInet and localNetdev are the two tables' probes in a full tunnel with the exception for the local network.
var localInet, localNetdev = func() (inet, netdev []probe) {
	inet = []probe{
		{name: "an application to the enterprise, which the network claims", rule: "output: to 10.0.0.0/16: drop", send: udpProbe(enterprise, 0, 0)},
		{name: "an application elsewhere", rule: "output: anything else: drop", send: udpProbe(outside, 0, 0)},
		{name: "a raw socket from the i-HoA", rule: "output: from 10.0.8.100: drop", send: rawProbe(home, lan)},
		{name: "a raw socket from the x-HoA", rule: "output: from 198.51.100.100: drop", send: rawProbe(ethHome, lan)},
		{name: "a renewal of a DHCP lease", rule: "output: DHCP to a server: accept", passes: true, send: udpProbe(gate, 68, 0)},
		{name: "signalling", rule: "output: marked as the client's own: accept", passes: true, send: udpProbe(outside, 0, protectedMark)},
		{name: "to this host itself", rule: "output: to this host itself: accept", passes: true, local: true, send: udpProbe(eth0.Addr(), 0, 0)},
		{name: "into the device", rule: "output: into the device: accept", passes: true, local: true, send: udpFromProbe("mip0", netip.Addr{}, enterprise, 0, 0)},
		{name: "a portal's browser to the portal", rule: "portal: named by the set: accept", also: "output: marked as a portal's: none", passes: true, send: udpProbe(portal, 0, portalMark)},
		{name: "a portal's browser to its neighbour", rule: "portal: anything else: drop", also: "output: marked as a portal's: portal", send: udpProbe(lan, 0, portalMark)},
		{
			name: "a portal's browser to the enterprise", rule: "portal: to 10.0.0.0/16: drop", also: "output: marked as a portal's: portal",
			send: udpProbe(enterprise, 0, portalMark),
		},
		{name: "a portal's browser by IPv6", rule: "portal: anything else: drop", send: udpFromProbe("", portal6.Addr(), outside6, 0, portalMark)},
		{name: "signalling by IPv6", rule: "output: IPv6, marked as protected: accept", passes: true, send: udpFromProbe("", plain6.Addr(), outside6, 0, protectedMark)},
		{name: "plaintext by IPv6 to a neighbour", rule: "six: marked as plaintext: drop", also: "output: IPv6: six", send: udpFromProbe("", plain6.Addr(), lan6, 0, plaintextMark)},
		{name: "IPv6 to the enterprise, which the network claims", rule: "six: to fd00:e::/32: drop", send: udpFromProbe("", plain6.Addr(), enterprise6, 0, 0)},
		{name: "forwarded to the enterprise", rule: "forward: to 10.0.0.0/16: drop", send: forwardProbe(guestAddr, enterprise, 9), benign: benignForwards},
		{name: "forwarded elsewhere", rule: "forward: anything else: drop", send: forwardProbe(guestAddr, outside, 9), benign: benignForwards},
		{name: "forwarded from the x-HoA", rule: "forward: from 198.51.100.100: drop", send: forwardProbe(ethHome, lan, 9), benign: benignForwards},
		{name: "IPv6 forwarded to a neighbour", rule: "six: to the local network, fc00::/7: accept", also: "forward: IPv6: six", passes: true, send: forward6Probe(lan6), benign: benignForwards},
	}
	netdev = []probe{
		{name: "a frame to the enterprise, which the network claims", rule: "judge: to 10.0.0.0/16: drop", send: frameProbe(eth0.Addr(), enterprise, 9, unix.ETH_P_IP, 0)},
		{name: "a frame elsewhere", rule: "judge: anything else: drop", send: frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, 0)},
		{name: "a frame from the i-HoA", rule: "judge: from 10.0.8.100: drop", send: frameProbe(home, lan, 9, unix.ETH_P_IP, 0)},
		{name: "a frame from the x-HoA", rule: "judge: from 198.51.100.100: drop", send: frameProbe(ethHome, lan, 9, unix.ETH_P_IP, 0)},
		{name: "a frame to a neighbour that is called ARP", rule: "frame: IPv4 by Ethernet type: judge", also: "judge: to the local network, 172.16.0.0/12: accept", passes: true, send: frameProbe(eth0.Addr(), lan, 9, unix.ETH_P_ARP, 0)},
		{name: "DHCP in a frame", rule: "judge: DHCP to a server: accept", passes: true, send: frameProbe(eth0.Addr(), gate, 68, unix.ETH_P_IP, 0)},
		{name: "a protected frame", rule: "judge: marked as protected: accept", passes: true, send: frameProbe(home, enterprise, 9, unix.ETH_P_IP, protectedMark)},
		unpermitted,
		{name: "a portal's browser to the portal", rule: "judge: marked as a portal's, named by the set: accept", passes: true, send: udpProbe(portal, 0, portalMark)},
		{name: "a portal's browser to its neighbour", rule: "judge: marked as a portal's: drop", send: udpProbe(lan, 0, portalMark)},
		{
			name: "a frame with IPv6 to the enterprise, which the network claims", rule: "judge6: to fd00:e::/32: drop",
			send: frame6Probe(enterprise6, unix.ETH_P_IPV6, 0, datagram6),
		},
		{name: "a protected frame with IPv6", rule: "judge6: marked as protected: accept", passes: true, send: frame6Probe(outside6, unix.ETH_P_IPV6, protectedMark, datagram6)},
		{name: "a frame with IPv6 in the clear to a neighbour", rule: "judge6: marked as plaintext: drop", send: frame6Probe(lan6, unix.ETH_P_IPV6, plaintextMark, datagram6)},
		{name: "a frame with IPv6 to a neighbour that is called ARP", rule: "frame: IPv6 by Ethernet type: judge6", also: "judge6: to the local network, fc00::/7: accept", passes: true, send: frame6Probe(lan6, unix.ETH_P_ARP, 0, datagram6)},
		{
			name: "a frame with a later fragment that looks like DHCP", rule: "judge: anything else: drop",
			send: typedProbe(0, func(payload string) []byte { return later(ipv4(eth0.Addr(), outside, 68, 67, payload)) }, unix.ETH_P_IP),
		},
		{name: "a tagged frame that lies, to the enterprise", rule: "tagged: to 10.0.0.0/16: drop", also: "frame: tagged for a VLAN: tagged", send: lyingProbe(lan, enterprise)},
		{name: "a frame to a neighbour in a VLAN", rule: "tagged: IPv4, tagged by the interface: judge", passes: true, vlan: true, send: vlanProbe(eth0.Addr(), netip.MustParseAddr("192.168.9.9"), 9, 0)},
		{name: "DHCP in a VLAN", rule: "judge: DHCP to a server: accept", also: "tagged: IPv4, tagged by the interface: judge", passes: true, vlan: true, send: vlanProbe(eth0.Addr(), outside, 68, 0)},
		{name: "something else", rule: "frame: anything else: drop", send: typedProbe(0, text4, 0x88b5)},
		{name: "something else in a tagged frame", rule: "tagged: anything else: drop", send: typedProbe(0, text4, unix.ETH_P_8021Q, 0x88b5)},
		{
			name: "a tagged frame that is protected", rule: "tagged: marked as the client's own: accept", also: "frame: tagged for a VLAN: tagged", passes: true,
			send: typedProbe(protectedMark, ipv4Packet(eth0.Addr(), enterprise), unix.ETH_P_8021Q, unix.ETH_P_IP),
		},
		{
			name: "a frame that is protected, tagged by a provider", rule: "tagged: marked as the client's own: accept", also: "frame: tagged for a provider's VLAN: tagged", passes: true,
			send: typedProbe(protectedMark, ipv4Packet(eth0.Addr(), enterprise), unix.ETH_P_8021AD, unix.ETH_P_IP),
		},
		{
			name: "to this host itself", rule: "egress: to this host itself: accept", passes: true, where: onLo,
			send: udpProbe(eth0.Addr(), 0, 0), benign: []sendFunc{udpProbe(netip.MustParseAddr("127.0.0.1"), 0, protectedMark)},
		},
		{
			name: "into the device", rule: "egress: into the device: accept", passes: true, where: onMip0,
			send:   udpFromProbe("mip0", netip.Addr{}, enterprise, 0, 0),
			benign: []sendFunc{udpFromProbe("mip0", eth0.Addr(), outside, 0, protectedMark)},
		},
	}
	for i, p := range local4 {
		dst := netip.MustParseAddr(neighbours4[i])
		name, text := fmt.Sprintf("to %v", dst), fmt.Sprintf("to the local network, %v: accept", p)
		inet = append(inet, probe{name: "an application " + name, rule: "output: " + text, passes: true, send: udpFromProbe("eth0", netip.Addr{}, dst, 0, 0)})
		netdev = append(netdev, probe{name: "a frame " + name, rule: "judge: " + text, passes: true, send: frameProbe(eth0.Addr(), dst, 9, unix.ETH_P_IP, 0)})
	}
	for _, n := range []struct{ dst, prefix string }{{"fe80::9", "fe80::/10"}, {lan6.String(), "fc00::/7"}, {"ff02::fb", "ff02::/16"}} {
		dst, text := netip.MustParseAddr(n.dst), fmt.Sprintf("to the local network, %s: accept", n.prefix)
		inet = append(inet, probe{name: "IPv6 to " + n.dst, rule: "six: " + text, also: "output: IPv6: six", passes: true, send: socket6Probe(dst, datagram6)})
		netdev = append(netdev, probe{name: "a frame with IPv6 to " + n.dst, rule: "judge6: " + text, passes: true, send: frame6Probe(dst, unix.ETH_P_IPV6, 0, datagram6)})
	}
	for _, a := range attachments {
		in, out := probe{name: a.name, rule: "six: " + a.rule, passes: a.passes}, probe{name: a.name + " in a frame", rule: "judge6: " + a.rule, passes: a.passes}
		if a.passes {
			in.also = "output: IPv6: six"
		} else {
			in.rule, out.rule = in.rule+": drop", out.rule+": drop"
		}
		dst := outside6
		if a.dst != "" {
			dst = netip.MustParseAddr(a.dst)
		}
		in.send, out.send = socket6Probe(dst, a.kind), frame6Probe(dst, unix.ETH_P_IPV6, 0, a.kind)
		inet, netdev = append(inet, in), append(netdev, out)
	}
	for _, a := range attachmentTypes {
		netdev = append(netdev,
			probe{name: a.name, rule: "frame: " + a.name + ": accept", passes: true, send: typedProbe(0, text4, a.number)},
			probe{name: a.name + ", tagged", rule: "tagged: " + a.name + ": accept", also: "frame: tagged for a VLAN: tagged", passes: true, send: typedProbe(0, text4, unix.ETH_P_8021Q, a.number)},
		)
	}
	return inet, netdev
}()

// Shows: HST-1, HST-2, DET-4 (packet sockets, raw sockets, applications, forwarding, option 121, IPv6, VLAN tags, portals, with
// each half of the kill switch alone, in split and full tunnels; and each rule is needed: without it the packets that it is
// about fare the other way, and no others)
func TestKillSwitchEachRule(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	inet, netdev := h.network.inetTable(), h.network.netdevTable()
	// Rules that are shown elsewhere.
	twice := []string{
		"forward: into the device: accept",  // as output's
		"forward: from 10.0.8.100: drop",    // the kernel itself takes no packet from its own address
		"frame: IPv4 by protocol: judge",    // of full tunnels: nothing else passes where there is no link layer
		"frame: IPv6 by protocol: judge6",   // likewise
		"tagged: from 10.0.8.100: drop",     // of full tunnels: only frames that lie about themselves and ...
		"tagged: from 198.51.100.100: drop", // ... about what seems to be their destination need it
		"tagged: to fd00:e::/32: drop",      // likewise
		"tagged: IPv6, tagged by the interface: judge6",
	}
	if !h.vlan {
		twice = append(twice, "tagged: IPv4, tagged by the interface: judge")
	}
	for _, half := range []struct {
		name         string
		settings     link.Settings
		table, other *nftables.Table
		probes       []probe
	}{
		{"split, inet", lined, inet, netdev, inetProbes},
		{"split, netdev", lined, netdev, inet, append(slices.Clone(netdevProbes), permitted)},
		{"full, inet", local, inet, netdev, localInet},
		{"full, netdev", local, netdev, inet, append(slices.Clone(localNetdev), permitted)},
	} {
		set := func() {
			t.Helper()
			apply(t, h.ns, h.network, half.settings)
			if half.table == netdev {
				h.permit(time.Hour)
			}
			h.permitPortal()
			h.edit(func(c *nftables.Conn) error { c.DelTable(half.other); return nil })
		}
		// A permit for eth0 would let the one probe pass that is about having none.
		probes := slices.DeleteFunc(slices.Clone(half.probes), func(p probe) bool { return p.name == unpermitted.name || p.vlan && !h.vlan })
		set()
		h.check(half.name, probes, "")
		for text := range h.rules(half.table) {
			tried := probes
			shown := slices.ContainsFunc(probes, func(p probe) bool { return p.decidedBy(text) })
			if !shown && text != unpermitted.rule {
				if !slices.Contains(twice, text) && !strings.HasPrefix(text, "forward: to the local network") {
					t.Errorf("%s: no packet shows that the rule %q is needed", half.name, text)
				}
				continue
			}
			set()
			if text == unpermitted.rule {
				netnstest.Inside(t, h.ns, func() error { return h.network.Forbid(h.eth0) })
				tried = append(slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return p.name == permitted.name }), unpermitted)
				h.check(half.name+", without a permit", tried, "")
			}
			r := h.rules(half.table)[text]
			h.edit(func(c *nftables.Conn) error { return c.DelRule(r) })
			h.check(half.name+", without the rule "+text, tried, text)
		}
	}
	// Both halves gone: every packet passes, so the probes above were stopped by nothing else.
	apply(t, h.ns, h.network, local)
	h.edit(func(c *nftables.Conn) error { c.DelTable(inet); c.DelTable(netdev); return nil })
	for _, p := range slices.Concat(inetProbes, netdevProbes, localInet, localNetdev) {
		if (!p.vlan || h.vlan) && !h.passed(p) {
			t.Errorf("without the kill switch: %s does not pass", p.name)
		}
	}
}

// Shows: HST-1, HST-2 (a full tunnel without the exception: nothing leaves but what is marked and what attaches)
func TestFullTunnelLetsNothingElseOut(t *testing.T) {
	h := newHostile(t)
	h.openMip0()
	apply(t, h.ns, h.network, whole)
	signalling := []sendFunc{frameProbe(eth0.Addr(), outside, 9, unix.ETH_P_IP, protectedMark)}
	for _, p := range slices.Concat(localInet, localNetdev) {
		if strings.Contains(p.rule, "to the local network") || strings.Contains(p.name, "to a neighbour") {
			p.passes = false
		}
		if p.where != nil || p.local || p.vlan || p.rule == "portal: named by the set: accept" || strings.HasPrefix(p.rule, "judge: marked as a portal's, named") {
			continue
		}
		if p.benign == nil {
			p.benign = signalling
		} else {
			p.benign = append(slices.Clone(p.benign), signalling...)
		}
		h.check("full tunnel", []probe{p}, "")
	}
}
