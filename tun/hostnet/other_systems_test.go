package hostnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mipvpn/tun/link"
)

// A laptop's settings, in a split and in a full tunnel.
func splitSettings() link.Settings {
	return link.Settings{
		Device: "utun5", Address: netip.MustParseAddr("10.0.8.100"), MTU: 1380, KillSwitch: true,
		Routes:   []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		Blocked:  []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		Shielded: []netip.Addr{netip.MustParseAddr("10.0.8.100")},
	}
}

func fullSettings() link.Settings {
	s := splitSettings()
	s.Full, s.Local = true, true
	return s
}

// The kill switch of darwin: the enterprise's traffic and the home address leave by the device alone, but for this program's
// signalling and ESP; in a full tunnel nothing else leaves either.
func TestPFRules(t *testing.T) {
	split := `table <enterprise> { 10.0.0.0/16, 2001:db8::/32 }
pass quick on lo0 all no state
pass quick on utun5 all no state
block drop out quick inet from 10.0.8.100 to any
block drop in quick inet from any to 10.0.8.100
pass out quick proto udp from any to <enterprise> port { 434, 500, 4500 } user root no state
block drop out quick from any to <enterprise>
`
	full := `table <enterprise> { 10.0.0.0/16, 2001:db8::/32 }
pass quick on lo0 all no state
pass quick on utun5 all no state
block drop out quick inet from 10.0.8.100 to any
block drop in quick inet from any to 10.0.8.100
pass out quick proto udp from any to <enterprise> port { 434, 500, 4500 } user root no state
block drop out quick from any to <enterprise>
pass out quick proto { tcp, udp } from any to any port { 53, 434, 500, 4500 } user root no state
pass out quick inet proto udp from any port 68 to any port 67 no state
pass out quick inet6 proto udp from any port 546 to any port 547 no state
pass out quick inet6 proto icmp6 from any to fe80::/10 no state
pass out quick inet6 proto icmp6 from any to ff02::/16 no state
pass out quick inet from any to { 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 224.0.0.0/24, 239.255.255.250/32, 255.255.255.255/32 } no state
pass out quick inet6 from any to { fe80::/10, fc00::/7, ff02::/16 } no state
block drop out quick all
`
	if d := cmp.Diff(split, pfRules(splitSettings(), "utun5")); d != "" {
		t.Error(d)
	}
	if c := pfLoad(split); c.String() != "/sbin/pfctl -q -a com.apple/250.mipvpn -f -" || c.input != split {
		t.Error(c, c.input)
	}
	if d := cmp.Diff(full, pfRules(fullSettings(), "utun5")); d != "" {
		t.Error(d)
	}
	// Before there is a device nothing leaves by one.
	if rules := pfRules(splitSettings(), ""); strings.Contains(rules, "utun") || !strings.Contains(rules, "block drop out quick from any to <enterprise>") {
		t.Error(rules)
	}
}

