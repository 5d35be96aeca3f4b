package linkmon

import (
	"net/netip"
	"slices"
	"testing"

	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// Shows: DET-2 (what a change of connection status is)
func TestCompare(t *testing.T) {
	base := link.Interface{
		Index: 3, Name: "wlan0", MTU: 1500, Up: true, Wireless: true, Hardware: packet.HardwareAddr{2, 1},
		Address: netip.MustParsePrefix("192.168.1.50/24"), Gateway: netip.MustParseAddr("192.168.1.1"),
		GatewayHardware: packet.HardwareAddr{2, 2}, BSSID: packet.HardwareAddr{2, 3},
	}
	other := link.Interface{Index: 2, Name: "eth0", MTU: 1500}
	with := func(change func(*link.Interface)) []link.Interface {
		i := base
		change(&i)
		return []link.Interface{other, i}
	}
	same := with(func(*link.Interface) {})
	unresolved := with(func(i *link.Interface) { i.GatewayHardware, i.BSSID = packet.HardwareAddr{}, packet.HardwareAddr{} })
	for _, test := range []struct {
		name          string
		before, after []link.Interface
		want          []Change
	}{
		{"nothing", same, same, nil},
		{"nothing at all", nil, nil, nil},
		{"gateway and access point become known", unresolved, same, nil},
		{"gateway and access point forgotten", same, unresolved, nil},
		{"carrier lost", same, with(func(i *link.Interface) { i.Up = false }), []Change{{3, "wlan0", "carrier down"}}},
		{"unplugged and plugged in again between the snapshots", same, with(func(i *link.Interface) { i.CarrierChanges = 2 }),
			[]Change{{3, "wlan0", "carrier flapped"}}},
		{"unplugged, plugged in and unplugged", same, with(func(i *link.Interface) { i.Up, i.CarrierChanges = false, 3 }),
			[]Change{{3, "wlan0", "carrier down"}}},
		{"plugged in and unplugged between the snapshots", with(func(i *link.Interface) { i.Up = false }),
			with(func(i *link.Interface) { i.Up, i.CarrierChanges = false, 2 }), nil},
		{"carrier and address", with(func(i *link.Interface) { i.Up, i.Address, i.Gateway = false, netip.Prefix{}, netip.Addr{} }), same,
			[]Change{{3, "wlan0", "carrier up, address 192.168.1.50/24, gateway 192.168.1.1"}}},
		{"address gone", same, with(func(i *link.Interface) { i.Address, i.Gateway = netip.Prefix{}, netip.Addr{} }),
			[]Change{{3, "wlan0", "address 192.168.1.50/24 gone, gateway 192.168.1.1 gone"}}},
		{"other prefix length", same, with(func(i *link.Interface) { i.Address = netip.MustParsePrefix("192.168.1.50/16") }),
			[]Change{{3, "wlan0", "address 192.168.1.50/16, was 192.168.1.50/24"}}},
		{"same numbers, another network", same, with(func(i *link.Interface) { i.GatewayHardware = packet.HardwareAddr{2, 9} }),
			[]Change{{3, "wlan0", "gateway at 02:09:00:00:00:00, was at 02:02:00:00:00:00"}}},
		{"another gateway", same, with(func(i *link.Interface) { i.Gateway = netip.MustParseAddr("192.168.1.2") }),
			[]Change{{3, "wlan0", "gateway 192.168.1.2, was 192.168.1.1"}}},
		{"roamed", same, with(func(i *link.Interface) { i.BSSID = packet.HardwareAddr{2, 8} }),
			[]Change{{3, "wlan0", "access point 02:08:00:00:00:00, was 02:03:00:00:00:00"}}},
		{"new hardware address", same, with(func(i *link.Interface) { i.Hardware = packet.HardwareAddr{2, 7} }),
			[]Change{{3, "wlan0", "hardware address 02:07:00:00:00:00, was 02:01:00:00:00:00"}}},
		{"MTU", same, with(func(i *link.Interface) { i.MTU = 1280 }), []Change{{3, "wlan0", "MTU 1280, was 1500"}}},
		{"renamed", same, with(func(i *link.Interface) { i.Name, i.Wireless = "wifi", false }),
			[]Change{{3, "wifi", "wireless false, was true, name wifi, was wlan0"}}},
		{"unplugged and plugged", []link.Interface{other}, []link.Interface{base},
			[]Change{{2, "eth0", "interface vanished"}, {3, "wlan0", "interface appeared"}}},
		{"all new", nil, same, []Change{{2, "eth0", "interface appeared"}, {3, "wlan0", "interface appeared"}}},
	} {
		if got := Compare(test.before, test.after); !slices.Equal(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}
