package mobilenode

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// SwitchingRefusalTime is how long a home agent is believed to refuse zero-overhead tunnelling where it forces no other
// decision: after an answer without it from a network without a NAT. Behind a NAT it is asked each time, which costs nothing.
const SwitchingRefusalTime = 10 * time.Minute

// ErrCritical means that a reply has a critical vendor extension that was not asked for or cannot be understood, so that the
// reply counts as a denial (RFC 3115 §2.3).
var ErrCritical = errors.New("mipv4/mobilenode: critical vendor extension in the reply")

// errUnvouched means that such an extension stands where anybody on the way may have put it: the reply is discarded, and another
// one may come.
var errUnvouched = fmt.Errorf("%w, where the home agent does not vouch for it", ErrCritical)

// ZeroOverhead is what is asked for of zero-overhead tunnelling (draft appendix D, docs/zero-overhead.md). The zero value asks
// for nothing.
type ZeroOverhead struct {
	// Vendor is the private enterprise number under which both ends know the extension, 1 to wire.MaxVendor.
	Vendor uint32
	// Destination is the default destination, an IPv4 address: that of the VPN gateway.
	Destination netip.Addr
}

// asked reports whether anything is asked for.
func (z ZeroOverhead) asked() bool { return z.Destination.IsValid() }

func (z ZeroOverhead) check(c Config) error {
	switch {
	case !z.asked():
		return nil
	case z.Vendor == 0 || z.Vendor > wire.MaxVendor:
		return fmt.Errorf("%w: zero-overhead tunnelling under vendor number %d, 1 to %d is expected", ErrConfig, z.Vendor, wire.MaxVendor)
	case !usable(z.Destination) || z.Destination == c.HomeAgent || z.Destination == c.HomeAddress:
		return fmt.Errorf("%w: zero-overhead tunnelling to %v, an IPv4 unicast address is expected that is not home agent %v or home address %v", ErrConfig, z.Destination, c.HomeAgent, c.HomeAddress)
	case c.ForeignAgent.IsValid():
		return fmt.Errorf("%w: zero-overhead tunnelling is not possible through foreign agent %v", ErrConfig, c.ForeignAgent)
	case !c.ReverseTunnel:
		return fmt.Errorf("%w: zero-overhead tunnelling needs reverse tunnelling", ErrConfig)
	case c.Encapsulation == EncapsulationUDP, c.Encapsulation == EncapsulationMinimal, c.Encapsulation == EncapsulationGRE:
		return fmt.Errorf("%w: zero-overhead tunnelling and encapsulation %v exclude each other", ErrConfig, c.Encapsulation)
	}
	return nil
}

// SetZeroOverhead has requests from now on ask for z; the zero value asks for nothing. A binding goes on as it was granted
// until a later request is accepted. Errors wrap ErrConfig; nothing changes then.
func (m *Machine) SetZeroOverhead(z ZeroOverhead) error {
	if err := z.check(m.cfg); err != nil {
		return err
	}
	if m.cfg.ZeroOverhead == z {
		return nil
	}
	m.cfg.ZeroOverhead = z
	m.ask(z.asked())
	return nil
}

// openSwitching settles whether a series that registers asks for zero-overhead tunnelling.
func (m *Machine) openSwitching(now link.Instant) {
	k := m.cfg.Refusals
	m.ask(m.cfg.ZeroOverhead.asked() && !(k.unswitched && now.Since(k.unswitchedAt) < SwitchingRefusalTime))
}

// ask has requests ask for zero-overhead tunnelling, or not. A UDP tunnel by force would exclude it.
func (m *Machine) ask(switching bool) {
	if m.switching = switching; switching {
		m.offer = max(m.offer, offerUDP)
	}
}

