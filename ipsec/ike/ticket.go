package ike

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// Ticket is what a client keeps to resume an IKE SA without authenticating anew (RFC 5723 §4.2): the gateway's opaque ticket
// and the state that belongs to it (§5). It is secret, is used once, and ends with its IKE SA. Suspend yields one.
type Ticket struct {
	opaque            []byte
	expires           time.Duration // boot time
	suite             ikeSuite
	secret            []byte // SK_d
	localID, remoteID Identity
	address           netip.Addr
}

// maxTicket is the longest ticket that is kept, in octets: it has to fit into one datagram with the rest of the request.
const maxTicket = 1024

// Usable tells whether the ticket may still be presented: a client must not present one that it knows to have expired (RFC
// 5723 §4.3.1). A nil ticket is not usable.
func (t *Ticket) Usable(now link.Instant) bool {
	return t != nil && len(t.opaque) != 0 && now.Boot < t.expires
}

// Wipe forgets the secret; the ticket is not usable any more.
func (t *Ticket) Wipe() {
	if t != nil {
		clear(t.secret)
		t.secret, t.opaque = nil, nil
	}
}

// String says whose ticket it is and tells no secret.
func (t *Ticket) String() string { return fmt.Sprintf("ticket of %v", t.remoteID) }

// TicketState is what a responder's ticket has to restore (RFC 5723 §5, "from the ticket").
type TicketState struct {
	// Initiator and Responder are the identities of both ends as in IDi and IDr. Authenticated is the initiator's that policy
	// goes by, which may be another one after EAP (§5, note 1).
	Initiator, Responder, Authenticated Identity
	// Encryption, PRF and Group are the algorithms of the IKE SA, Additional its additional key exchanges, at most seven.
	Encryption suite.Encryption
	PRF        suite.PRF
	Group      suite.Group
	Additional []suite.Group
	// Secret is SK_d. Who makes a TicketState wipes it.
	Secret []byte
}

// Tickets makes and takes a responder's tickets. Its methods are called from HandleDatagram and must not call the machine.
type Tickets interface {
	// Grant returns a ticket for the state and how long it is good for, in whole seconds on the wire. An error refuses the
	// ticket (TICKET_NACK), not the IKE SA.
	Grant(now link.Instant, s TicketState) (ticket []byte, lifetime time.Duration, err error)
	// Redeem returns the state of a ticket. An error refuses it with TICKET_NACK.
	Redeem(now link.Instant, ticket []byte) (TicketState, error)
	// Spend takes a redeemed ticket out of use, since an IKE SA has been made with it (RFC 5723 §4.3.1). It fails when that
	// has happened before.
	Spend(ticket []byte) error
}

// ticketTask asks for a ticket, in IKE_AUTH or in an INFORMATIONAL exchange of its own (RFC 5723 §4.1).
type ticketTask struct {
	again bool // the gateway has said TICKET_ACK to a request before
}

func (t *ticketTask) needed(*Machine) bool { return true }

func (t *ticketTask) request(_ link.Instant, _ *Machine, x *exchange) error {
	x.add(message.Notify{Message: message.TicketRequest})
	return nil
}

func (t *ticketTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if _, later := message.FindNotify(in.Payloads, message.TicketAck); later && !t.again {
		m.enqueue(now, m.current, newExchange(message.Informational, &ticketTask{again: true}))
		return nil
	}
	n, ok := message.FindNotify(in.Payloads, message.TicketLTOpaque)
	if !ok || len(n.Data) <= 4 || len(n.Data) > 4+maxTicket || x.sa != m.current || x.sa.keys == nil {
		return nil // not supported, refused, or of an IKE SA that has been rekeyed meanwhile
	}
	m.ticket.Wipe()
	m.ticket = &Ticket{
		opaque: slices.Clone(n.Data[4:]), expires: now.Boot + time.Duration(binary.BigEndian.Uint32(n.Data))*time.Second,
		suite: x.sa.keys.suite, secret: slices.Clone(x.sa.keys.d), localID: m.localID, remoteID: m.remoteID,
	}
	return nil
}

func (t *ticketTask) abandon(link.Instant, *Machine) {}

// answer grants the peer the ticket that it asks for.
func (t *ticketTask) answer(now link.Instant, m *Machine, s *ikeSA, in *message.Message) []message.Payload {
	if _, asked := message.FindNotify(in.Payloads, message.TicketRequest); !asked || m.responder == nil || m.responder.Tickets == nil || s != m.current {
		return nil
	}
	state := TicketState{
		Initiator: m.claimed, Responder: m.localID, Authenticated: m.remoteID,
		Encryption: s.keys.suite.encryption, PRF: s.keys.suite.prf, Group: s.keys.suite.group, Additional: s.keys.suite.additional.list(),
		Secret: slices.Clone(s.keys.d),
	}
	defer clear(state.Secret)
	ticket, life, err := m.responder.Tickets.Grant(now, state)
	if err != nil || len(ticket) == 0 || life < time.Second {
		return []message.Payload{message.Notify{Message: message.TicketNack}}
	}
	seconds := uint32(min(life/time.Second, 1<<32-1))
	return []message.Payload{message.Notify{Message: message.TicketLTOpaque, Data: append(binary.BigEndian.AppendUint32(nil, seconds), ticket...)}}
}

// renewTicket: when the IKE SA has been rekeyed its ticket is void, and another one is asked for (RFC 5723 §6.2).
func (m *Machine) renewTicket(s *ikeSA) {
	if m.ticket == nil {
		return
	}
	m.ticket.Wipe()
	m.ticket = nil
	s.queue = append(s.queue, newExchange(message.Informational, &ticketTask{}))
}

// Resumable tells whether Suspend would yield a ticket.
func (m *Machine) Resumable(now link.Instant) bool { return m.running() && m.ticket.Usable(now) }

// Suspend ends the machine without telling the peer, whose SAs stay until it finds out or they are resumed, and returns the
// ticket to do that with: nil when the peer has granted none that is still good. Closed with ErrSuspended follows. The
// caller owns the ticket.
func (m *Machine) Suspend(now link.Instant) *Ticket {
	var t *Ticket
	if m.Resumable(now) {
		t, m.ticket = m.ticket, nil
		if len(m.assigned.Addresses) != 0 {
			t.address = m.assigned.Addresses[0]
		}
	}
	m.close(now, ErrSuspended)
	return t
}
