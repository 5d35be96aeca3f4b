package ike

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Machine is one IKE association with one peer: an IKE SA with its successors and its child SAs. See doc.go for how it
// is driven. It is made by NewInitiator or NewResponder.
type Machine struct {
	cfg       Config
	initiator *InitiatorConfig // nil for a responder
	responder *ResponderConfig // nil for an initiator
	rand      io.Reader

	local, remote netip.AddrPort
	tcp           bool // in a TCP connection (RFC 9329)
	nat           NAT
	encapsulate   bool
	remoteID      Identity
	localID       Identity
	assigned      Configuration
	updates       uint64 // numbers the EndpointUpdates
	serial        uint64 // numbers the IKE SAs
	natTraversal  bool   // both ends support it (RFC 7296 §2.23)
	mobike        mobike
	trail         trail
	sent          uint64 // datagrams, without keepalives
	reauth        reauthentication
	agent         agentUse

	sas       []*ikeSA
	current   *ikeSA
	children  []*child
	lastChild ChildID
	// ticket resumes the current IKE SA (RFC 5723), nil without one.
	ticket *Ticket
	// fragmentSize is the length of the longest IP datagram to be sent, 0 without fragmentation (RFC 7383).
	fragmentSize int
	// first keeps what AUTH and the first child SA need of IKE_SA_INIT, nil when the machine is established.
	first *firstExchange
	// said is what the peer has said in IKE_SA_INIT about authentication, answering where the responder stands in it.
	said      announced
	answering *authAnswer
	// waiting is the step that waits for the driver's answer, asked what it has been asked for, answer what it has answered.
	waiting *waiting
	asked   question
	answer  *answered
	// proved are the identities that the peer has proved, one a round; claimed is its latest IDi.
	proved  []Identity
	claimed Identity

	established bool
	deleting    bool // Delete was called
	ppkUsed     bool // a post-quantum pre-shared key is in the keys
	redirects   bool // the peer follows redirections (RFC 5685)
	leaving     bool // it has been redirected in IKE_AUTH
	lostStates  int  // STATE_NOT_FOUND in a row
	probing     bool // CheckLiveness waits for an answer
	parked      bool // Park was called
	lastHeard   time.Duration
	lastHint    time.Duration
	tokensAt    time.Duration // start of the second that tokens counts
	tokens      int           // messages with QCD tokens
	hinted      bool
	keepaliveAt time.Duration
	spare       int // how many times rarer they and liveness checks are, 0 and 1 for not (Spare)
	keep        keepalives
	halfOpenAt  time.Duration
	refused     error
	// arrived has the endpoints of the message that is being handled.
	arrived Datagram

	events    queue.FIFO[Event]
	transmits queue.FIFO[Transmit]
	err       error
}

// NewInitiator makes the machine of a client. rand is the source of keys, nonces and SPIs (crypto/rand.Reader outside of
// tests). Nothing is sent before Start. Errors wrap ErrConfig.
func NewInitiator(cfg InitiatorConfig, rand io.Reader) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Machine{
		cfg: cfg.Config, initiator: &cfg, rand: rand, local: cfg.Local, remote: cfg.Remote, tcp: cfg.TCP,
		localID: cfg.LocalID, remoteID: cfg.RemoteID, mobike: cfg.startAddresses(),
	}, nil
}

// NewResponder makes the machine that answers one IKE_SA_INIT request, which is its first input. A gateway makes one for
// each such request that it does not refuse with a COOKIE, and gives repetitions of the same octets to the same machine,
// which answers them as before. Errors wrap ErrConfig.
func NewResponder(cfg ResponderConfig, rand io.Reader) (*Machine, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	return &Machine{cfg: cfg.Config, responder: &cfg, rand: rand, localID: cfg.LocalID, mobike: cfg.startAddresses()}, nil
}

// HandleTraffic tells the machine that ESP packets authenticated on the child SA with inbound SPI spi: the peer lives, and
// it uses that SA. A driver may say so now and then instead of for each packet.
func (m *Machine) HandleTraffic(now link.Instant, spi uint32) {
	if m.err != nil {
		return
	}
	for _, c := range m.children {
		if c.in == spi && c.state == childInstalled {
			m.lastHeard = max(m.lastHeard, now.Boot)
			m.activate(c)
		}
	}
}

// HandleDatagram takes an IKE message. An error says why this input was rejected; the machine is intact, unless Err is
// set too.
func (m *Machine) HandleDatagram(now link.Instant, d Datagram) error {
	h, err := message.ParseHeader(d.Payload)
	if err != nil {
		if errors.Is(err, message.ErrVersion) && m.responder != nil && m.current == nil && !h.Response() {
			m.refuseVersion(h, d)
		}
		return fmt.Errorf("ike: %w", err)
	}
	if m.current == nil {
		return m.handleFirst(now, h, d)
	}
	for _, s := range m.sas {
		if s.takes(h) {
			return m.handleMessage(now, s, h, d)
		}
		if !h.Response() && initial(h.Exchange) && m.repeated(s, d) {
			return nil
		}
	}
	return fmt.Errorf("ike: %w: %016x_%016x", ErrUnknownSPI, h.InitiatorSPI, h.ResponderSPI)
}

