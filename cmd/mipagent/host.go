package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/agent"
	"mipvpn/stack/underlay"
	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// places are those of the roles among the numbers below, the same whatever roles run beside: so that each role may run in a process of its
// own (mipagent@.service).
var places = []string{"home_agent.internal", "home_agent.external", "foreign_agent", "gateway"}

// Numbers under which roles put their state into the kernel; each role adds its place, times the numbers that it takes of a
// kind (hostnet.Options). They differ from those of the client and from one another, and so do the socket marks: what one role
// sends may have to go into another one's device.
const (
	firstTable    = 28100
	firstProtocol = 110
	firstMark     = 0x6d6a0000
	marksMask     = 0xffff0000
)

// numbers returns those of the role with that place.
func numbers(place int) hostnet.Options {
	mark := firstMark + uint32(place)<<16
	return hostnet.Options{
		Name: fmt.Sprintf("mipagent%d", place), Table: firstTable + 2*place, Priority: firstTable + 3*place,
		Protocol: uint8(firstProtocol + place), ProtectedMark: mark | 1, PlaintextMark: mark | 2, PortalMark: mark | 3, MarkMask: marksMask,
	}
}

// kernelHosts returns the maker of this machine as the roles' hosts, between which packets are handed over in memory. What other
// programs take away of their routes and rules is put back. roles are those that are going to run, in their order.
func kernelHosts(roles []role, log *zap.Logger) hostMaker {
	exchange := agent.NewExchange()
	return func(i int) (link.Host, func() error, error) {
		h, err := underlay.NewHost(underlay.Options{Settings: numbers(slices.Index(places, roles[i].name))})
		if err != nil {
			return nil, nil, err
		}
		keeper, able := any(h).(link.SettingsKeeper)
		if !able {
			return exchange.Host(h), h.Close, nil
		}
		stop, err := keeper.KeepSettings(restored(log))
		if err != nil {
			return nil, nil, errors.Join(fmt.Errorf("watch routes and rules: %w", err), h.Close())
		}
		return exchange.Host(h), func() error {
			stop()
			return h.Close()
		}, nil
	}
}

// restoredPause is how long one message stands for all that is put back.
const restoredPause = time.Minute

// restored returns what logs that settings were put back, one message in restoredPause.
func restored(log *zap.Logger) func(link.Restored, error) {
	var last time.Time
	return func(r link.Restored, err error) {
		if !last.IsZero() && time.Since(last) < restoredPause {
			return
		}
		last = time.Now()
		if err != nil {
			log.Error("another program has changed routes or rules, and they cannot be put back", zap.Error(err))
			return
		}
		log.Warn("another program took away what is put back: exempt the agents in its configuration (docs/desktop.md)", zap.Stringer("settings", r))
	}
}
