package ike

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// saState is where an IKE SA stands.
type saState uint8

const (
	saInit        saState = iota // IKE_SA_INIT under way
	saAuth                       // keys are there, IKE_AUTH under way
	saEstablished                // in use
	saCandidate                  // made by a rekeying whose collision is not decided yet (RFC 7296 §2.8.2)
	saReplaced                   // rekeyed; to be deleted by the end that made the successor
	saDeleting                   // our Delete payload is queued or sent
	saClosed                     // gone; answers only the repetition of the last request
)

// String returns the state's name.
func (s saState) String() string {
	switch s {
	case saInit:
		return "init"
	case saAuth:
		return "auth"
	case saEstablished:
		return "established"
	case saCandidate:
		return "candidate"
	case saReplaced:
		return "replaced"
	case saDeleting:
		return "deleting"
	case saClosed:
		return "closed"
	default:
		return "unknown"
	}
}

// ikeSA is one IKE SA: its keys, its message IDs and what is under way on it. A machine has one, and more during a
// rekeying.
type ikeSA struct {
	// initiator is set when this end is the original initiator (RFC 7296 §2.2).
	initiator  bool
	spiI, spiR uint64
	serial     uint64 // among the machine's IKE SAs
	state      saState
	keys       *keys
	// sent counts the messages protected so far; it makes the initialization vectors.
	sent uint64

	// nextID is the ID of our next request, expectID that of the peer's next one.
	nextID, expectID uint32
	// exchange is our outstanding request: the window is 1 (RFC 7296 §2.3), whatever the peer would take.
	exchange *exchange
	queue    []*exchange
	// token is the peer's for quick crash detection (RFC 6290), nil without one.
	token []byte
	// peerWindow is what the peer announced by SET_WINDOW_SIZE.
	peerWindow uint32
	// lastRequest and lastResponse answer a repeated request (RFC 7296 §2.1).
	lastRequest  [sha256.Size]byte
	lastResponse [][]byte
	// lastAnswer makes lastResponse again in smaller fragments, nil when that cannot be; repeats is how often it was sent
	// again.
	lastAnswer *answer
	repeats    int
	// series are the peer's additional key exchanges under way.
	series []*series
	// incoming has the fragments of the peer's next request.
	incoming reassembly

	// Boot times, 0 for never: rekeying, the end of life, when the queue may start after the peer's rekeying, when an SA
	// that waits for the peer's Delete is deleted or forgotten by us.
	rekeyAt, expireAt, heldUntil, guardAt time.Duration
	// busySince is when the peer began to answer TEMPORARY_FAILURE, 0 when it does not.
	busySince time.Duration
}

func (s *ikeSA) localSPI() uint64 {
	if s.initiator {
		return s.spiI
	}
	return s.spiR
}

// header returns the header of a message of ours.
func (s *ikeSA) header(kind message.ExchangeType, id uint32, response bool) message.Header {
	h := message.Header{InitiatorSPI: s.spiI, ResponderSPI: s.spiR, Exchange: kind, MessageID: id}
	if s.initiator {
		h.Flags |= message.FlagInitiator
	}
	if response {
		h.Flags |= message.FlagResponse
	}
	return h
}

// seal encodes a message of ours: in the clear before there are keys and in IKE_SA_INIT, protected otherwise.
func (s *ikeSA) seal(h message.Header, ps []message.Payload) ([]byte, error) {
	if s.keys == nil || initial(h.Exchange) {
		return (&message.Message{Header: h, Payloads: ps}).Append(nil)
	}
	s.sent++
	return message.AppendProtected(nil, h, ps, s.ownCipher(), s.sent)
}

// ownCipher returns the cipher of our messages.
func (s *ikeSA) ownCipher() suite.Cipher {
	if s.initiator {
		return s.keys.fromInitiator
	}
	return s.keys.fromResponder
}

// peerCipher returns the cipher of the peer's messages.
func (s *ikeSA) peerCipher() suite.Cipher {
	if s.initiator {
		return s.keys.fromResponder
	}
	return s.keys.fromInitiator
}

