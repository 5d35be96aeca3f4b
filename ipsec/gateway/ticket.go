package gateway

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// ErrTicket is wrapped by the errors about tickets that are not taken.
var ErrTicket = errors.New("gateway: ticket")

const (
	// defaultTicketLife is how long tickets are good for where IKE SAs have no lifetime.
	defaultTicketLife = 4 * time.Hour
	// ticketKeyLives is how many lifetimes of a ticket a key makes tickets; for as long again they are taken. It has to be
	// significantly longer than an IKE SA lives (RFC 5723 §6.2).
	ticketKeyLives = 6
	// maxSpent bounds the used tickets that are remembered. Over it none is taken any more, which costs an IKE_SA_INIT.
	maxSpent = 65536

	ticketID      = 16 // octets that name a ticket
	ticketVersion = 2
	ticketHeader  = 1 + 1 // version, number of the key
	ticketNonce   = 12
)

// tickets makes tickets by value (RFC 5723 §6.1) without state for each peer but what has been used:
//
//	version (1) | number of the key (1) | nonce | AES-256-GCM of the body, the first two octets being authenticated too
//
// and the body is
//
//	id (16) | expiry (8, boot time in ns) | encryption (2) | key bits (2) | PRF (2) | group (2) |
//	IDi, IDr, the authenticated identity and SK_d, each behind its length (2); identities with their type in front
//
// all in network order. Keys live in memory alone: after a restart old tickets are refused, as they should be, since the SAs
// that they belong to are gone too.
type tickets struct {
	rand   io.Reader
	life   time.Duration
	keys   [2]cipher.AEAD // by the lowest bit of the number
	number uint8
	made   time.Duration // boot time of the current key
	ready  bool
	spent  map[[ticketID]byte]time.Duration // used tickets, until when they would have been good
}

func newTickets(rand io.Reader, ikeLife time.Duration) *tickets {
	t := &tickets{rand: rand, life: ikeLife, spent: make(map[[ticketID]byte]time.Duration)}
	if t.life <= 0 {
		t.life = defaultTicketLife
	}
	t.life = max(t.life, time.Second).Truncate(time.Second)
	return t
}

