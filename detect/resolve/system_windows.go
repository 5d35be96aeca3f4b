package resolve

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/windows"

	"mipvpn/tun/link"
)

// SystemServers reads the name servers of interfaces by the IP helper API. It has not been run on a real machine.
type SystemServers struct {
	// Own are servers of this program's own, which are never returned.
	Own []netip.Addr
}

var _ Servers = (*SystemServers)(nil)

// Servers implements the interface.
func (s *SystemServers) Servers(_ context.Context, i link.Interface) ([]netip.Addr, error) {
	const flags = windows.GAA_FLAG_SKIP_UNICAST | windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST
	for size := uint32(16 << 10); ; {
		room := make([]uint64, (size+7)/8) // aligned for the structures in it
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&room[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, first, &size)
		switch {
		case errors.Is(err, windows.ERROR_BUFFER_OVERFLOW):
			continue
		case err != nil:
			return nil, fmt.Errorf("resolve: list interfaces: %w", err)
		}
		var list []netip.Addr
		for a := first; a != nil; a = a.Next {
			if int(a.IfIndex) != i.Index {
				continue
			}
			for d := a.FirstDnsServerAddress; d != nil; d = d.Next {
				if ip, ok := netip.AddrFromSlice(d.Address.IP()); ok {
					list = append(list, ip.Unmap())
				}
			}
		}
		return usable(list, s.Own), nil
	}
}

// NewSystemServers returns a source that leaves out one server of this program's own. There is no resolv.conf here.
func NewSystemServers(own netip.Addr, _ func() ([]byte, error)) *SystemServers {
	return &SystemServers{Own: []netip.Addr{own}}
}