// repeated answers the repetition of the last request as before (RFC 7296 §2.1).
func (m *Machine) repeated(s *ikeSA, d Datagram) bool {
	if s.lastResponse == nil || sha256.Sum256(d.Payload) != s.lastRequest {
		return false
	}
	m.respondAgain(s, d)
	return true
}

// handleMessage takes a message that carries the SPIs of s.
func (m *Machine) handleMessage(now link.Instant, s *ikeSA, h message.Header, d Datagram) error {
	if !h.Response() && m.repeated(s, d) {
		return nil
	}
	if m.err != nil {
		return fmt.Errorf("ike: %w", ErrClosed)
	}
	if s.state == saClosed {
		return fmt.Errorf("ike: %w: %v", ErrUnexpected, s)
	}
	if h.Response() {
		if s.exchange == nil || s.exchange.id != h.MessageID || s.exchange.wires == nil {
			return fmt.Errorf("ike: %w: response %d to nothing outstanding", ErrMessageID, h.MessageID)
		}
		if initial(h.Exchange) && s.exchange.kind == h.Exchange {
			return m.handleInitResponse(now, s, d)
		}
	}
	if s.keys == nil || initial(h.Exchange) {
		return fmt.Errorf("ike: %w: %v, response %t, while %v", ErrUnexpected, h.Exchange, h.Response(), s)
	}
	f, fragment := message.ParseFragment(d.Payload)
	if !h.Response() && h.MessageID != s.expectID {
		if fragment {
			return m.repeatedFragment(s, f, d)
		}
		return fmt.Errorf("ike: %w: request %d, want %d", ErrMessageID, h.MessageID, s.expectID)
	}
	var in *message.Message
	var err error
	if fragment {
		if in, d.Payload, err = m.collect(now, s, f, d); in == nil {
			return err
		}
		h = in.Header
	} else {
		var verified bool
		if in, verified, err = message.Open(d.Payload, s.peerCipher()); !verified {
			return m.unverified(now, s, d, err)
		}
	}
	if h.Response() && s.exchange.kind != h.Exchange {
		return fmt.Errorf("ike: %w: %v response to a %v request", ErrUnexpected, h.Exchange, s.exchange.kind)
	}
	m.arrived = Datagram{Local: d.Local, Remote: d.Remote, TCP: d.TCP}
	m.heardThroughNAT(now)
	m.heard(now, s, d)
	if err != nil {
		return m.badText(now, s, h, d, err)
	}
	if h.Response() {
		if t, ok := message.UnsupportedCritical(in.Payloads); ok { // RFC 7296 §2.5: never in responses
			return m.badText(now, s, h, d, fmt.Errorf("%w: critical %v", ErrInvalidAnswer, t))
		}
		return m.handleResponse(now, s, in)
	}
	return m.handleRequest(now, s, d, in)
}

// unverified takes a message that is not authentic. Without protection it is at most a hint that the peer has lost the SA
// (RFC 7296 §2.21.4), which asks for a liveness check now and then.
func (m *Machine) unverified(now link.Instant, s *ikeSA, d Datagram, err error) error {
	if plain, perr := message.Parse(d.Payload); perr == nil {
		if _, protected := message.Find[message.Encrypted](plain.Payloads); !protected {
			if m.crashed(now, s, plain) {
				m.discard(now, s)
				return nil
			}
			if s == m.current && m.running() && (!m.hinted || now.Since(m.lastHint) >= hintInterval) {
				m.hinted, m.lastHint = true, now.Boot
				m.probe(now)
			}
			return fmt.Errorf("ike: %w: %v", ErrUnprotected, plain.Header.Exchange)
		}
	}
	if errors.Is(err, message.ErrMalformed) {
		return fmt.Errorf("ike: %w", err)
	}
	return fmt.Errorf("ike: %w", ErrIntegrity)
}

// badText handles an authentic message whose contents are malformed: INVALID_SYNTAX, which is fatal on both sides
// (RFC 7296 §2.21.3). A malformed response is answered by closing the SA, not by an error.
func (m *Machine) badText(now link.Instant, s *ikeSA, h message.Header, d Datagram, err error) error {
	err = fmt.Errorf("ike: %v: %w", h.Exchange, err)
	if h.Response() {
		m.close(now, err, deleteIKE)
		return err
	}
	if rerr := m.respond(s, d, h, []message.Payload{message.Notify{Message: message.InvalidSyntax}}); rerr != nil {
		err = rerr
	}
	m.close(now, err)
	return err
}

