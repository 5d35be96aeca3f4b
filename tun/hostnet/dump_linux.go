package hostnet

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dump returns what of the kernel's present state is of the kind that Apply makes, as lines of text in a fixed order: the
// device that was named last, rules, routes, shielded addresses, the kill switch, and sysctls with the value from before and now. It is
// for tests and for people; without any such state it is empty.
func (n *Network) Dump() (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out strings.Builder
	names := make(map[int]string)
	links, err := netlink.LinkList()
	if err != nil {
		return "", fmt.Errorf("hostnet: list interfaces: %w", err)
	}
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		if n.device == "" || a.Name != n.device {
			continue
		}
		state := "down"
		if a.Flags&net.FlagUp != 0 {
			state = "up"
		}
		fmt.Fprintf(&out, "device %s mtu %d %s\n", a.Name, a.MTU, state)
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		if err != nil {
			return "", fmt.Errorf("hostnet: list addresses: %w", err)
		}
		for _, a := range addrs {
			fmt.Fprintf(&out, "address %v\n", a.IPNet)
		}
	}
	rules, err := n.rules()
	if err != nil {
		return "", fmt.Errorf("hostnet: %w", err)
	}
	for _, r := range rules {
		fmt.Fprintf(&out, "rule %s\n", ruleKey(r))
	}
	routes, err := n.routes()
	if err != nil {
		return "", fmt.Errorf("hostnet: %w", err)
	}
	var lines []string
	for _, r := range routes {
		line := routeKey(r)
		if r.Type != unix.RTN_UNREACHABLE {
			line = strings.Replace(line, fmt.Sprintf("dev %d", r.LinkIndex), "dev "+names[r.LinkIndex], 1)
		}
		lines = append(lines, fmt.Sprintf("route %s table %d\n", line, r.Table))
	}
	slices.Sort(lines)
	out.WriteString(strings.Join(lines, ""))
	t, err := n.readTable()
	if err != nil {
		return "", fmt.Errorf("hostnet: %w", err)
	}
	for _, a := range t.shielded {
		fmt.Fprintf(&out, "shielded %v device %s\n", a, t.device)
	}
	if t.foreign {
		fmt.Fprintf(&out, "table %s holds something else\n", n.opts.Name)
	}
	lines, err = n.dumpKillSwitch()
	if err != nil {
		return "", fmt.Errorf("hostnet: %w", err)
	}
	out.WriteString(strings.Join(lines, ""))
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(t.saved)) {
		now, err := readSysctl(path)
		errs = append(errs, err)
		fmt.Fprintf(&out, "sysctl %s was %s is %s\n", path, t.saved[path], now)
	}
	return out.String(), errors.Join(errs...)
}

// dumpKillSwitch returns a line for each rule of the kill switch.
func (n *Network) dumpKillSwitch() (lines []string, err error) {
	l, err := n.Line()
	for _, r := range l.Rules {
		lines = append(lines, fmt.Sprintf("killswitch %s: %s\n", r.Chain, r.Text))
	}
	return lines, err
}
