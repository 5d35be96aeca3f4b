package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"mipvpn/tun/link"
)

// errNoKillSwitch refuses what is about nothing but the kill switch.
var errNoKillSwitch = errors.New("settings have no kill switch, expected one")

func isZero(s link.Settings) bool {
	return s.Device == "" && !s.Address.IsValid() && !s.Taken.IsValid() && len(s.Routes) == 0 && len(s.Broadcasts) == 0 && len(s.Shielded) == 0 && !s.Forward && !s.KillSwitch &&
		!s.Full && len(s.Blocked) == 0 && !s.Local
}

// check refuses what Apply could not mean.
func check(s link.Settings) error {
	if s.Device == "" && (s.Address.IsValid() || s.Taken.IsValid() || len(s.Routes) > 0 || len(s.Broadcasts) > 0) {
		return errors.New("settings have an address or routes but no device")
	}
	if s.Taken.IsValid() && (!s.Taken.Is4() || s.Address.IsValid() || len(s.Shielded) > 0) {
		return fmt.Errorf("taken address %v: expected IPv4, and neither an address of the device nor shielded ones, found %v and %v", s.Taken, s.Address, s.Shielded)
	}
	if s.KillSwitch && s.Device == "" {
		return errors.New("settings have a kill switch but no device")
	}
	if !s.KillSwitch && (s.Full || len(s.Blocked) > 0 || s.Local) {
		return errors.New("settings have a full tunnel, blocked prefixes or an exception but no kill switch")
	}
	if s.Address.IsValid() && !s.Address.Is4() {
		return fmt.Errorf("device address %v: expected IPv4", s.Address)
	}
	for _, p := range s.Routes {
		if !p.IsValid() || !p.Addr().Is4() || p != p.Masked() {
			return fmt.Errorf("route %v: expected an IPv4 prefix without host bits", p)
		}
	}
	for _, p := range s.Blocked {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() || p != p.Masked() {
			return fmt.Errorf("blocked prefix %v: expected an IPv6 prefix without host bits", p)
		}
	}
	for _, a := range s.Broadcasts {
		if !a.Is4() || a.IsMulticast() || a.IsUnspecified() {
			return fmt.Errorf("broadcast address %v: expected the last address of an IPv4 network", a)
		}
	}
	for _, a := range s.Shielded {
		if !a.Is4() {
			return fmt.Errorf("shielded address %v: expected IPv4", a)
		}
	}
	return nil
}

// withBroadcasts returns the settings with routes for the broadcast addresses.
func withBroadcasts(s link.Settings) link.Settings {
	s.Routes = slices.Clip(s.Routes)
	for _, a := range s.Broadcasts {
		s.Routes = append(s.Routes, netip.PrefixFrom(a, 32))
	}
	return s
}

// sorted returns a sorted copy without duplicates.
func sorted[T interface{ Compare(T) int }](list []T) []T {
	out := slices.Clone(list)
	slices.SortFunc(out, T.Compare)
	return slices.CompactFunc(out, func(a, b T) bool { return a.Compare(b) == 0 })
}
