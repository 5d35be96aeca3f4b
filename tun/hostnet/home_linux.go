package hostnet

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetHomeDevice names the device that RouteHome leads home addresses into, so that Apply has them looked up also where the
// Settings route nothing. It holds from the next Apply on. An empty name takes all of them away.
func (n *Network) SetHomeDevice(device string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for home := range n.homes {
		errs = append(errs, n.unrouteHome(home))
	}
	n.homeDevice, n.homes = device, nil
	return wrap(errors.Join(errs...))
}

// RouteHome leads what this host forwards or sends to home into the home device, past any route to the network that home is in,
// as Settings.Routes do: one route more, whatever the number of them. Apply keeps it; the zero Settings take it away.
func (n *Network) RouteHome(home netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	r, err := n.homeRoute(home)
	if err != nil {
		return wrap(err)
	}
	if err := netlink.RouteReplace(&r); err != nil {
		return fmt.Errorf("hostnet: add route to home address %v: %w", home, err)
	}
	if n.homes == nil {
		n.homes = make(map[netip.Addr]bool)
	}
	n.homes[home] = true
	return nil
}

// UnrouteHome undoes RouteHome. Addresses that are not routed so change nothing.
func (n *Network) UnrouteHome(home netip.Addr) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return wrap(n.unrouteHome(home))
}

func (n *Network) unrouteHome(home netip.Addr) error {
	if !n.homes[home] {
		return nil
	}
	delete(n.homes, home)
	r, err := n.homeRoute(home)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) { // and its routes with it
		return nil
	}
	if err != nil {
		return err
	}
	if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route to home address %v: %w", home, err)
	}
	return nil
}

// homeRoute returns the route for a home address.
func (n *Network) homeRoute(home netip.Addr) (netlink.Route, error) {
	l, err := netlink.LinkByName(n.homeDevice)
	if err != nil {
		return netlink.Route{}, fmt.Errorf("find home device %q: %w", n.homeDevice, err)
	}
	return netlink.Route{
		Family: netlink.FAMILY_V4, Table: n.opts.Table, Protocol: netlink.RouteProtocol(n.opts.Protocol), Type: unix.RTN_UNICAST,
		Dst: ipNet(netip.PrefixFrom(home, home.BitLen())), LinkIndex: l.Attrs().Index, Scope: netlink.SCOPE_LINK,
	}, nil
}