// heard notes a fresh protected message of the peer.
func (m *Machine) heard(now link.Instant, s *ikeSA, d Datagram) {
	m.lastHeard = now.Boot
	s.heldUntil = 0
	if m.probing && m.established {
		m.probing = false
		m.emit(Alive{})
	}
	if m.responder != nil && !m.established {
		m.use(d.path())
		return
	}
	// RFC 7296 §2.23: by fresh messages, without MOBIKE (RFC 4555 §3.8).
	if !m.mobike.on || m.tcp {
		m.follow(now, d.path())
	}
}

// HandleTimeout does what is due at now.
func (m *Machine) HandleTimeout(now link.Instant) {
	if m.idle() {
		m.idleTimeout(now)
		return
	}
	for _, s := range append([]*ikeSA(nil), m.sas...) {
		m.saTimeout(now, s)
	}
	if m.err != nil {
		return
	}
	if due(now, m.halfOpenAt) && m.leaving {
		m.close(now, fmt.Errorf("ike: %w", ErrRedirected), deleteIKE)
		return
	}
	if due(now, m.halfOpenAt) {
		m.close(now, fmt.Errorf("ike: %w: no authentication within %v", ErrNoAnswer, m.responder.HalfOpen))
		return
	}
	for _, c := range append([]*child(nil), m.children...) {
		m.childTimeout(now, c)
	}
	if m.err != nil {
		return
	}
	if due(now, m.keepaliveAt) {
		m.sendKeepalive(now)
	}
	m.searchTimeout(now)
	m.followTimeout(now)
	m.reauthTimeout(now)
	if at, ok := m.livenessAt(); ok && due(now, at) {
		m.probe(now)
	}
}

func (m *Machine) saTimeout(now link.Instant, s *ikeSA) {
	if m.err != nil && s.state != saClosed {
		return
	}
	if due(now, s.guardAt) {
		s.guardAt = 0
		if s.state == saReplaced && m.err == nil {
			s.state = saDeleting
			m.enqueue(now, s, newExchange(message.Informational, &deleteIKETask{}))
		} else {
			m.shutSA(now, s)
			m.dropSA(s)
		}
		return
	}
	s.expireSeries(now)
	if due(now, s.incoming.expires) {
		s.incoming.reset()
	}
	if x := s.exchange; x != nil && due(now, x.resendAt) {
		m.timeout(now, x)
		return
	}
	if s.heldUntil != 0 && due(now, s.heldUntil) {
		s.heldUntil = 0
		m.startNext(now, s)
	}
	if s != m.current {
		return
	}
	if due(now, s.expireAt) {
		m.close(now, fmt.Errorf("ike: IKE SA: %w", ErrExpired), deleteIKE)
		return
	}
	if due(now, s.rekeyAt) && m.established && !m.deleting {
		s.rekeyAt = 0
		if !m.rekeying(s) {
			m.enqueue(now, s, newExchange(message.CreateChildSA, &ikeRekeyTask{}))
		}
	}
}

// Deadline returns the boot time of the earliest timer, false when there is none.
func (m *Machine) Deadline() (time.Duration, bool) {
	if m.idle() {
		at := m.expiry()
		return at, at != 0
	}
	var at time.Duration
	set := func(d time.Duration) {
		if d > 0 && (at == 0 || d < at) {
			at = d
		}
	}
	for _, s := range m.sas {
		set(s.guardAt)
		if m.err != nil {
			continue
		}
		set(s.heldUntil)
		set(s.incoming.expires)
		for _, q := range s.series {
			set(q.expires)
		}
		if s.exchange != nil {
			set(s.exchange.resendAt)
		}
		if s == m.current {
			set(s.rekeyAt)
			set(s.expireAt)
		}
	}
	if m.err == nil {
		set(m.halfOpenAt)
		set(m.keepaliveAt)
		set(m.mobike.search.at)
		set(m.trail.tickAt)
		set(m.reauthAt())
		if l, ok := m.livenessAt(); ok {
			set(l)
		}
		for _, c := range m.children {
			set(c.rekeyAt)
			set(c.expireAt)
			set(c.removeAt)
		}
	}
	return at, at != 0
}