// Each change of the settings is the commands that make the difference, and none when nothing differs.
func TestDarwinCommands(t *testing.T) {
	texts := func(before, after link.Settings) (list []string) {
		for _, c := range darwinCommands(before, after) {
			list = append(list, c.String())
		}
		return list
	}
	wider := splitSettings()
	wider.Routes = append(wider.Routes, netip.MustParsePrefix("172.16.0.0/12"))
	wider.MTU = 1400
	other := splitSettings()
	other.Address = netip.MustParseAddr("10.0.8.101")
	for _, test := range []struct {
		name          string
		before, after link.Settings
		want          []string
	}{
		{"first", link.Settings{}, splitSettings(), []string{
			"/sbin/ifconfig utun5 inet 10.0.8.100 10.0.8.100 netmask 255.255.255.255 alias",
			"/sbin/ifconfig utun5 mtu 1380 up",
			"/sbin/route -q -n add -inet -net 10.0.0.0/16 -interface utun5",
		}},
		{"again", splitSettings(), splitSettings(), nil},
		{"full", splitSettings(), fullSettings(), []string{
			"/sbin/route -q -n add -inet -net 0.0.0.0/1 -interface utun5",
			"/sbin/route -q -n add -inet -net 128.0.0.0/1 -interface utun5",
		}},
		{"wider", splitSettings(), wider, []string{
			"/sbin/ifconfig utun5 mtu 1400 up",
			"/sbin/route -q -n add -inet -net 172.16.0.0/12 -interface utun5",
		}},
		{"other address", splitSettings(), other, []string{
			"/sbin/ifconfig utun5 inet 10.0.8.100 delete",
			"/sbin/ifconfig utun5 inet 10.0.8.101 10.0.8.101 netmask 255.255.255.255 alias",
		}},
		{"last", splitSettings(), link.Settings{}, []string{
			"/sbin/route -q -n delete -inet -net 10.0.0.0/16 -interface utun5",
			"/sbin/ifconfig utun5 inet 10.0.8.100 delete",
		}},
	} {
		if d := cmp.Diff(test.want, texts(test.before, test.after)); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

// filtered says what the filters do with a packet: the first that matches decides, and what matches none passes.
func filtered(list []filter, p filter, to netip.Addr, port uint16) string {
	for _, f := range list {
		within := len(f.to) == 0
		for _, prefix := range f.to {
			within = within || prefix.Contains(to)
		}
		known := len(f.ports) == 0
		for _, q := range f.ports {
			known = known || q == port
		}
		if f.six != to.Is6() || f.loopback && !p.loopback || f.device && !p.device || f.own && !p.own ||
			f.protocol != 0 && f.protocol != p.protocol || f.source.IsValid() && f.source != p.source || !within || !known {
			continue
		}
		return fmt.Sprint(f.permit, " ", f.name)
	}
	return "true nothing"
}

// The kill switch of Windows, packet by packet.
func TestFilters(t *testing.T) {
	home, company, world, world6, company6 := splitSettings().Address, netip.MustParseAddr("10.0.1.10"), netip.MustParseAddr("192.0.2.1"),
		netip.MustParseAddr("2001:db9::1"), netip.MustParseAddr("2001:db8::1")
	own := filter{own: true, protocol: protocolUDP}
	for _, test := range []struct {
		name        string
		packet      filter
		to          netip.Addr
		port        uint16
		split, full string
	}{
		{"through the device", filter{device: true, source: home}, company, 443, "true through the device", "true through the device"},
		{"past the device", filter{}, company, 443, "false to the enterprise", "false to the enterprise"},
		{"from the home address", filter{source: home}, world, 443, "false from a home address", "false from a home address"},
		{"a registration", own, company, 434, "true signalling and ESP", "true signalling and ESP"},
		{"a registration with an agent in the world", own, world, 434, "true nothing", "true this program's"},
		{"another program's", filter{protocol: protocolUDP}, company, 434, "false to the enterprise", "false to the enterprise"},
		{"own, another port", own, company, 53, "false to the enterprise", "false to the enterprise"},
		{"the gateway over TCP", filter{own: true, protocol: 6}, world, 4500, "true nothing", "true this program's"},
		{"another program's to the gateway", filter{protocol: protocolUDP}, world, 4500, "true nothing", "false everything else"},
		{"the world", filter{}, world, 443, "true nothing", "false everything else"},
		{"the world by IPv6", filter{}, world6, 443, "true nothing", "false everything else"},
		{"the enterprise by IPv6", filter{}, company6, 443, "false to the enterprise", "false to the enterprise"},
		{"DHCP", filter{protocol: protocolUDP}, netip.MustParseAddr("192.0.2.254"), 67, "true nothing", "true DHCP"},
		{"the printer", filter{}, netip.MustParseAddr("192.168.1.9"), 631, "true nothing", "true to the local network"},
		{"loopback", filter{loopback: true}, company, 80, "true this host itself", "true this host itself"},
	} {
		if got := filtered(filters(splitSettings()), test.packet, test.to, test.port); got != test.split {
			t.Errorf("split, %s: %s, want %s", test.name, got, test.split)
		}
		if got := filtered(filters(fullSettings()), test.packet, test.to, test.port); got != test.full {
			t.Errorf("full, %s: %s, want %s", test.name, got, test.full)
		}
	}
}
