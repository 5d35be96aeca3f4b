package homeagent

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

const (
	// revocationInterval is the time to the first retransmission of a revocation, and the least time between two messages
	// about one binding (RFC 3543 §3.3, §4.2.2.1). It doubles up to maxRevocationInterval.
	revocationInterval    = time.Second
	maxRevocationInterval = 32 * time.Second
	// maxRevocations is how often a revocation is sent.
	maxRevocations = 7
)

// Reasons for which a revocation message is discarded without an answer.
var (
	// ErrRevocation: a revocation that is not valid: of a binding that was not registered with revocation support, or by
	// somebody who may not revoke it (RFC 3543 §4.2.3.2).
	ErrRevocation = errors.New("homeagent: revocation of a binding that its sender may not revoke")
	// ErrReplay: a revocation that is not later than the registration, or that comes back to who sent it (RFC 3543 §3.5).
	ErrReplay = errors.New("homeagent: replayed or reflected revocation")
	// ErrNotRevoked: an acknowledgement of no revocation that waits for one (RFC 3543 §3.5).
	ErrNotRevoked = errors.New("homeagent: acknowledgement of no revocation")
)

// Revocability is what was agreed about the revocation of a binding in its registration (RFC 3543 §4.2.1).
type Revocability struct {
	// Peer is the foreign agent, or where the request of a mobile node with a co-located care-of address came from: revocations go
	// there.
	Peer netip.AddrPort `json:"peer"`
	// SPI is that of the mobile node's security association where the peer is the mobile node, 0 for a foreign agent.
	SPI uint32 `json:"spi,omitempty"`
	// Inform says that the home agent decides whether the foreign agent tells the mobile node (I bit).
	Inform bool `json:"inform,omitempty"`
	// Sent and Received are the timestamps of both Revocation Support extensions.
	Sent     uint32 `json:"sent"`
	Received uint32 `json:"received"`
}

// revocation is one that waits for its acknowledgement.
type revocation struct {
	home, careOf netip.Addr
	to           Revocability
	association  *auth.SecurityAssociation
	inform       bool
	identifier   uint32 // as sent last
	sent         int    // transmissions
	interval     time.Duration
	ends         bool                     // the binding would have ended at until
	until        time.Duration            // boot time
	sending      queue.Timer[*revocation] // due with the next transmission
}

// authentication returns the type of the extension that protects messages about the binding (RFC 3543 §3.3).
func (r *Revocability) authentication() wire.ExtensionType {
	if r.SPI != 0 {
		return wire.ExtMobileHomeAuthentication
	}
	return wire.ExtForeignHomeAuthentication
}

// revocations are those that wait for acknowledgements, by the time of their next transmission.
type revocations struct {
	byHome map[netip.Addr][]*revocation
	order  queue.Agenda[*revocation]
}

// add has a revocation sent from the boot time next on.
func (v *revocations) add(r *revocation, next time.Duration) {
	if v.byHome == nil {
		v.byHome = make(map[netip.Addr][]*revocation)
	}
	v.byHome[r.home] = append(v.byHome[r.home], r)
	r.sending.Of = r
	v.order.Set(&r.sending, next)
}

func (v *revocations) remove(r *revocation) {
	v.order.Stop(&r.sending)
	left := slices.DeleteFunc(v.byHome[r.home], func(x *revocation) bool { return x == r })
	if len(left) == 0 {
		delete(v.byHome, r.home)
	} else {
		v.byHome[r.home] = left
	}
}

// cancel forgets a revocation of the binding: it has been registered again.
func (v *revocations) cancel(home, careOf netip.Addr) {
	for _, r := range v.byHome[home] {
		if r.careOf == careOf {
			v.remove(r)
			return
		}
	}
}