// PollTransmit returns the next datagram to be sent. Events come first: PollEvent is drained before it, so that an SA is
// installed before the response that tells the peer of it leaves (RFC 7296 §2.8).
func (m *Machine) PollTransmit() (Transmit, bool) { return m.transmits.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Err returns why the machine is dead, nil while it lives. A dead machine may still have transmits and events to be
// drained, and while Deadline returns a time it answers repetitions of the peer's last request.
func (m *Machine) Err() error { return m.err }

// RemoteID returns the peer's identity once it is authenticated, the zero Identity before.
func (m *Machine) RemoteID() Identity {
	if !m.established {
		return Identity{}
	}
	return m.remoteID
}

func (m *Machine) emit(e Event) { m.events.Push(e) }

// transmit sends a message over a path.
func (m *Machine) transmit(over path, wire []byte) {
	m.sent++
	m.transmits.Push(Transmit{Local: over.local, Remote: over.remote, TCP: over.tcp, Payload: wire})
}

// running tells whether commands make sense: established, alive, not being deleted.
func (m *Machine) running() bool { return m.err == nil && m.established && !m.deleting }

// close ends the machine. farewell are payloads of a last INFORMATIONAL request that is not repeated: a peer that misses
// it will find out by its own liveness check.
func (m *Machine) close(now link.Instant, err error, farewell ...message.Payload) {
	if m.err != nil {
		return
	}
	if s := m.current; len(farewell) != 0 && s != nil && s.keys != nil {
		if wire, serr := s.seal(s.header(message.Informational, s.nextID+m.pending(s), false), farewell); serr == nil {
			m.transmit(m.path(), wire)
		}
	}
	m.err = err
	for _, c := range append([]*child(nil), m.children...) {
		m.removeChild(c, err)
	}
	for _, s := range append([]*ikeSA(nil), m.sas...) {
		m.shutSA(now, s)
	}
	m.forget()
	m.ticket.Wipe() // it ends with its IKE SA (RFC 5723 §6.2)
	m.ticket = nil
	m.keepaliveAt, m.halfOpenAt, m.mobike.search = 0, 0, search{}
	for _, s := range m.sas {
		m.emit(SPIClosed{SPI: s.localSPI(), Initiator: s.initiator})
	}
	m.emit(Closed{Err: err})
}

// pending is 1 when a request is outstanding, whose ID the next one must not take.
func (m *Machine) pending(s *ikeSA) uint32 {
	if s.exchange != nil && s.exchange.wires != nil {
		return 1
	}
	return 0
}

// forget wipes what only the first exchanges need.
func (m *Machine) forget() {
	if m.answering != nil {
		m.answering.wipe()
		m.answering = nil
	}
	m.waiting, m.answer = nil, nil
	if m.first != nil {
		m.first.wipe()
		m.first = nil
	}
	if m.initiator != nil {
		for _, p := range m.initiator.Rounds {
			clear(p.PSK)
		}
		clear(m.initiator.Accept.PSK)
		if p := m.initiator.PPK; p != nil {
			clear(p.Key)
		}
		m.initiator.Ticket.Wipe()
	}
}

func due(now link.Instant, at time.Duration) bool { return at != 0 && now.Boot >= at }

// jittered returns the boot time after life less a random part of up to a tenth, 0 for never.
func (m *Machine) jittered(now link.Instant, life time.Duration) time.Duration {
	if life <= 0 {
		return 0
	}
	return now.Boot + life - m.randomUpTo(life/10)
}

// randomUpTo returns a random time from 0 to limit. A failing source gives 0: the time is no secret.
func (m *Machine) randomUpTo(limit time.Duration) time.Duration {
	var b [4]byte
	if _, err := io.ReadFull(m.rand, b[:]); err != nil {
		return 0
	}
	return time.Duration(float64(limit) * float64(binary.BigEndian.Uint32(b[:])) / (1 << 32))
}

func (m *Machine) random(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(m.rand, b); err != nil {
		return nil, fmt.Errorf("ike: random octets: %w", err)
	}
	return b, nil
}

// randomSPI64 returns an IKE SPI: not zero (RFC 7296 §2.6).
func (m *Machine) randomSPI64() (uint64, error) {
	for range 8 {
		b, err := m.random(8)
		if err != nil {
			return 0, err
		}
		if spi := binary.BigEndian.Uint64(b); spi != 0 {
			return spi, nil
		}
	}
	return 0, errors.New("ike: the random source gives only zeros")
}

// randomSPI32 returns an inbound ESP SPI that is not in use.
func (m *Machine) randomSPI32() (uint32, error) {
	for range 64 {
		b, err := m.random(4)
		if err != nil {
			return 0, err
		}
		spi := binary.BigEndian.Uint32(b)
		if spi < esp.MinSPI || m.cfg.SPIInUse != nil && m.cfg.SPIInUse(spi) || m.childByIn(spi) != nil {
			continue
		}
		return spi, nil
	}
	return 0, errors.New("ike: found no free SPI")
}

// hintInterval bounds the liveness checks that unprotected messages can cause (RFC 7296 §2.4, §2.21.4).
const hintInterval = 10 * time.Second
