package simnet

import (
	"net/netip"
	"time"

	"mipvpn/tun/packet"
)

// AddCafe adds another network like Cafe: behind a NAT of its own, which has the address outside, one of 192.0.2.0/24 that the
// lab does not use, and gives addresses from inside on, whose network's first address is its own. Mappings of nat are as in NATConfig;
// its interfaces and filtering are set here. The BSSID ends in the last octet of outside.
func (l *Lab) AddCafe(name string, outside netip.Addr, inside netip.Prefix, nat NATConfig) (*Wire, *Host) {
	router := inside.Masked().Addr().Next()
	last := outside.As4()[3]
	w := l.NewWire(WireConfig{
		Name: name, Impairment: Impairment{Latency: 2 * time.Millisecond, Jitter: time.Millisecond}, BSSID: packet.HardwareAddr{0x02, 0xb5, 0, 0, 1, last},
		Pool: &AddressPool{First: inside, Gateway: router},
	})
	h := l.NewHost(name + "-nat")
	nat.Outside = h.join(l.Internet, "wan0", netip.PrefixFrom(outside, 24).String(), "192.0.2.1")
	h.join(w, "lan0", netip.PrefixFrom(router, inside.Bits()).String(), "")
	nat.Filtering = AddressAndPortDependent
	h.SetRouter(true)
	h.SetNAT(nat)
	return w, h
}
