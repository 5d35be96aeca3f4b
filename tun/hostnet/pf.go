package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mipvpn/tun/link"
)

// What darwin is told: rules for its packet filter (pf.conf(5)) and commands of ifconfig(8), route(8) and pfctl(8). They are made
// here, on every system, so that they are tested on every system; hostnet_darwin.go gives them to the system.

// pfAnchor is where the kill switch stands in darwin's packet filter: a place that the system's own main rules name
// (anchor "com.apple/*" in /etc/pf.conf), so that these are left as they are.
const pfAnchor = "com.apple/250.mipvpn"

// pfRules returns the kill switch of the settings as rules of that anchor. device is the TUN device, empty while there is none.
// Packets have no marks in pf: signalling and ESP of this program are known by the superuser's sockets and their ports. Nothing
// permits plaintext, as no rule of pf ends by itself at a time.
func pfRules(s link.Settings, device string) string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	enterprise := slices.Concat(prefixTexts(s.Routes), prefixTexts(s.Blocked))
	if len(enterprise) > 0 {
		line("table <enterprise> { %s }", strings.Join(enterprise, ", "))
	}
	line("pass quick on lo0 all no state")
	if device != "" {
		line("pass quick on %s all no state", device)
	}
	for _, a := range homes(s) {
		line("block drop out quick inet from %s to any", a)
		line("block drop in quick inet from any to %s", a)
	}
	if len(enterprise) > 0 {
		line("pass out quick proto udp from any to <enterprise> port { 434, 500, 4500 } user root no state")
		line("block drop out quick from any to <enterprise>")
	}
	if !s.Full {
		return b.String()
	}
	// IKE and ESP go over TCP where UDP does not pass (RFC 9329), and the names of gateway and agents are asked outside.
	line("pass out quick proto { tcp, udp } from any to any port { 53, 434, 500, 4500 } user root no state")
	line("pass out quick inet proto udp from any port 68 to any port 67 no state")
	line("pass out quick inet6 proto udp from any port 546 to any port 547 no state")
	line("pass out quick inet6 proto icmp6 from any to fe80::/10 no state")
	line("pass out quick inet6 proto icmp6 from any to ff02::/16 no state")
	if s.Local {
		line("pass out quick inet from any to { %s } no state", strings.Join(prefixTexts(link.Local4()), ", "))
		line("pass out quick inet6 from any to { %s } no state", strings.Join(prefixTexts(link.Local6()), ", "))
	}
	line("block drop out quick all")
	return b.String()
}

// homes are the addresses that nothing but the device may bear.
func homes(s link.Settings) []netip.Addr {
	list := slices.Clone(s.Shielded)
	if s.Address.IsValid() {
		list = append(list, s.Address)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}

func prefixTexts(list []netip.Prefix) []string {
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}

// command is a program with its arguments and what it is given to read.
type command struct {
	path  string
	args  []string
	input string
}

// String writes the command as one would type it.
func (c command) String() string { return c.path + " " + strings.Join(c.args, " ") }

// pfLoad returns what replaces the rules of the anchor, in one transaction of pfctl.
func pfLoad(rules string) command {
	return command{path: "/sbin/pfctl", args: []string{"-q", "-a", pfAnchor, "-f", "-"}, input: rules}
}

func run(path string, args ...string) command { return command{path: path, args: args} }

// darwinCommands returns what takes darwin's addresses and routes from one state to the next.
func darwinCommands(before, after link.Settings) (list []command) {
	gone := func(p netip.Prefix) bool { return after.Device != before.Device || !slices.Contains(into(after), p) }
	for _, p := range into(before) {
		if before.Device != "" && gone(p) {
			list = append(list, run("/sbin/route", "-q", "-n", "delete", "-inet", "-net", p.String(), "-interface", before.Device))
		}
	}
	same := after.Device == before.Device && after.Address == before.Address
	if before.Device != "" && before.Address.IsValid() && !same {
		list = append(list, run("/sbin/ifconfig", before.Device, "inet", before.Address.String(), "delete"))
	}
	if after.Device == "" {
		return list
	}
	if after.Address.IsValid() && !same {
		a := after.Address.String()
		list = append(list, run("/sbin/ifconfig", after.Device, "inet", a, a, "netmask", "255.255.255.255", "alias"))
	}
	if after.Device != before.Device || after.MTU != before.MTU {
		list = append(list, run("/sbin/ifconfig", after.Device, "mtu", fmt.Sprint(after.MTU), "up"))
	}
	for _, p := range into(after) {
		if after.Device != before.Device || !slices.Contains(into(before), p) {
			list = append(list, run("/sbin/route", "-q", "-n", "add", "-inet", "-net", p.String(), "-interface", after.Device))
		}
	}
	return list
}

// into are the prefixes that are led into the device. Everything is two halves, each of which comes before a default route.
func into(s link.Settings) []netip.Prefix {
	list := s.Routes
	if s.Full {
		list = append(slices.Clone(list), netip.MustParsePrefix("0.0.0.0/1"), netip.MustParsePrefix("128.0.0.0/1"))
	}
	return sorted(list)
}
