package hostnet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/windows"

	"mipvpn/tun/link"
)

// Network is the host's network as far as it is kept here: address and routes of the wintun device by the IP helper API, the kill
// switch by the Windows Filtering Platform. None of it has been run on a real machine.
type Network struct {
	mu      sync.Mutex
	applied link.Settings
}

// New returns a Network; nothing is read or changed before the first Apply. The options' marks, tables and numbers have no meaning
// on Windows.
func New(Options) *Network { return &Network{} }

// Apply puts the network into the state s, and takes back what a crashed run has left, whose device has gone with it. On an error
// part of the change may have been made; the kill switch comes before everything else and goes last. It needs the rights of an
// administrator. Agents' settings (Taken, Forward) are refused with ErrUnsupported.
func (n *Network) Apply(s link.Settings) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.apply(s); err != nil {
		return fmt.Errorf("hostnet: %w", err)
	}
	return nil
}

func (n *Network) apply(s link.Settings) error {
	if err := check(s); err != nil {
		return err
	}
	if err := unsupportedSettings(s); err != nil {
		return err
	}
	s = withBroadcasts(s)
	if s.KillSwitch {
		if err := writeFilters(filters(s), s.Device); err != nil {
			return err
		}
	}
	if err := n.setDevice(s); err != nil {
		return err
	}
	n.applied = s
	if !s.KillSwitch {
		return deleteFilters()
	}
	return nil
}

// setDevice makes address, MTU and routes of the device those of s.
func (n *Network) setDevice(s link.Settings) error {
	before := n.applied
	if before.Device != "" && before.Device != s.Device {
		before = link.Settings{} // what led into it has gone with it
	}
	if s.Device == "" {
		return nil
	}
	luid, err := luidOf(s.Device)
	if err != nil {
		return err
	}
	for _, p := range into(before) {
		if !slices.Contains(into(s), p) {
			if err := changeRoute(deleteIpForwardEntry2, luid, p); err != nil && !errors.Is(err, windows.ERROR_NOT_FOUND) {
				return fmt.Errorf("delete route %v: %w", p, err)
			}
		}
	}
	if before.Address.IsValid() && before.Address != s.Address {
		if err := changeAddress(deleteUnicastIpAddressEntry, luid, before.Address); err != nil && !errors.Is(err, windows.ERROR_NOT_FOUND) {
			return fmt.Errorf("delete address %v: %w", before.Address, err)
		}
	}
	if s.Address.IsValid() {
		if err := changeAddress(createUnicastIpAddressEntry, luid, s.Address); err != nil && !errors.Is(err, windows.ERROR_OBJECT_ALREADY_EXISTS) {
			return fmt.Errorf("add address %v: %w", s.Address, err)
		}
	}
	if err := setInterface(luid, s.MTU); err != nil {
		return fmt.Errorf("set MTU %d of %s: %w", s.MTU, s.Device, err)
	}
	for _, p := range into(s) {
		if err := changeRoute(createIpForwardEntry2, luid, p); err != nil && !errors.Is(err, windows.ERROR_OBJECT_ALREADY_EXISTS) {
			return fmt.Errorf("add route %v: %w", p, err)
		}
	}
	return nil
}

// Load writes the kill switch before there is a device, at the system's start. Settings without KillSwitch are an error.
func (n *Network) Load(s link.Settings) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	err := check(s)
	switch {
	case err != nil:
	case !s.KillSwitch:
		err = errNoKillSwitch
	default:
		err = writeFilters(filters(s), "")
	}
	if err != nil {
		return fmt.Errorf("hostnet: load: %w", err)
	}
	return nil
}

// Cover does nothing: filters hold on every interface, those to come included.
func (*Network) Cover([]string) error { return nil }

// Permit fails with ErrUnsupported: no filter ends by itself at a time, so that the kernel could not hold the line.
func (*Network) Permit(int, time.Duration) error { return errNoPermit }

// Forbid changes nothing: there is never a permit.
func (*Network) Forbid(int) error { return nil }

// Dump returns the filters, for people.
func (n *Network) Dump() (string, error) {
	l, err := n.Line()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, r := range l.Rules {
		fmt.Fprintf(&b, "%s %s: %s\n", r.Table, r.Chain, r.Text)
	}
	return b.String(), nil
}

// Line returns the filters.
func (*Network) Line() (Line, error) {
	names, err := filterNames()
	if err != nil {
		return Line{}, fmt.Errorf("hostnet: read the kill switch: %w", err)
	}
	l := Line{Stands: len(names) > 0, Everywhere: true}
	for _, name := range names {
		l.Rules = append(l.Rules, LineRule{Table: "filtering platform", Chain: "connect", Text: name})
	}
	return l, nil
}