// revocable returns what the request and this agent agree about revocation, nil for nothing (RFC 3543 §4.2.1). A foreign agent's
// extension must be protected by its authentication, a mobile node's by its own.
func (m *Machine) revocable(now link.Instant, q *request) *Revocability {
	if m.cfg.NoRevocation {
		return nil
	}
	v := &Revocability{Sent: wire.RevocationTime(wire.IdentificationAt(now.Wall))}
	var protected wire.Extensions
	switch {
	case q.foreign != nil && !q.CoLocated():
		protected = q.rest[:max(0, q.rest.Index(wire.ExtForeignHomeAuthentication))]
		v.Peer = netip.AddrPortFrom(q.source.Addr(), wire.Port)
	case q.foreign == nil && q.CoLocated():
		protected = q.covered
		v.Peer, v.SPI = q.source, q.association.SPI()
	}
	i := protected.Index(wire.ExtRevocationSupport)
	if i < 0 {
		return nil
	}
	asked, err := wire.ParseRevocationSupport(protected[i])
	if err != nil {
		return nil // skipped as if it were not known
	}
	v.Received, v.Inform = asked.Timestamp, asked.Inform
	return v
}

// support returns the Revocation Support extension for the reply that accepts.
func (v *Revocability) support() wire.Extension {
	return wire.RevocationSupport{Inform: v.Inform, Timestamp: v.Sent}.Extension()
}

// revoke tells the other end of a binding's tunnel that the binding is gone, if that was agreed; inform says whether the mobile
// node should be told of it. The binding has been removed.
func (m *Machine) revoke(now link.Instant, b *binding, inform bool) {
	v := b.revocable
	if v == nil {
		return
	}
	association := m.agents[v.Peer.Addr()]
	if v.SPI != 0 {
		association = b.node.association(v.SPI)
	}
	if association == nil {
		return // the configuration has changed since: there is no key to tell it under
	}
	m.revocations.cancel(b.node.home, b.careOf)
	m.revocations.add(&revocation{
		home: b.node.home, careOf: b.careOf, to: *v, association: association, inform: inform && (v.Inform || v.SPI != 0), identifier: v.Sent,
		interval: revocationInterval, ends: b.granted != wire.LifetimeInfinite, until: b.until(),
	}, max(now.Boot, b.answered+revocationInterval))
	m.sendRevocations(now)
}

// sendRevocations sends the revocations that are due. Each transmission has a timestamp of its own (RFC 3543 §4.2.2.1), and none
// is sent beyond the lifetime of the binding.
func (m *Machine) sendRevocations(now link.Instant) {
	for r, due := m.revocations.order.Due(now.Boot); due; r, due = m.revocations.order.Due(now.Boot) {
		if r.sent == maxRevocations || r.ends && r.until <= now.Boot {
			m.revocations.remove(r)
			continue
		}
		// Later than every one before it, and than the registration, also when the wall clock was set back.
		r.identifier = laterStamp(now, r.identifier)
		message, err := (&wire.Revocation{
			ByHomeAgent: true, Inform: r.inform, HomeAddress: r.home, HomeDomain: m.cfg.Address, ForeignDomain: r.careOf, Identifier: r.identifier,
		}).Append(make([]byte, 0, 64))
		if err == nil { // the addresses are IPv4, so that nothing can fail
			message = r.association.AppendExtension(message, r.to.authentication())
			m.transmits.Push(Transmit{To: r.destination(), Payload: message})
		}
		r.sent++
		m.revocations.order.Set(&r.sending, now.Boot+r.interval)
		r.interval = min(2*r.interval, maxRevocationInterval)
	}
}

// destination returns where the next transmission goes. RFC 3543 §3.3 has revocations go to port 434; a mobile node that registers
// from another one listens there, and behind a NAT only there. Without a NAT both are tried in turn.
func (r *revocation) destination() netip.AddrPort {
	if p := r.to.Peer; r.to.SPI == 0 || p.Addr() != r.careOf || r.sent%2 == 0 {
		return p
	}
	return netip.AddrPortFrom(r.careOf, wire.Port)
}

// laterStamp returns the timestamp of now, or the one behind last when that is not earlier.
func laterStamp(now link.Instant, last uint32) uint32 {
	if s := wire.RevocationTime(wire.IdentificationAt(now.Wall)); wire.RevocationAfter(s, last) {
		return s
	}
	return last + 1
}

