package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"mipvpn/tun/link"
)

// announcements is how often an address that was taken is announced, announceEvery the time in between: ARP has no answer that tells
// whether a neighbour has heard.
const (
	announcements = 5
	announceEvery = 500 * time.Millisecond
)

// errNoAnnouncement means that a host cannot tell its neighbours of an address.
var errNoAnnouncement = errors.New("this host gives no access to ARP: an address cannot be taken from another home agent here")

// taking is the agent's address where it is not the host's own but taken from another home agent that stood for the same mobile
// nodes. It is the TUN device's address, so that it is gone when this process is gone, however that ended; and the neighbours are
// told by gratuitous ARP, as they are of mobile nodes on a home link (RFC 5944 §4.6).
type taking struct {
	link link.HomeLink // nil where the address is the host's
	stop chan struct{}
	done chan struct{}
}

// takeAddress makes the agent's address that of the device, where Interface says so. Flows cannot be opened at it before.
func (a *HomeAgent) takeAddress() error {
	if a.cfg.Interface == "" {
		return nil
	}
	if a.cfg.HomeLink != "" {
		return errors.New("a home agent that takes its address from another one has virtual home networks alone: home_link does not go with it")
	}
	iface, err := interfaceByName(a.host, a.cfg.Interface)
	if err != nil {
		return fmt.Errorf("take address: %w", err)
	}
	host, able := a.host.(link.HomeLinkHost)
	if !able {
		return errNoAnnouncement
	}
	if a.taking.link, err = host.OpenHomeLink(iface.Index, ""); err != nil {
		return err
	}
	return a.host.Apply(link.Settings{Device: a.device.Name(), MTU: a.mtu, Taken: a.cfg.Address, Forward: true})
}

// taken is the address that the settings of the device have for it.
func (a *HomeAgent) taken() netip.Addr {
	if a.taking.link == nil {
		return netip.Addr{}
	}
	return a.cfg.Address
}

// announce tells the neighbours that the agent's address is here now, a few times.
func (a *HomeAgent) announce() {
	t := &a.taking
	if t.link == nil {
		return
	}
	t.stop, t.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(t.done)
		timer := a.host.NewTimer()
		defer timer.Stop()
		for range announcements {
			if err := t.link.Announce(a.cfg.Address, t.link.Hardware()); err != nil {
				a.log.Warn("the home agent's address could not be announced", zap.String("interface", a.cfg.Interface), zap.Error(err))
			}
			timer.Reset(a.host.Now().Boot + announceEvery)
			select {
			case <-timer.C():
			case <-t.stop:
				return
			}
		}
	}()
}

// close ends the announcements.
func (t *taking) close() error {
	if t.stop != nil {
		close(t.stop)
		<-t.done
	}
	if t.link == nil {
		return nil
	}
	return t.link.Close()
}
