package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"mipvpn/tun/link"
)

// Network is the host's network as far as it is kept here.
type Network struct {
	opts Options

	mu     sync.Mutex
	device string // the device that addresses were last set on

	lineDevice string          // the kill switch's device
	covered    map[string]bool // the interfaces that have a chain each, by name; nil without one, or where one is on all
	local      *link.Settings  // that have the exception for the local network; nil for none

	forbidden map[int]bool // the interfaces, by index, that have surely no permit

	pattern func() bool       // whether a chain on a pattern of names is in nobody's way (readsPatterns); tests have their own
	fault   func(step string) // called before each change of the kernel's state; nil for nothing. For tests

	homeDevice string              // what homes are led into; empty for none
	homes      map[netip.Addr]bool // by RouteHome

	way *PortalWay // the open way to a captive portal, nil without one

	kept   *link.Settings // what Apply has made, nil for none
	shield shield         // that it has written; exists says that there was need of one
	added  int            // routes or rules, since Restore set it to 0
}

// step is called before each change of the kernel's state.
func (n *Network) step(what string) {
	if n.fault != nil {
		n.fault(what)
	}
}

// New returns a Network; nothing is read or changed before the first Apply.
func New(opts Options) *Network {
	return &Network{
		opts: opts.WithDefaults(), forbidden: make(map[int]bool),
		pattern: sync.OnceValue(func() bool { return readsPatterns(nftPrograms) }),
	}
}

// Apply puts the network of the calling thread's namespace into the state s, whatever it was before: also what a crashed
// run with the same Options left. It changes only what differs. The zero Settings take everything back. On an error, and
// whenever the process dies, part of the change may have been made; the kill switch comes before everything else and goes
// last, shielding comes before addresses and routes and goes after them. Only the zero Settings lift a kill switch. It
// needs CAP_NET_ADMIN and a writable /proc/sys/net.
func (n *Network) Apply(s link.Settings) error { return n.apply(s, false) }

// Load puts what of the Settings outlives a process into the kernel, as a crash behind Apply would leave it, before there is
// a device: the kill switch, the routes that make its prefixes unreachable, and the policy rules. Where there is a device of
// that name, routes into it are kept. It is for the time from the system's start to Apply. Settings without KillSwitch are
// an error.
func (n *Network) Load(s link.Settings) error {
	if !s.KillSwitch {
		return fmt.Errorf("hostnet: load: %w", errNoKillSwitch)
	}
	return n.apply(s, true)
}

func (n *Network) apply(s link.Settings, load bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := check(s); err != nil {
		return fmt.Errorf("hostnet: %w", err)
	}
	s = withBroadcasts(s)
	tables, err := n.readTable()
	if err != nil {
		return fmt.Errorf("hostnet: %w", err)
	}
	if err := n.dropStalePortal(isZero(s)); err != nil {
		return wrap(err)
	}
	if isZero(s) {
		return wrap(n.takeBack(tables))
	}
	if s.KillSwitch {
		if err := n.writeKillSwitch(s); err != nil {
			return wrap(err)
		}
	}
	if !load {
		if err := n.setHost(s, tables); err != nil {
			return wrap(err)
		}
	}
	if !load {
		n.remember(s)
	}
	// Routes before rules: until the rules are there the table is not looked at.
	if err := n.setRoutes(s, load); err != nil {
		return wrap(err)
	}
	if n.local = nil; s.Local {
		kept := s
		kept.Routes, kept.Blocked = slices.Clone(s.Routes), slices.Clone(s.Blocked)
		n.local = &kept
	}
	return wrap(n.setRules(s))
}

// setHost makes the shield, the sysctls and the device as the settings want them.
func (n *Network) setHost(s link.Settings, found shield) error {
	if _, err := n.setShield(s, found); err != nil {
		return err
	}
	if n.device != "" && n.device != s.Device {
		n.step("clear the device before")
		if err := clearDevice(n.device); err != nil {
			return err
		}
	}
	n.device = s.Device
	if s.Device == "" {
		return nil
	}
	n.step("set the device")
	return setDevice(s)
}

// setShield makes the shield and the sysctls as the settings want them, and returns how many of these had to be written.
func (n *Network) setShield(s link.Settings, found shield) (written int, err error) {
	want := shield{device: s.Device, shielded: sorted(s.Shielded)}
	sysctls, saved, err := planSysctls(s, found.saved, found.others)
	if err != nil {
		return 0, err
	}
	want.saved = saved
	// The memory of a sysctl's value is written before the value is changed, and shielding before the address is there.
	if !found.equal(want) {
		n.step("write the shield")
		if err := n.writeTable(want); err != nil {
			return 0, err
		}
	}
	n.shield = want
	n.shield.exists = !want.empty()
	n.step("set sysctls")
	return sysctls.put()
}

// takeBack undoes everything, the rest also when one thing fails.
func (n *Network) takeBack(found shield) error {
	n.local, n.homes, n.homeDevice = nil, nil, "" // setRoutes takes theirs too
	n.kept, n.shield = nil, shield{}
	var errs []error
	errs = append(errs, n.setRules(link.Settings{}), n.setRoutes(link.Settings{}, false))
	if n.device != "" {
		n.step("clear the device")
		errs = append(errs, clearDevice(n.device))
	}
	n.step("restore sysctls")
	restored := restoreSysctls(found.saved, found.others)
	errs = append(errs, restored)
	if restored == nil && found.exists {
		n.step("delete the shield")
		errs = append(errs, n.deleteTable())
	}
	n.step("lift the kill switch")
	errs = append(errs, n.deleteKillSwitch())
	err := errors.Join(errs...)
	if err == nil {
		n.device = ""
	}
	return err
}

func wrap(err error) error {
	if err != nil {
		return fmt.Errorf("hostnet: %w", err)
	}
	return nil
}
