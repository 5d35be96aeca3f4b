package hostnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"mipvpn/tun/link"
)

// remember keeps what Apply has made, for Restore.
func (n *Network) remember(s link.Settings) {
	n.kept = nil
	if !isZero(s) {
		s.Routes, s.Blocked, s.Shielded = slices.Clone(s.Routes), slices.Clone(s.Blocked), slices.Clone(s.Shielded)
		n.kept = &s
	}
}

// Restore puts back what other programs have taken away of what the last Apply made, and says what that was: rules and routes (which
// systemd-networkd takes for foreign when it starts or reads its files anew), nftables tables (which `nft flush ruleset` empties), sysctls, the
// device's address and that it is up. Where all is there it changes nothing. A kill switch that is put back has no permits. Settings
// that were never applied or have been taken back are none, and a device that has gone is left so.
func (n *Network) Restore() (link.Restored, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var r link.Restored
	if n.kept == nil {
		return r, nil
	}
	s := *n.kept
	if s.Device != "" {
		_, err := netlink.LinkByName(s.Device)
		if gone := new(netlink.LinkNotFoundError); errors.As(err, gone) {
			return r, nil // whoever made it knows, and the unreachable routes are not its
		}
	}
	killSwitch, shielded, err := n.tables()
	if err != nil {
		return r, wrap(err)
	}
	if s.KillSwitch && !killSwitch {
		if err := n.writeKillSwitch(s); err != nil {
			return r, wrap(err)
		}
		r.KillSwitch = true
	}
	if n.shield.exists && !shielded {
		if err := n.writeTable(n.shield); err != nil {
			return r, wrap(err)
		}
		r.Shield = true
	}
	// A table that is taken away again meanwhile has the memory of sysctls in it: the next Restore writes both. What hinders sysctls is no
	// reason to leave rules and routes away.
	found, failed := n.readTable()
	if failed == nil && (found.exists || !n.shield.exists) {
		r.Sysctls, failed = n.setShield(s, found)
	}
	if s.Device != "" {
		if err := setDevice(s); err != nil {
			return r, wrap(errors.Join(failed, err))
		}
	}
	n.added = 0
	err = n.setRoutes(s, false)
	r.Routes, n.added = n.added, 0
	if err == nil {
		err = n.setRules(s)
		r.Rules = n.added
	}
	return r, wrap(errors.Join(failed, err))
}

// tables reports whether both tables of the kill switch, and the shield's, are there.
func (n *Network) tables() (killSwitch, shield bool, err error) {
	c, err := nftables.New()
	if err != nil {
		return false, false, fmt.Errorf("open nftables: %w", err)
	}
	list, err := c.ListTables()
	if err != nil {
		return false, false, fmt.Errorf("list nftables tables: %w", err)
	}
	there := func(t *nftables.Table) bool {
		return slices.ContainsFunc(list, func(o *nftables.Table) bool { return o.Name == t.Name && o.Family == t.Family })
	}
	return there(n.inetTable()) && there(n.netdevTable()), there(n.table()), nil
}

// Watch calls f, from goroutines of its own, when something of what Apply makes may have been taken away in the network namespace of the
// calling thread. Of sysctls the kernel tells of ip_forward and rp_filter alone: for the others Restore is to be called now and then. stop ends that; a call of f that is under way may still be going on when it returns.
func (n *Network) Watch(f func()) (stop func(), err error) {
	var files []*os.File
	closeAll := func() {
		for _, f := range files {
			f.Close()
		}
	}
	for protocol, groups := range map[int][]int{
		unix.NETLINK_ROUTE:     {unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_NETCONF},
		unix.NETLINK_NETFILTER: {unix.NFNLGRP_NFTABLES},
	} {
		file, err := subscribe(protocol, groups)
		if err != nil {
			closeAll()
			return nil, fmt.Errorf("hostnet: watch for what others take away: %w", err)
		}
		files = append(files, file)
	}
	var mu sync.Mutex
	for _, file := range files {
		go func() {
			buf := make([]byte, 64<<10)
			for {
				length, err := file.Read(buf)
				switch {
				case errors.Is(err, unix.ENOBUFS): // some were lost
				case err != nil:
					return
				case !n.concerns(buf[:length]):
					continue
				}
				mu.Lock()
				f()
				mu.Unlock()
			}
		}()
	}
	var once sync.Once
	return func() { once.Do(closeAll) }, nil
}

// subscribe opens a netlink socket that receives the groups.
func subscribe(protocol int, groups []int) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return nil, err
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	for _, g := range groups {
		if err == nil {
			err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}

// delTable is the type of netlink messages that tell of an nftables table that was deleted.
const delTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE

// concerns reports whether netlink messages tell of a removal that may be of what is kept here. It takes any octets.
func (n *Network) concerns(data []byte) bool {
	for len(data) >= unix.SizeofNlMsghdr {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.SizeofNlMsghdr || length > len(data) {
			return false
		}
		switch binary.NativeEndian.Uint16(data[4:]) {
		case unix.RTM_DELRULE, unix.RTM_DELADDR, unix.RTM_NEWNETCONF, delTable:
			return true
		case unix.RTM_DELROUTE:
			if n.owns(data[unix.SizeofNlMsghdr:length]) {
				return true
			}
		}
		data = data[min(len(data), (length+3)&^3):]
	}
	return false
}

// owns reports whether a route message is about a route of the Network's table.
func (n *Network) owns(message []byte) bool {
	if len(message) < unix.SizeofRtMsg {
		return false
	}
	for rest := message[unix.SizeofRtMsg:]; len(rest) >= unix.SizeofRtAttr; {
		length, kind := int(binary.NativeEndian.Uint16(rest)), binary.NativeEndian.Uint16(rest[2:])
		if length < unix.SizeofRtAttr || length > len(rest) {
			return false
		}
		if kind == unix.RTA_TABLE && length >= unix.SizeofRtAttr+4 {
			return int(binary.NativeEndian.Uint32(rest[unix.SizeofRtAttr:])) == n.opts.Table
		}
		rest = rest[min(len(rest), (length+3)&^3):]
	}
	return false
}