// takes tells whether a message with header h is from the peer of this SA.
func (s *ikeSA) takes(h message.Header) bool {
	if h.FromInitiator() == s.initiator || h.InitiatorSPI != s.spiI {
		return false
	}
	// Before the peer's SPI is known it is the initiator's alone that counts (RFC 7296 §2.6).
	return h.ResponderSPI == s.spiR || s.state == saInit && s.initiator
}

// String names the SPIs and the state, no key.
func (s *ikeSA) String() string { return fmt.Sprintf("IKE SA %016x_%016x %v", s.spiI, s.spiR, s.state) }

// newSA makes an IKE SA of ours; the peer's SPI is filled in later.
func (m *Machine) newSA(initiator bool) (*ikeSA, error) {
	spi, err := m.randomSPI64()
	if err != nil {
		return nil, err
	}
	s := &ikeSA{initiator: initiator, peerWindow: 1}
	if initiator {
		s.spiI = spi
	} else {
		s.spiR = spi
	}
	return s, nil
}

// addSA lets messages reach the SA.
func (m *Machine) addSA(s *ikeSA) {
	m.sas = append(m.sas, s)
	m.serial++
	s.serial = m.serial
	m.emit(SPIOpened{SPI: s.localSPI(), Initiator: s.initiator})
}

// establish starts the lifetime of an SA.
func (m *Machine) establish(now link.Instant, s *ikeSA, state saState) {
	s.state = state
	s.rekeyAt = m.jittered(now, m.cfg.Lifetimes.IKE)
	if life := m.cfg.Lifetimes.IKE; life > 0 {
		s.expireAt = now.Boot + life + m.cfg.Lifetimes.Grace
	}
}

// adopt makes s the SA that carries on: it inherits the child SAs, which belong to the machine, and what waits in the
// queue of the old one (RFC 7296 §2.8).
func (m *Machine) adopt(now link.Instant, s *ikeSA) {
	old := m.current
	m.current = s
	s.state = saEstablished
	old.state = saReplaced
	old.rekeyAt, old.expireAt = 0, 0
	for _, x := range old.queue {
		if _, ok := x.rekeyTask(); !ok {
			s.queue = append(s.queue, x)
		}
	}
	old.queue = nil
	m.renewTicket(s)
	m.renewToken(s)
	m.emit(IKERekeyed{
		InitiatorSPI: s.spiI, ResponderSPI: s.spiR,
		KeyExchanges: s.keys.suite.exchanges(), Downgraded: m.cfg.Proposals.downgraded(s.keys.suite.additional),
	})
	old.guardAt = now.Boot + guardTime
}

// shutSA ends an SA that is not the current one. For a while it still answers the repetition of the peer's last request.
func (m *Machine) shutSA(now link.Instant, s *ikeSA) {
	if s.state == saClosed {
		return
	}
	if s.exchange != nil {
		x := s.exchange
		s.exchange = nil
		x.abandon(now, m)
	}
	s.queue = nil
	s.state = saClosed
	s.lastAnswer = nil
	s.incoming.reset()
	for _, q := range slices.Clone(s.series) {
		s.dropSeries(q)
	}
	if s.keys != nil {
		s.keys.wipe()
		s.keys = nil
	}
	s.rekeyAt, s.expireAt, s.heldUntil = 0, 0, 0
	s.guardAt = now.Boot + lingerTime
}

// dropSA forgets an SA.
func (m *Machine) dropSA(s *ikeSA) {
	for i, o := range m.sas {
		if o == s {
			m.sas = append(m.sas[:i:i], m.sas[i+1:]...)
			if m.err == nil { // Closed has been the last event otherwise
				m.emit(SPIClosed{SPI: s.localSPI(), Initiator: s.initiator})
			}
			return
		}
	}
}

const (
	// guardTime is how long we wait for the peer to delete what it should (RFC 7296 §2.8) before we do it.
	guardTime = 60 * time.Second
	// lingerTime is how long a closed SA answers repetitions, and how long the inbound half of a rekeyed child SA takes
	// packets in flight.
	lingerTime = 30 * time.Second
	drainTime  = 5 * time.Second
	// holdTime bounds how long the responder of an IKE rekeying holds its own requests back from the new SA.
	holdTime = 2 * time.Second
)
