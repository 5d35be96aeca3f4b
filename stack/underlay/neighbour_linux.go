package underlay

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

var _ link.NeighbourResolver = (*Host)(nil)

// ResolveNeighbour implements link.NeighbourResolver: the kernel asks for the link-layer address as if a packet were to be
// sent there, and tells of the answer as of any change.
func (h *Host) ResolveNeighbour(index int, neighbour netip.Addr) error {
	err := h.in(func() error {
		return netlink.NeighSet(&netlink.Neigh{
			LinkIndex: index, Family: unix.AF_INET, IP: neighbour.AsSlice(), State: unix.NUD_NONE, Flags: unix.NTF_USE,
		})
	})
	if err != nil {
		return fmt.Errorf("underlay: resolve neighbour %v of interface %d: %w", neighbour, index, err)
	}
	return nil
}
