package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"mipvpn/tun/link"
)

// setDevice gives the device its MTU and address, takes other IPv4 addresses off it and brings it up.
func setDevice(s link.Settings) error {
	l, err := netlink.LinkByName(s.Device)
	if err != nil {
		return fmt.Errorf("find device %s: %w", s.Device, err)
	}
	if s.MTU != 0 && l.Attrs().MTU != s.MTU {
		if err := netlink.LinkSetMTU(l, s.MTU); err != nil {
			return fmt.Errorf("set MTU of %s to %d: %w", s.Device, s.MTU, err)
		}
	}
	addr := s.Address
	if s.Taken.IsValid() {
		addr = s.Taken
		if v, err := readSysctl("net/ipv4/conf/all/arp_ignore"); err == nil && v != "0" {
			return fmt.Errorf("take address %v: net.ipv4.conf.all.arp_ignore is %s, so that this host would not answer ARP for it: expected 0", addr, v)
		}
	}
	if err := setAddress(l, addr); err != nil {
		return err
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("bring %s up: %w", s.Device, err)
		}
	}
	return nil
}

// setAddress makes addr, as a /32, the only IPv4 address of l, or leaves none for the zero Addr.
func setAddress(l netlink.Link, addr netip.Addr) error {
	list, err := netlink.AddrList(l, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	var want *netlink.Addr
	if addr.IsValid() {
		want = &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}}
	}
	for _, a := range list {
		if want != nil && a.IPNet != nil && a.IPNet.String() == want.IPNet.String() {
			want = nil
			continue
		}
		if err := netlink.AddrDel(l, &a); err != nil {
			return fmt.Errorf("remove address %v from %s: %w", a.IPNet, l.Attrs().Name, err)
		}
	}
	if want != nil {
		if err := netlink.AddrAdd(l, want); err != nil {
			return fmt.Errorf("add address %v to %s: %w", want.IPNet, l.Attrs().Name, err)
		}
	}
	return nil
}

// clearDevice takes the device's addresses and brings it down. A device that is gone has none.
func clearDevice(name string) error {
	l, err := netlink.LinkByName(name)
	var gone netlink.LinkNotFoundError
	if errors.As(err, &gone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find device %s: %w", name, err)
	}
	if err := setAddress(l, netip.Addr{}); err != nil {
		return err
	}
	if err := netlink.LinkSetDown(l); err != nil {
		return fmt.Errorf("bring %s down: %w", name, err)
	}
	return nil
}
