package dns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// OwnLink is a link of this program's own, named link.ResolverName, with the Forwarder's address as one of its: nothing
// leaves by it. It is there for systemd-resolved alone, which keeps settings for links, and outlives the process, as the settings
// then do. It is of the kernel's kind "dummy", and where there is none the end of a veth pair. It belongs to the network
// namespace of the calling thread.
type OwnLink struct{}

var _ Anchor = OwnLink{}

// noAddress is IN6_ADDR_GEN_MODE_NONE of the kernel's interface: no link-local IPv6 address.
const noAddress = 1

// kinds are those that the link may be of.
var kinds = []string{"dummy", "veth"}

// Make implements Anchor.
func (OwnLink) Make(server netip.Addr) (index int, err error) {
	l, err := netlink.LinkByName(link.ResolverName)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		if err = add(); err != nil {
			return 0, fmt.Errorf("make %s: %w", link.ResolverName, err)
		}
		l, err = netlink.LinkByName(link.ResolverName)
	}
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", link.ResolverName, err)
	}
	if !slices.Contains(kinds, l.Type()) {
		return 0, fmt.Errorf("interface %s is of kind %s, expected one of %v: it is not ours; rename it", link.ResolverName, l.Type(), kinds)
	}
	// systemd-resolved uses links that are up and have an address of a scope wider than the link.
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: server.AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: unix.RT_SCOPE_UNIVERSE}
	if err := netlink.AddrReplace(l, addr); err != nil {
		return 0, fmt.Errorf("give %s the address %v: %w", link.ResolverName, server, err)
	}
	if err := keepOnly(l, server); err != nil {
		return 0, err
	}
	ends := []netlink.Link{l}
	if peer, err := netlink.LinkByName(link.ResolverPeer); err == nil && l.Type() == "veth" {
		ends = append(ends, peer)
	}
	for _, end := range ends {
		_ = netlink.LinkSetIP6AddrGenMode(end, noAddress) // a kernel without IPv6 has none to give
		if err := netlink.LinkSetUp(end); err != nil {
			return 0, fmt.Errorf("take %s up: %w", end.Attrs().Name, err)
		}
	}
	return l.Attrs().Index, nil
}

// keepOnly takes IPv4 addresses off the link that the Forwarder had before.
func keepOnly(l netlink.Link, server netip.Addr) error {
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", link.ResolverName, err)
	}
	for _, a := range list {
		if old, ok := netip.AddrFromSlice(a.IP); ok && old.Unmap() != server {
			if err := netlink.AddrDel(l, &a); err != nil {
				return fmt.Errorf("take the address %v off %s: %w", old, link.ResolverName, err)
			}
		}
	}
	return nil
}

// add makes the link.
func add() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = link.ResolverName
	err := netlink.LinkAdd(&netlink.Dummy{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: link.ResolverPeer})
	}
	return err
}

// Find implements Anchor.
func (OwnLink) Find() (index int, err error) {
	l, err := netlink.LinkByName(link.ResolverName)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return 0, nil
	}
	if err != nil || !slices.Contains(kinds, l.Type()) {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// Remove implements Anchor.
func (d OwnLink) Remove() error {
	index, err := d.Find()
	if err != nil || index == 0 {
		return err
	}
	l, err := netlink.LinkByIndex(index)
	if err != nil {
		return err
	}
	return netlink.LinkDel(l)
}