// rotate makes a new key when the current one is old. After a long pause the one before is replaced too.
func (t *tickets) rotate(now link.Instant) error {
	every := ticketKeyLives * t.life
	if t.ready && now.Since(t.made) < every {
		return nil
	}
	rounds := 1
	if !t.ready || now.Since(t.made) >= 2*every {
		rounds = 2
	}
	for range rounds {
		var key [32]byte
		if _, err := io.ReadFull(t.rand, key[:]); err != nil {
			return fmt.Errorf("gateway: key of tickets: %w", err)
		}
		block, err := aes.NewCipher(key[:])
		clear(key[:])
		if err != nil {
			return fmt.Errorf("gateway: key of tickets: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return fmt.Errorf("gateway: key of tickets: %w", err)
		}
		t.number++
		t.keys[t.number&1] = aead
	}
	t.made, t.ready = now.Boot, true
	return nil
}

// Grant implements ike.Tickets.
func (t *tickets) Grant(now link.Instant, s ike.TicketState) ([]byte, time.Duration, error) {
	if err := t.rotate(now); err != nil {
		return nil, 0, err
	}
	random := make([]byte, ticketID+ticketNonce)
	if _, err := io.ReadFull(t.rand, random); err != nil {
		return nil, 0, fmt.Errorf("gateway: make a ticket: %w", err)
	}
	body := append([]byte(nil), random[:ticketID]...)
	defer func() { clear(body) }()
	body = binary.BigEndian.AppendUint64(body, uint64(now.Boot+t.life))
	if len(s.Additional) > 1<<8-1 {
		return nil, 0, fmt.Errorf("%w: %d additional key exchanges do not fit", ErrTicket, len(s.Additional))
	}
	for _, v := range []uint16{uint16(s.Encryption.ID), s.Encryption.KeyBits, uint16(s.Encryption.Integrity), uint16(s.PRF), uint16(s.Group)} {
		body = binary.BigEndian.AppendUint16(body, v)
	}
	body = append(body, byte(len(s.Additional)))
	for _, g := range s.Additional {
		body = binary.BigEndian.AppendUint16(body, uint16(g))
	}
	for _, field := range [][]byte{identityField(s.Initiator), identityField(s.Responder), identityField(s.Authenticated), s.Secret} {
		if len(field) > 1<<16-1 {
			return nil, 0, fmt.Errorf("%w: a field of %d octets does not fit", ErrTicket, len(field))
		}
		body = append(binary.BigEndian.AppendUint16(body, uint16(len(field))), field...)
	}
	out := []byte{ticketVersion, t.number}
	out = append(out, random[ticketID:]...)
	return t.keys[t.number&1].Seal(out, random[ticketID:], body, out[:ticketHeader]), t.life, nil
}

func identityField(id ike.Identity) []byte { return append([]byte{byte(id.Type)}, id.Data...) }

// Redeem implements ike.Tickets.
func (t *tickets) Redeem(now link.Instant, ticket []byte) (ike.TicketState, error) {
	body, err := t.open(now, ticket)
	if err != nil {
		return ike.TicketState{}, err
	}
	defer clear(body)
	expires := time.Duration(binary.BigEndian.Uint64(body[ticketID:]))
	if now.Boot >= expires {
		return ike.TicketState{}, fmt.Errorf("%w: it expired %v ago", ErrTicket, (now.Boot - expires).Round(time.Second))
	}
	if _, used := t.spent[[ticketID]byte(body)]; used {
		return ike.TicketState{}, fmt.Errorf("%w: it has been used before", ErrTicket)
	}
	return readTicket(body[ticketID+8:])
}

// Spend implements ike.Tickets.
func (t *tickets) Spend(ticket []byte) error {
	body, err := t.openWith(ticket)
	if err != nil {
		return err
	}
	defer clear(body)
	id := [ticketID]byte(body)
	if _, used := t.spent[id]; used {
		return fmt.Errorf("%w: it has been used before", ErrTicket)
	}
	if len(t.spent) >= maxSpent {
		return fmt.Errorf("%w: too many have been used lately", ErrTicket)
	}
	t.spent[id] = time.Duration(binary.BigEndian.Uint64(body[ticketID:]))
	return nil
}

// prune forgets used tickets that have expired.
func (t *tickets) prune(now link.Instant) {
	for id, expires := range t.spent {
		if now.Boot >= expires {
			delete(t.spent, id)
		}
	}
}

// open verifies a ticket and returns its body.
func (t *tickets) open(now link.Instant, ticket []byte) ([]byte, error) {
	if err := t.rotate(now); err != nil {
		return nil, err
	}
	if len(t.spent) >= maxSpent/2 {
		t.prune(now)
	}
	return t.openWith(ticket)
}

func (t *tickets) openWith(ticket []byte) ([]byte, error) {
	if len(ticket) < ticketHeader+ticketNonce || ticket[0] != ticketVersion {
		return nil, fmt.Errorf("%w: %d octets are none of this gateway's", ErrTicket, len(ticket))
	}
	if number := ticket[1]; !t.ready || number != t.number && number != t.number-1 {
		return nil, fmt.Errorf("%w: its key %d is not known", ErrTicket, number)
	}
	nonce, sealed := ticket[ticketHeader:ticketHeader+ticketNonce], ticket[ticketHeader+ticketNonce:]
	body, err := t.keys[ticket[1]&1].Open(nil, nonce, sealed, ticket[:ticketHeader])
	if err != nil || len(body) < ticketID+8 {
		return nil, fmt.Errorf("%w: it is not authentic", ErrTicket)
	}
	return body, nil
}

// readTicket reads the part of the body behind the expiry. It is authentic, and checked all the same.
func readTicket(b []byte) (s ike.TicketState, err error) {
	short := fmt.Errorf("%w: its body is too short", ErrTicket)
	if len(b) < 11 || len(b) < 11+2*int(b[10]) {
		return s, short
	}
	s.Encryption = suite.Encryption{ID: suite.EncryptionID(binary.BigEndian.Uint16(b)), KeyBits: binary.BigEndian.Uint16(b[2:]),
		Integrity: suite.Integrity(binary.BigEndian.Uint16(b[4:]))}
	s.PRF, s.Group = suite.PRF(binary.BigEndian.Uint16(b[6:])), suite.Group(binary.BigEndian.Uint16(b[8:]))
	additional := int(b[10])
	for b = b[11:]; additional > 0; additional-- {
		s.Additional, b = append(s.Additional, suite.Group(binary.BigEndian.Uint16(b))), b[2:]
	}
	var fields [4][]byte
	for i := range fields {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return s, short
		}
		n := int(binary.BigEndian.Uint16(b))
		fields[i], b = b[2:2+n], b[2+n:]
	}
	for i, to := range []*ike.Identity{&s.Initiator, &s.Responder, &s.Authenticated} {
		if len(fields[i]) < 1 {
			return s, short
		}
		*to = ike.Identity{Type: message.IDType(fields[i][0]), Data: string(fields[i][1:])}
	}
	s.Secret = append([]byte(nil), fields[3]...)
	return s, nil
}

// sessionTickets grants no ticket to users of RADIUS: what the server says of them is not kept, and the ticket of one who has
// been struck off there would go on.
type sessionTickets struct {
	*tickets
	gateway *Gateway
	session *session
}

// errRADIUS tells why there is no ticket.
var errRADIUS = errors.New("gateway: users of RADIUS get no tickets")

// Grant implements ike.Tickets.
func (t sessionTickets) Grant(now link.Instant, s ike.TicketState) ([]byte, time.Duration, error) {
	if r := t.session.rule; r != nil && t.gateway.radius != nil && r.Rounds[len(r.Rounds)-1] == ByEAP {
		return nil, 0, errRADIUS
	}
	return t.tickets.Grant(now, s)
}
