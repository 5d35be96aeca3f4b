package gateway

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// HandleTimeout does what is due at now.
func (g *Gateway) HandleTimeout(now link.Instant) {
	if g.radius != nil {
		g.radius.HandleTimeout(now)
		g.handleRADIUS(now)
	}
	for s, due := g.deadlines.Due(now.Boot); due; s, due = g.deadlines.Due(now.Boot) {
		at := s.deadline.At()
		if s.endAt != 0 && s.endAt <= now.Boot {
			s.endAt = 0
			s.machine.Delete(now)
		}
		s.machine.HandleTimeout(now)
		g.pump(now, s)
		if s.deadline.Running() && s.deadline.At() <= at {
			// A machine whose deadline does not move must not hold up the others; it is asked again next time.
			g.deadlines.Set(&s.deadline, now.Boot+time.Millisecond)
		}
	}
}

// Deadline returns the boot time of the earliest timer, false when there is none.
func (g *Gateway) Deadline() (time.Duration, bool) {
	var at time.Duration
	var ok bool
	if g.radius != nil {
		at, ok = g.radius.Deadline()
	}
	other, more := g.deadlines.Deadline()
	return queue.Earliest(at, ok, other, more)
}

// PollEvent returns the next event. Events come before transmits, so that an SA is installed before its peer hears of it.
func (g *Gateway) PollEvent() (Event, bool) { return g.events.Pop() }

// PollTransmit returns the next datagram to be sent.
func (g *Gateway) PollTransmit() (ike.Transmit, bool) { return g.transmits.Pop() }

// HandleTraffic tells that ESP packets have been authenticated on the child SA with our SPI spi: the peer lives. Saying
// so now and then is enough.
func (g *Gateway) HandleTraffic(now link.Instant, spi uint32) {
	if s := g.byInbound[spi]; s != nil {
		s.machine.HandleTraffic(now, spi)
		g.pump(now, s)
	}
}

// HandleSpent tells that a half of the child SA with our SPI spi has come to the end of its soft lifetime or, exhausted, of
// its hard one: see ike.Machine.HandleSpent.
func (g *Gateway) HandleSpent(now link.Instant, spi uint32, exhausted bool) {
	if s := g.byInbound[spi]; s != nil {
		s.machine.HandleSpent(now, spi, exhausted)
		g.pump(now, s)
	}
}

// HandleSource tells where the newest ESP packet of a child SA has come from when that is not where its packets go: see
// ike.Machine.HandleSource. local is where it has arrived.
func (g *Gateway) HandleSource(now link.Instant, local netip.AddrPort, source esp.Source) {
	if s := g.byInbound[source.SPI()]; s != nil {
		s.machine.HandleSource(now, local, source)
		g.pump(now, s)
	}
}

// SetAddresses tells the gateway its outer addresses, the preferred first: the sessions that have MOBIKE hear of them, and
// leave an address that is gone (ike.Machine.SetAddresses). Errors: ike.ErrNoMOBIKE when the configuration has no MOBIKE.
func (g *Gateway) SetAddresses(now link.Instant, addresses []netip.Addr) error {
	if g.cfg.IKE.MOBIKE == nil {
		return fmt.Errorf("gateway: set addresses: %w", ike.ErrNoMOBIKE)
	}
	own := *g.cfg.IKE.MOBIKE
	own.Addresses = slices.Clone(addresses)
	g.cfg.IKE.MOBIKE = &own
	for _, id := range g.ids() {
		s := g.sessions[id]
		if err := s.machine.SetAddresses(now, addresses); err != nil && !errors.Is(err, ike.ErrNoMOBIKE) && !errors.Is(err, ike.ErrClosed) {
			return err
		}
		g.pump(now, s)
	}
	return nil
}

// RekeyChild replaces a child SA, for instance because its sequence numbers come to their end. Errors: ErrUnknownSPI, and
// those of ike.Machine.RekeyChild.
func (g *Gateway) RekeyChild(now link.Instant, id SessionID, child ike.ChildID) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.RekeyChild(now, child) })
}

// RekeyIKE replaces the IKE SA of a session. Errors: ErrUnknownSPI, and those of ike.Machine.RekeyIKE.
func (g *Gateway) RekeyIKE(now link.Instant, id SessionID) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.RekeyIKE(now) })
}

// Redirect tells the peer of a session to go to another gateway (RFC 5685 §5); Delete is to be called when it has had time to.
// Errors: ErrUnknownSPI, and those of ike.Machine.Redirect.
func (g *Gateway) Redirect(now link.Instant, id SessionID, to ike.GatewayName) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.Redirect(now, to) })
}

// RequireAuthentication tells the peer of a session to authenticate anew: see ike.Machine.RequireAuthentication, also for errors;
// ErrUnknownSPI.
func (g *Gateway) RequireAuthentication(now link.Instant, id SessionID, life time.Duration) error {
	return g.command(now, id, func(m *ike.Machine) error { return m.RequireAuthentication(now, life) })
}

// Delete closes a session and tells the peer. Errors: ErrUnknownSPI.
func (g *Gateway) Delete(now link.Instant, id SessionID) error {
	return g.command(now, id, func(m *ike.Machine) error { m.Delete(now); return nil })
}

func (g *Gateway) command(now link.Instant, id SessionID, f func(*ike.Machine) error) error {
	s := g.sessions[id]
	if s == nil {
		return ErrUnknownSPI
	}
	err := f(s.machine)
	g.pump(now, s)
	return err
}

// Close takes no new peers from now on and closes all sessions, telling the peers.
func (g *Gateway) Close(now link.Instant) {
	g.closed = true
	for _, id := range g.ids() {
		s := g.sessions[id]
		s.machine.Delete(now)
		g.pump(now, s)
	}
}

// HalfOpen returns the number of IKE SAs that have not been authenticated yet.
func (g *Gateway) HalfOpen() int { return g.halfOpen }

// Session is what is known about one established session.
type Session struct {
	ID       SessionID
	Identity ike.Identity
	Address  netip.Addr
	// HomeAddress is as in Event.
	HomeAddress netip.Addr
	Remote      netip.AddrPort
}

// Sessions returns the established sessions in the order of their IDs.
func (g *Gateway) Sessions() []Session {
	var out []Session
	for _, id := range g.ids() {
		if s := g.sessions[id]; g.byIdentity[s.identity] == s {
			out = append(out, Session{ID: id, Identity: s.identity, Address: s.address, HomeAddress: s.home, Remote: s.remote})
		}
	}
	return out
}

func (g *Gateway) ids() []SessionID {
	ids := make([]SessionID, 0, len(g.sessions))
	for id := range g.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
