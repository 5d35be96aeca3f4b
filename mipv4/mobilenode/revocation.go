package mobilenode

import (
	"errors"
	"fmt"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// ErrReplay means that a revocation is not later than the registration that it would end, or has come back from who it is for
// (RFC 3543 §3.5).
var ErrReplay = errors.New("mipv4/mobilenode: replayed or reflected revocation")

// Revoked says that the home agent has taken the binding back before its time (RFC 3543). The machine has begun to register again,
// which tells what the home agent wants instead: a denial, or other terms.
type Revoked struct{}

func (Revoked) event() {}

// revocable is what the home agent has said about revocation with the binding.
type revocable struct {
	agreed bool
	since  uint32 // timestamp of its Revocation Support extension
}

// supports returns the Revocation Support extension for a request, and false when there is none to be: only a mobile node that
// registers a co-located care-of address directly may have it (RFC 3543 §3.2).
func (m *Machine) supports(now link.Instant, p purpose) (wire.RevocationSupport, bool) {
	if !m.cfg.Revocation || m.throughForeignAgent() || p != register {
		return wire.RevocationSupport{}, false
	}
	return wire.RevocationSupport{Timestamp: wire.RevocationTime(wire.IdentificationAt(now.Wall))}, true
}

// agree notes what an accepted reply says of revocation; covered are the extensions that the home agent vouches for.
func (m *Machine) agree(covered wire.Extensions) {
	m.revocable = revocable{}
	i := covered.Index(wire.ExtRevocationSupport)
	if i < 0 || !m.cfg.Revocation {
		return
	}
	if s, err := wire.ParseRevocationSupport(covered[i]); err == nil {
		m.revocable = revocable{agreed: true, since: s.Timestamp}
	}
}

// handleRevocation takes a Registration Revocation of the home agent (RFC 3543 §4.2.2.3): it is acknowledged, the binding is
// forgotten and asked for anew.
func (m *Machine) handleRevocation(now link.Instant, payload []byte) error {
	v, err := wire.ParseRevocation(payload)
	if err != nil {
		return err
	}
	const t = wire.ExtMobileHomeAuthentication
	if n := v.Extensions.Count(t); n != 1 {
		return fmt.Errorf("%w: revocation: expected one %v extension, found %d", ErrNotAuthenticated, t, n)
	}
	if err := m.cfg.Association.Verify(payload, v.Offset(v.Extensions.Index(t)), t); err != nil {
		return fmt.Errorf("%w: revocation by home agent %v: %w", ErrNotAuthenticated, v.HomeDomain, err)
	}
	switch {
	case !v.ByHomeAgent:
		return fmt.Errorf("%w: A bit of a foreign agent", ErrReplay)
	case v.HomeAddress != m.home || v.HomeDomain != m.homeAgent || v.ForeignDomain != m.cfg.CareOfAddress || m.throughForeignAgent():
		return fmt.Errorf("%w: revocation of home address %v at home agent %v, care-of address %v", ErrMismatch, v.HomeAddress, v.HomeDomain, v.ForeignDomain)
	case !m.revocable.agreed:
		return fmt.Errorf("%w: revocation of a registration without revocation support", ErrMismatch)
	case !wire.RevocationAfter(v.Identifier, m.revocable.since):
		return fmt.Errorf("%w: identifier %08x, the registration's is %08x", ErrReplay, v.Identifier, m.revocable.since)
	}
	answer, err := (&wire.RevocationAcknowledgment{Inform: v.Inform, HomeAddress: v.HomeAddress, Identifier: v.Identifier}).Append(make([]byte, 0, 64))
	if err != nil {
		return err
	}
	m.transmits.Push(Transmit{To: m.destination(), TTL: 64, Payload: m.cfg.Association.AppendExtension(answer, t)})
	if !m.bound {
		return nil // a retransmission: the acknowledgement was lost
	}
	m.unbind()
	m.events.Push(Revoked{})
	if !m.series.active {
		m.start(now, register)
	}
	return nil
}
