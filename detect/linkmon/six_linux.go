package linkmon

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routes6 lists the main table's IPv6 routes, none on a kernel without IPv6.
func routes6() ([]netlink.Route, error) {
	list, err := dump("IPv6 routes", func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	})
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	return list, err
}

// unusable are the flags of addresses that nothing new is to be sent from: another host has it, whether one has is not known
// yet (RFC 4862 §5.4), or its preferred lifetime is over (RFC 6724 §5, rule 3). One that is optimistic may be used (RFC 4429).
func unusable(flags int) bool {
	return flags&(unix.IFA_F_DADFAILED|unix.IFA_F_DEPRECATED) != 0 || flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
}

// uniqueLocal are addresses that are nobody's on the Internet (RFC 4193).
var uniqueLocal = netip.MustParsePrefix("fc00::/7")

// primary6 returns the interface's global IPv6 address to send from: before, while that may be used, so that a new temporary
// address (RFC 8981) does not move what goes on; else the first by these rules: not unique local, temporary where the system
// makes such (RFC 6724 §5, rule 7), the least.
func primary6(addrs []netlink.Addr, index int, before netip.Prefix) netip.Prefix {
	type source struct {
		at    netip.Prefix
		place int
	}
	var list []source
	for _, a := range addrs {
		if a.LinkIndex != index || a.Scope != unix.RT_SCOPE_UNIVERSE || a.IPNet == nil || a.IP.To4() != nil || unusable(a.Flags) {
			continue
		}
		ip, ok := netip.AddrFromSlice(a.IP)
		if !ok || !ip.IsGlobalUnicast() {
			continue
		}
		ones, _ := a.Mask.Size()
		s := source{at: netip.PrefixFrom(ip, ones)}
		if s.at == before {
			return before
		}
		if uniqueLocal.Contains(ip) {
			s.place += 2
		}
		if a.Flags&unix.IFA_F_TEMPORARY == 0 {
			s.place++
		}
		list = append(list, s)
	}
	if len(list) == 0 {
		return netip.Prefix{}
	}
	return slices.MinFunc(list, func(a, b source) int {
		return cmp.Or(cmp.Compare(a.place, b.place), a.at.Addr().Compare(b.at.Addr()))
	}).at
}
