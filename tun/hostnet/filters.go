package hostnet

import (
	"net/netip"

	"mipvpn/tun/link"
)

// A filter is one rule of the kill switch as the Windows Filtering Platform takes it, for what this host sends. They are made here, on
// every system, so that they are tested on every system; hostnet_windows.go gives them to the system. Of several that match, the
// first in the list decides.
type filter struct {
	name   string
	permit bool
	// six says which version of IP it is for.
	six bool
	// Empty conditions match everything.
	loopback bool           // to this host itself
	device   bool           // through the TUN device
	own      bool           // of this program's file
	protocol uint8          // IP protocol
	ports    []uint16       // remote port
	source   netip.Addr     // local address
	to       []netip.Prefix // remote address
}

const protocolUDP = 17

// filters returns the kill switch of the settings. Packets have no marks there: signalling and ESP of this program are known by its
// file. Nothing permits plaintext, as no filter ends by itself at a time.
func filters(s link.Settings) (list []filter) {
	for _, six := range []bool{false, true} {
		enterprise := of(s.Routes, six)
		if six {
			enterprise = of(s.Blocked, six)
		}
		list = append(list,
			filter{name: "this host itself", permit: true, six: six, loopback: true},
			filter{name: "through the device", permit: true, six: six, device: true})
		if !six {
			for _, a := range homes(s) {
				list = append(list, filter{name: "from a home address", source: a})
			}
		}
		if len(enterprise) > 0 {
			list = append(list,
				filter{name: "signalling and ESP", permit: true, six: six, own: true, protocol: protocolUDP, ports: []uint16{434, 500, 4500}, to: enterprise},
				filter{name: "to the enterprise", six: six, to: enterprise})
		}
		if !s.Full {
			continue
		}
		// IKE and ESP go over TCP where UDP does not pass (RFC 9329), and the names of gateway and agents are asked outside.
		list = append(list, filter{name: "this program's", permit: true, six: six, own: true})
		local, dhcp := link.Local4(), uint16(67)
		if six {
			local, dhcp = link.Local6(), 547
		}
		list = append(list, filter{name: "DHCP", permit: true, six: six, protocol: protocolUDP, ports: []uint16{dhcp}})
		if s.Local {
			list = append(list, filter{name: "to the local network", permit: true, six: six, to: local})
		}
		list = append(list, filter{name: "everything else", six: six})
	}
	return list
}

// of returns the prefixes of one version of IP.
func of(all []netip.Prefix, six bool) (list []netip.Prefix) {
	for _, p := range all {
		if p.Addr().Is6() == six {
			list = append(list, p)
		}
	}
	return list
}