// confirmed returns the default destination that the reply confirms, the zero Addr for none. x are all of the reply's
// extensions, covered those that the home agent vouches for. The error wraps ErrCritical.
func (z ZeroOverhead) confirmed(x, covered wire.Extensions) (netip.Addr, error) {
	if x[len(covered):].Index(wire.ExtVendorCritical) >= 0 {
		return netip.Addr{}, errUnvouched
	}
	found := netip.Addr{}
	for _, e := range covered {
		if e.Type != wire.ExtVendorCritical {
			continue
		}
		d, err := wire.ParseZeroOverheadReply(e, z.Vendor)
		switch {
		case err != nil:
			return netip.Addr{}, fmt.Errorf("%w: %w", ErrCritical, err)
		case !z.asked():
			return netip.Addr{}, fmt.Errorf("%w: zero-overhead tunnelling is confirmed and was not asked for", ErrCritical)
		case d != z.Destination || found.IsValid():
			return netip.Addr{}, fmt.Errorf("%w: zero-overhead tunnelling is confirmed to %v, expected once and to %v", ErrCritical, d, z.Destination)
		}
		found = d
	}
	return found, nil
}

// notUnderstood takes a reply by which the home agent accepts request i and which counts as a denial for its critical
// extension: what it holds for granted is not known here. When zero-overhead tunnelling was asked for, it is not any more;
// otherwise the binding is taken back.
func (m *Machine) notUnderstood(now link.Instant, i int, reply *wire.RegistrationReply, why error) error {
	if errors.Is(why, errUnvouched) || m.outstanding[i].purpose != register {
		return why // the request is sent again
	}
	return m.declined(now, m.answered(i), reply, why.Error())
}

// contradicts takes a reply that grants both UDP tunnelling and zero-overhead tunnelling, which exclude each other.
func (m *Machine) contradicts(now link.Instant, r request, reply *wire.RegistrationReply) error {
	return m.declined(now, r, reply, "it grants UDP tunnelling and zero-overhead tunnelling together")
}

func (m *Machine) declined(now link.Instant, r request, reply *wire.RegistrationReply, why string) error {
	current := r.series == m.series.number
	if r.zero.asked() {
		m.events.Push(refusal(reply.Code, m.homeAgent, false, true, why+"; zero-overhead tunnelling is not asked for any more"))
		m.cfg.Refusals.unswitched, m.cfg.Refusals.unswitchedAt = true, now.Boot
		if current || !m.series.active {
			m.again(now)
		}
		return nil
	}
	if current {
		m.endSeries()
	}
	m.events.Push(refusal(reply.Code, m.homeAgent, false, false, why))
	m.unbind()
	m.start(now, deregister)
	return nil
}

// again registers anew at once, without zero-overhead tunnelling.
func (m *Machine) again(now link.Instant) {
	before := m.series
	m.series = series{number: before.number + 1, active: true, purpose: register, since: now.Boot, mends: before.mends + 1}
	m.openTunnel(now)
	m.ask(false)
	m.transmit(now)
}

// withoutSwitching looks at the tunnel that was granted where zero-overhead tunnelling was asked for, and reports whether the
// machine asks again for a better one: a home agent that does not switch addresses is asked for UDP tunnelling by force, as the
// configuration has it, which the question for switching had excluded. What was granted is not used in between.
func (m *Machine) withoutSwitching(now link.Instant, r request, granted Tunnel) bool {
	k := m.cfg.Refusals
	switch {
	case !r.zero.asked():
		return false
	case granted.Switched.IsValid():
		k.unswitched = false
		return false
	case granted.UDP() || m.most != offerForcedUDP || k.offer != offerForcedUDP:
		return false
	}
	k.unswitched, k.unswitchedAt = true, now.Boot
	if m.series.mends >= maxMends {
		return false
	}
	m.again(now)
	return true
}

// whySwitched says in plain words why zero-overhead tunnelling is granted for request r or not.
func (m *Machine) whySwitched(r request, granted Tunnel) string {
	switch {
	case !m.cfg.ZeroOverhead.asked():
		return ""
	case granted.Switched.IsValid():
		return fmt.Sprintf("the home agent switches addresses to and from %v", granted.Switched)
	case r.zero.asked() && granted.UDP():
		return "there is a NAT on the way (RFC 3519)"
	case r.zero.asked():
		return "the home agent does not switch addresses for this registration"
	case m.cfg.Refusals.unswitched:
		return fmt.Sprintf("the home agent does not switch addresses for this registration; it is asked again after %v", SwitchingRefusalTime)
	}
	return "not asked for yet"
}
