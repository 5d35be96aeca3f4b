package ipsec

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/vpn"
	"mipvpn/tun/link"
)

// drainTime is how long the flows of a bearer that is gone still receive what was on its way.
const drainTime = 5 * time.Second

// draining is a bearer that is gone, and the boot time at which its flows are closed.
type draining struct {
	local netip.Addr
	at    time.Duration
}

// Stand implements vpn.Access. A bearer is the same as before when its link is; another link with the same address is another
// network, of which the gateway is told.
func (a *access) Stand(now link.Instant, bearers []vpn.Bearer) error {
	if a.closed || len(bearers) == 0 {
		return nil
	}
	var errs []error
	var stood []vpn.Bearer
	for _, b := range bearers {
		if err := a.flows.Stand(b.Link, a.gatewayOf(b)); err != nil {
			errs = append(errs, fmt.Errorf("ipsec: %w", err))
			continue
		}
		stood = append(stood, b)
	}
	if len(stood) == 0 {
		return errors.Join(errs...)
	}
	before := a.Bearers
	a.Bearers = stood
	a.drain(now)
	for _, b := range before {
		local := b.Link.Addr()
		if _, ok := a.bearer(local); !ok && !slices.ContainsFunc(a.leaving, func(d draining) bool { return d.local == local }) {
			a.leaving = append(a.leaving, draining{local, now.Boot + drainTime})
		}
	}
	a.leaving = slices.DeleteFunc(a.leaving, func(d draining) bool { _, ok := a.bearer(d.local); return ok })
	for _, t := range slices.Clone(a.tunnels) {
		t.stand(now, before)
	}
	return errors.Join(errs...)
}

// bearer returns the bearer with an address.
func (a *access) bearer(local netip.Addr) (vpn.Bearer, bool) {
	i := slices.IndexFunc(a.Bearers, func(b vpn.Bearer) bool { return b.Link.Addr() == local })
	if i < 0 {
		return vpn.Bearer{}, false
	}
	return a.Bearers[i], true
}

// gatewayOf returns the gateway's address as a bearer reaches it.
func (a *access) gatewayOf(b vpn.Bearer) netip.Addr {
	if b.Gateway.IsValid() {
		return b.Gateway
	}
	return a.Gateway
}

// gatewayFrom returns the gateway's address as the bearer with an address reaches it, where bearers reach it at different ones: nil
// otherwise, since the gateway itself may have told a better one.
func (a *access) gatewayFrom(local netip.Addr) []netip.Addr {
	b, ok := a.bearer(local)
	if !ok || !slices.ContainsFunc(a.Bearers, func(b vpn.Bearer) bool { return b.Gateway.IsValid() }) {
		return nil
	}
	return []netip.Addr{a.gatewayOf(b)}
}

// addresses returns the bearers' own addresses, the preferred first.
func (a *access) addresses() []netip.Addr { return addressesOf(a.Bearers) }

func addressesOf(bearers []vpn.Bearer) []netip.Addr {
	var all []netip.Addr
	for _, b := range bearers {
		all = append(all, b.Link.Addr())
	}
	return all
}

// drain closes the flows of bearers that have been gone for long enough.
func (a *access) drain(now link.Instant) {
	a.leaving = slices.DeleteFunc(a.leaving, func(d draining) bool {
		if now.Boot < d.at {
			return false
		}
		if err := a.flows.Leave(d.local); err != nil {
			a.Log.Debug("leaving a bearer", zap.Error(err))
		}
		return true
	})
}

// drainDeadline returns when drain is due next, false when there is nothing.
func (a *access) drainDeadline() (time.Duration, bool) {
	if len(a.leaving) == 0 {
		return 0, false
	}
	return a.leaving[0].at, true
}

// stand takes note that the access has other bearers than before.
func (t *tunnel) stand(now link.Instant, before []vpn.Bearer) {
	if t.ended {
		return
	}
	a := t.access
	was := slices.IndexFunc(before, func(b vpn.Bearer) bool { return b.Link.Addr() == t.at })
	is, there := a.bearer(t.at)
	other := there && was >= 0 && before[was].Link != is.Link // the same address in another network
	if !t.established {
		if !there || other {
			t.end(vpn.ErrBearerGone)
		}
		return
	}
	if !there || other {
		t.leaveTCP()
		t.tcp.choice = nil
	}
	var err error
	if other {
		err = t.machine.ChangeNetwork(now, a.addresses())
	} else {
		err = t.machine.SetAddresses(now, a.addresses())
	}
	switch {
	case err != nil && (!there || other):
		t.end(fmt.Errorf("%w, and the gateway does not follow: %w", vpn.ErrBearerGone, err))
	case err != nil:
		a.Log.Debug("the tunnel stays with its bearer", zap.Error(err))
	case other:
		t.useKeepalive(now)
		t.arrive(now)
	}
	if !slices.Equal(a.addresses(), addressesOf(before)) {
		t.tryPause, t.tryAt = tryFirst, now.Boot+tryFirst
	}
}

// tryFirst and tryMost bound the time between trials of bearers that are preferred to the one in use; tryAwake is the time to the
// first one after a tunnel was parked, in which the gateway answers on the bearer in use.
const (
	tryAwake = 200 * time.Millisecond
	tryFirst = time.Minute
	tryMost  = 30 * time.Minute
)

// tryDeadline returns when preferred bearers are tried again, false while there are none.
func (t *tunnel) tryDeadline() (time.Duration, bool) {
	return t.tryAt, t.tryAt != 0 && t.established && !t.parked && !t.ended && t.at != t.access.Bearers[0].Link.Addr()
}

// tryPreferred tries preferred bearers again when that is due: what did not pass there may pass now.
func (t *tunnel) tryPreferred(now link.Instant) {
	at, ok := t.tryDeadline()
	if !ok || now.Boot < at {
		return
	}
	t.tryAt, t.tryPause = now.Boot+t.tryPause, min(2*t.tryPause, tryMost)
	if err := t.machine.TryPreferred(now); err != nil {
		t.access.Log.Debug("no preferred bearer is tried", zap.Error(err))
	}
}

// end ends the tunnel without the gateway.
func (t *tunnel) end(err error) {
	t.emit(vpn.Closed{Err: err})
	t.ended = true
}

// settle has the machine know where the tunnel stands, now that it is established: the bearers may be others than when it began.
func (t *tunnel) settle(now link.Instant) {
	if err := t.machine.SetAddresses(now, t.access.addresses()); err != nil {
		t.access.Log.Debug("the gateway does not follow the tunnel", zap.Error(err))
	}
	t.tryPause, t.tryAt = tryFirst, now.Boot+tryFirst
	t.useKeepalive(now)
}