// HandleRevocation takes a Registration Revocation of a foreign agent, or the acknowledgement of one of this agent's (RFC 3543
// §4.2.3.2, §3.5), that came from source. It returns nil when the message was obeyed; otherwise it was discarded: the error wraps
// one of this package's sentinels, or one of package wire's for what is no well-formed message.
func (m *Machine) HandleRevocation(now link.Instant, source netip.AddrPort, payload []byte) error {
	if err := m.checkSource(source); err != nil {
		return err
	}
	if t, _ := wire.TypeOf(payload); t == wire.TypeRevocationAcknowledgment {
		return m.acknowledged(source, payload)
	}
	v, err := wire.ParseRevocation(payload)
	if err != nil {
		return err
	}
	association := m.agents[v.ForeignDomain]
	switch {
	case v.ByHomeAgent:
		return fmt.Errorf("%w: home address %v from %v, A bit of a home agent", ErrReplay, v.HomeAddress, source)
	case v.HomeDomain != m.cfg.Address:
		return fmt.Errorf("%w: home domain address %v from %v, expected %v", ErrRevocation, v.HomeDomain, source, m.cfg.Address)
	case association == nil:
		return fmt.Errorf("%w: no security association with %v", ErrForeignHome, v.ForeignDomain)
	}
	if err := verifyAlone(association, payload, v.Extensions, wire.ExtForeignHomeAuthentication, v.Offset); err != nil {
		return fmt.Errorf("%w: revocation of %v from %v: %w", ErrForeignHome, v.HomeAddress, source, err)
	}
	n := m.nodes[v.HomeAddress]
	if n == nil {
		return fmt.Errorf("%w: home address %v from %v", ErrUnknownMobileNode, v.HomeAddress, source)
	}
	inform := v.Inform
	if b := n.binding(v.ForeignDomain); b != nil {
		switch r := b.revocable; {
		case r == nil || r.SPI != 0 || r.Peer.Addr() != v.ForeignDomain:
			return fmt.Errorf("%w: home address %v, foreign domain address %v", ErrRevocation, v.HomeAddress, v.ForeignDomain)
		case !wire.RevocationAfter(v.Identifier, r.Received):
			return fmt.Errorf("%w: home address %v, identifier %08x, the registration's is %08x", ErrReplay, v.HomeAddress, v.Identifier, r.Received)
		default:
			inform = inform && r.Inform
		}
		m.remove(b, Revoked)
		m.table.set(n.home, n.tunnels())
	}
	// Without a binding there is nothing to do, but the foreign agent is told: its revocation may be a retransmission.
	answer, err := (&wire.RevocationAcknowledgment{Inform: inform, HomeAddress: v.HomeAddress, Identifier: v.Identifier}).Append(make([]byte, 0, 64))
	if err != nil {
		return err
	}
	answer = association.AppendExtension(answer, wire.ExtForeignHomeAuthentication)
	m.transmits.Push(Transmit{To: source, Payload: answer})
	return nil
}

// acknowledged takes the acknowledgement of a revocation.
func (m *Machine) acknowledged(source netip.AddrPort, payload []byte) error {
	k, err := wire.ParseRevocationAcknowledgment(payload)
	if err != nil {
		return err
	}
	for _, r := range m.revocations.byHome[k.HomeAddress] {
		if r.to.Peer.Addr() != source.Addr() || r.identifier != k.Identifier {
			continue
		}
		if err := verifyAlone(r.association, payload, k.Extensions, r.to.authentication(), k.Offset); err != nil {
			return fmt.Errorf("%w: acknowledgement for %v from %v: %w", ErrForeignHome, k.HomeAddress, source, err)
		}
		m.revocations.remove(r)
		return nil
	}
	return fmt.Errorf("%w: home address %v, identifier %08x, from %v", ErrNotRevoked, k.HomeAddress, k.Identifier, source)
}

// verifyAlone wants exactly one valid authentication extension of type t.
func verifyAlone(a *auth.SecurityAssociation, message []byte, x wire.Extensions, t wire.ExtensionType, offset func(int) int) error {
	if n := x.Count(t); n != 1 {
		return fmt.Errorf("expected one %v extension, found %d", t, n)
	}
	return a.Verify(message, offset(x.Index(t)), t)
}
