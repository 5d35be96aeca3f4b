package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/igmp"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// errNoHomeLink means that a host cannot have home networks that are real links.
var errNoHomeLink = errors.New("this host gives no access to ARP: home networks can only be virtual here")

// homeLink is the home agent's place on the link of its home networks (RFC 5944 §4.6), of which there is none by default.
// The agent's loop owns it.
type homeLink struct {
	name    string
	link    link.HomeLink // nil without one
	machine homeagent.HomeLink
	address netip.Addr // of the interface
	// networks are the home networks on the link, which are those of the start. What is in the others is routed to the agent.
	networks []netip.Prefix
}

// linked is the machine of a home agent as its loop sees it: with that of the home link and that of groups.
type linked struct {
	*homeagent.Machine
	link   *homeagent.HomeLink
	groups *igmp.Router
}

// HandleTimeout implements machine.
func (l linked) HandleTimeout(now link.Instant) {
	l.Machine.HandleTimeout(now)
	l.link.HandleTimeout(now)
	l.groups.HandleTimeout(now)
}

// Deadline implements machine.
func (l linked) Deadline() (time.Duration, bool) {
	at, due := l.Machine.Deadline()
	for _, deadline := range []func() (time.Duration, bool){l.link.Deadline, l.groups.Deadline} {
		if d, ok := deadline(); ok && (!due || d < at) {
			at, due = d, true
		}
	}
	return at, due
}

// openHomeLink opens the home link, where one is configured. The device must be open, and the settings are applied afterwards.
func (a *HomeAgent) openHomeLink() error {
	l := &a.homeLink
	if l.name = a.cfg.HomeLink; l.name == "" {
		return nil
	}
	iface, err := interfaceByName(a.host, l.name)
	if err != nil {
		return fmt.Errorf("home link: %w", err)
	}
	if l.address = iface.Address.Addr(); !l.address.IsValid() {
		return fmt.Errorf("home link: interface %s has no IPv4 address, expected one of a home network", l.name)
	}
	for _, p := range a.cfg.HomeNetworks {
		if p.Contains(l.address) {
			l.networks = append(l.networks, p)
		}
	}
	if len(l.networks) == 0 {
		return fmt.Errorf("home link: interface %s has the address %v, which is in none of the home networks %v", l.name, iface.Address, a.cfg.HomeNetworks)
	}
	host, able := a.host.(link.HomeLinkHost)
	if !able {
		return errNoHomeLink
	}
	l.link, err = host.OpenHomeLink(iface.Index, a.device.Name())
	return err
}

// virtual returns those of the networks that are not on the link.
func (l *homeLink) virtual(networks []netip.Prefix) (list []netip.Prefix) {
	for _, p := range networks {
		if !l.address.IsValid() || !p.Contains(l.address) {
			list = append(list, p)
		}
	}
	return list
}

// closeHomeLink gives the link back.
func (a *HomeAgent) closeHomeLink() error {
	if a.homeLink.link == nil {
		return nil
	}
	return a.homeLink.link.Close()
}

// on reports whether the home address is of the link.
func (l *homeLink) on(home netip.Addr) bool {
	for _, p := range l.networks {
		if p.Contains(home) {
			return true
		}
	}
	return false
}

// followHomeLink tells the link's machine what has become of a binding.
func (a *HomeAgent) followHomeLink(now link.Instant, e homeagent.Event) {
	l := &a.homeLink
	if !l.on(e.HomeAddress) {
		return
	}
	switch {
	case e.Kind == homeagent.AtHome:
		l.machine.Returned(now, e.HomeAddress)
	case a.table.Route(e.HomeAddress) == nil:
		l.machine.Unbound(e.HomeAddress)
	case e.Kind == homeagent.Registered || e.Kind == homeagent.Renewed || e.Kind == homeagent.Restored:
		_, seen := l.link.Heard(e.HomeAddress)
		l.link.Forget(e.HomeAddress)
		l.machine.Bound(now, e.HomeAddress, seen)
	}
}

// actOnHomeLink does what the link's machine wants.
func (a *HomeAgent) actOnHomeLink() {
	l := &a.homeLink
	for act, ok := l.machine.PollAction(); ok; act, ok = l.machine.PollAction() {
		var err error
		switch act.Kind {
		case homeagent.Intercept:
			err = l.link.Intercept(act.Home)
		case homeagent.Release:
			err = l.link.Release(act.Home)
		case homeagent.Announce:
			err = l.link.Announce(act.Home, l.link.Hardware())
		case homeagent.AnnounceReturn:
			var at packet.HardwareAddr
			if at, ok = l.link.Heard(act.Home); ok {
				err = l.link.Announce(act.Home, at)
			}
		}
		if err != nil {
			a.log.Warn("home link: "+act.Kind.String()+" failed", zap.String("interface", l.name), zap.Stringer("home_address", act.Home), zap.Error(err))
		}
	}
}
