package packet

import "net/netip"

// GroupHardware returns the link-layer address that packets to a group or to all on a link are sent to: that of the IPv4 group
// (RFC 1112 §6.4), and the broadcast address for any other dst.
func GroupHardware(dst netip.Addr) HardwareAddr {
	if !dst.IsMulticast() {
		return HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	}
	a := dst.As4()
	return HardwareAddr{0x01, 0x00, 0x5e, a[1] & 0x7f, a[2], a[3]}
}
