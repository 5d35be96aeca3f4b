package gateway

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/radius"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
	"mipvpn/tun/queue"
)

// Reasons for the rejection of one datagram.
var (
	// ErrUnknownSPI means that the message belongs to no IKE SA.
	ErrUnknownSPI = errors.New("gateway: no IKE SA with this SPI")
	// ErrCookieAsked means that the request was answered with a COOKIE.
	ErrCookieAsked = errors.New("gateway: a cookie was asked for")
	// ErrHalfOpen means that there are too many half-open IKE SAs.
	ErrHalfOpen = errors.New("gateway: too many half-open IKE SAs")
	// ErrClosed means that the gateway takes no new peers.
	ErrClosed = errors.New("gateway: closed")
)

// maxUnknownAnswers bounds the INVALID_IKE_SPI notifies a second, which are not protected (RFC 7296 §2.21.4); with tokens there
// are many clients to be told after a restart, each with about as many octets as it has sent.
const maxUnknownAnswers, maxUnknownTokens = 10, 1000

// Gateway is the machine of a VPN gateway. It is driven like the machines of ipsec/ike: after each call PollEvent is
// drained, then PollTransmit; HandleTimeout is called at Deadline.
type Gateway struct {
	cfg     Config
	rand    io.Reader
	peers   map[ike.Identity]Peer
	users   map[string]User
	byName  map[ike.Identity]User // the same by the identity that they have
	cookies cookies
	tickets *tickets

	provisions  map[string]*provision       // by the policy's name
	homes       map[ike.Identity]netip.Addr // of those who may use the agent
	radius      *radius.Client              // nil without
	talks       map[radius.ID]*session
	accounted   map[SessionID]radius.User // users of RADIUS with a session that is accounted for
	lostRecords uint64
	reloads     uint64 // how often Reload has taken a configuration

	sessions   map[SessionID]*session
	lastID     SessionID
	bySPI      map[spiKey]*session
	byInit     map[[sha256.Size]byte]*session // half-open ones, and those that still answer repetitions
	byIdentity map[ike.Identity]*session
	byInbound  map[uint32]*session // ESP
	halfOpen   int
	halfOpenBy map[netip.Addr]int
	deadlines  queue.Agenda[*session]
	closed     bool

	unknownSince time.Duration // start of the second that unknownCount counts
	unknownCount int

	events    queue.FIFO[Event]
	transmits queue.FIFO[ike.Transmit]
}

// New makes a gateway. rand is the source of keys, nonces, SPIs and cookies. Errors wrap ErrConfig or ike.ErrConfig.
func New(cfg Config, rand io.Reader) (*Gateway, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	g := &Gateway{cfg: cfg, rand: rand, peers: make(map[ike.Identity]Peer), users: make(map[string]User), byName: make(map[ike.Identity]User), provisions: cfg.provisions(), homes: cfg.Agent.homes(),
		talks: make(map[radius.ID]*session), accounted: make(map[SessionID]radius.User),
		cookies: cookies{rand: rand}, tickets: newTickets(rand, cfg.IKE.Lifetimes.IKE), sessions: make(map[SessionID]*session), bySPI: make(map[spiKey]*session),
		byInit: make(map[[sha256.Size]byte]*session), byIdentity: make(map[ike.Identity]*session),
		byInbound: make(map[uint32]*session), halfOpenBy: make(map[netip.Addr]int)}
	for _, p := range cfg.Peers {
		g.peers[p.Identity] = p
	}
	for _, u := range cfg.Users {
		id, err := message.NewIdentity(u.Name)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		g.users[u.Name], g.byName[id] = u, u
	}
	if cfg.RADIUS != nil {
		var err error
		if g.radius, err = radius.New(*cfg.RADIUS, rand); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	g.bind()
	if _, err := ike.NewResponder(g.responder(nil), rand); err != nil {
		return nil, err // whatever is wrong with the IKE part is found now, not with the first peer
	}
	return g, nil
}

// HandleDatagram takes an IKE message, without non-ESP marker. An error says why it was rejected; sessions are intact.
func (g *Gateway) HandleDatagram(now link.Instant, d ike.Datagram) error {
	h, err := message.ParseHeader(d.Payload)
	if err != nil && !errors.Is(err, message.ErrVersion) {
		return fmt.Errorf("gateway: %w", err)
	}
	if h.ResponderSPI == 0 && h.FromInitiator() && !h.Response() && (initial(h.Exchange) || err != nil) {
		return g.handleInit(now, h, d)
	}
	key := spiKey{spi: h.ResponderSPI}
	if !h.FromInitiator() { // the peer is the responder of an SA that it did not begin: one that we rekeyed
		key = spiKey{spi: h.InitiatorSPI, initiator: true}
	}
	s := g.bySPI[key]
	if s == nil {
		g.answerUnknown(now, h, d)
		return fmt.Errorf("%w: %016x", ErrUnknownSPI, key.spi)
	}
	err = s.machine.HandleDatagram(now, d)
	g.pump(now, s)
	return err
}

// handleInit takes the first message of a peer, which may be a repetition.
func (g *Gateway) handleInit(now link.Instant, h message.Header, d ike.Datagram) error {
	init := initHash(d)
	s := g.byInit[init]
	if s == nil {
		if g.closed {
			return ErrClosed
		}
		if err := g.admit(now, h, d); err != nil {
			return err
		}
		var err error
		if s, err = g.newSession(d, init); err != nil {
			return err
		}
	}
	err := s.machine.HandleDatagram(now, d)
	g.pump(now, s)
	if len(s.spis) == 0 { // refused: nothing was begun, and a repetition is refused in the same way
		g.release(s)
		g.forget(s)
	}
	return err
}

// initial tells whether an exchange begins an IKE SA (RFC 7296 §1.2, RFC 5723 §4.3.2).
func initial(e message.ExchangeType) bool {
	return e == message.IKESAInit || e == message.IKESessionResume
}

// granting returns what makes tickets, nil where none are made.
func (g *Gateway) granting(s *session) ike.Tickets {
	if g.cfg.NoResumption {
		return nil
	}
	return sessionTickets{g.tickets, g, s}
}

// initHash tells IKE_SA_INIT requests apart by their octets and origin (RFC 7296 §2.1).
func initHash(d ike.Datagram) [sha256.Size]byte {
	h := sha256.New()
	addr := d.Remote.Addr().As16()
	h.Write(addr[:])
	h.Write(binary.BigEndian.AppendUint16(nil, d.Remote.Port()))
	if d.TCP {
		h.Write([]byte{packet.ProtocolTCP})
	}
	h.Write(d.Payload)
	return [sha256.Size]byte(h.Sum(nil))
}

// admit decides whether a new peer gets a machine: under load only with a cookie, and never over the bounds.
func (g *Gateway) admit(now link.Instant, h message.Header, d ike.Datagram) error {
	from := d.Remote.Addr()
	// A TCP handshake has proven the address already (RFC 9329 §6.3).
	if initial(h.Exchange) && !d.TCP && g.halfOpen >= max(g.cfg.CookieThreshold, 0) {
		m, err := message.Parse(d.Payload)
		if err != nil {
			return fmt.Errorf("gateway: %w", err)
		}
		nonce, ok := message.Find[message.Nonce](m.Payloads)
		if !ok || h.InitiatorSPI == 0 {
			return fmt.Errorf("gateway: %w: %v without nonce or SPI", message.ErrMalformed, h.Exchange)
		}
		given, ok := message.FindNotify(m.Payloads, message.Cookie)
		if !ok || !g.cookies.valid(now, given.Data, from, h.InitiatorSPI, nonce.Data) || !g.worked(m, given.Data) {
			if err := g.askForCookie(now, h, d, m, nonce.Data); err != nil {
				return err
			}
			return ErrCookieAsked
		}
	}
	if g.halfOpen >= g.cfg.MaxHalfOpen {
		return fmt.Errorf("%w: %d", ErrHalfOpen, g.halfOpen)
	}
	if n := g.halfOpenBy[from]; n >= g.cfg.MaxHalfOpenAddress {
		return fmt.Errorf("%w: %d from %v", ErrHalfOpen, n, from)
	}
	return nil
}

func (g *Gateway) askForCookie(now link.Instant, h message.Header, d ike.Datagram, m *message.Message, nonce []byte) error {
	puzzle := g.puzzle(m)
	cookie, err := g.cookies.make(now, uint8(puzzle.Bits), d.Remote.Addr(), h.InitiatorSPI, nonce)
	if err != nil {
		return err
	}
	out := []message.Payload{message.Notify{Message: message.Cookie, Data: cookie}}
	if puzzle.Bits > 0 {
		out = append(out, puzzle.Notify())
	}
	return g.notify(d, message.Header{InitiatorSPI: h.InitiatorSPI, Exchange: h.Exchange, Flags: message.FlagResponse}, out...)
}

// answerUnknown tells the sender of a request that its IKE SA does not exist here, at a bounded rate.
func (g *Gateway) answerUnknown(now link.Instant, h message.Header, d ike.Datagram) {
	if h.Response() || h.ResponderSPI == 0 {
		return
	}
	if g.unknownCount == 0 || now.Since(g.unknownSince) >= time.Second {
		g.unknownSince, g.unknownCount = now.Boot, 0
	}
	limit := maxUnknownAnswers
	if len(g.cfg.CrashSecrets) > 0 {
		limit = maxUnknownTokens
	}
	if g.unknownCount++; g.unknownCount > limit {
		return
	}
	answer := message.Header{InitiatorSPI: h.InitiatorSPI, ResponderSPI: h.ResponderSPI, Exchange: h.Exchange,
		Flags: message.FlagResponse | (^h.Flags & message.FlagInitiator), MessageID: h.MessageID}
	// A failure to encode a few notifies cannot happen, and there is nobody to tell.
	_ = g.notify(d, answer, g.lost(h)...)
}

func (g *Gateway) notify(d ike.Datagram, h message.Header, ps ...message.Payload) error {
	wire, err := (&message.Message{Header: h, Payloads: ps}).Append(nil)
	if err != nil {
		return fmt.Errorf("gateway: %w", err)
	}
	g.transmits.Push(ike.Transmit{Local: d.Local, Remote: d.Remote, TCP: d.TCP, Payload: wire})
	return nil
}

// responder is the configuration of a session's machine.
func (g *Gateway) responder(s *session) ike.ResponderConfig {
	return ike.ResponderConfig{Config: g.cfg.IKE, Policy: policy{g: g, s: s}, HalfOpen: g.cfg.HalfOpen, Tickets: g.granting(s),
		Accept: g.cfg.accept(), Multiple: g.cfg.multiple(), PPK: len(g.cfg.PPKs) != 0,
		Redirect: g.cfg.Redirect, GatewayAgent: g.agent()}
}

func (g *Gateway) newSession(d ike.Datagram, init [sha256.Size]byte) (*session, error) {
	g.lastID++
	s := &session{id: g.lastID, init: init, remote: d.Remote, from: d.Remote.Addr(), halfOpen: true, reloads: g.reloads,
		spis: make(map[spiKey]bool), inbound: make(map[ike.ChildID]uint32)}
	s.deadline.Of = s
	m, err := ike.NewResponder(g.responder(s), g.rand)
	if err != nil {
		return nil, err
	}
	s.machine = m
	g.sessions[s.id], g.byInit[init] = s, s
	g.halfOpen++
	g.halfOpenBy[s.from]++
	return s, nil
}

// pump takes what a session's machine yields, and forgets the session when the machine has nothing left to do.
func (g *Gateway) pump(now link.Instant, s *session) {
	for {
		e, ok := s.machine.PollEvent()
		if !ok {
			break
		}
		g.handleEvent(now, s, e)
	}
	for {
		t, ok := s.machine.PollTransmit()
		if !ok {
			break
		}
		g.transmits.Push(t)
	}
	at, ok := s.machine.Deadline()
	if s.endAt != 0 && (!ok || s.endAt < at) && s.machine.Err() == nil {
		at, ok = s.endAt, true
	}
	if ok {
		g.deadlines.Set(&s.deadline, at)
	} else {
		g.deadlines.Stop(&s.deadline)
	}
	if s.machine.Err() != nil {
		g.endEAP(s)
		g.release(s)
		if !ok {
			g.forget(s)
		}
	}
}

// handleEvent keeps the tables and passes the event on.
func (g *Gateway) handleEvent(now link.Instant, s *session, e ike.Event) {
	switch e := e.(type) {
	case ike.SPIOpened:
		key := spiKey{e.SPI, e.Initiator}
		s.spis[key], g.bySPI[key] = true, s
		return
	case ike.SPIClosed:
		if s.machine.Err() == nil { // a dead machine answers repetitions until it is forgotten
			g.closeSPI(s, spiKey{e.SPI, e.Initiator})
		}
		return
	case ike.EAPReceived:
		g.handleEAP(now, s, e)
		return
	case ike.Established:
		g.settle(s)
		s.identity, s.remote = e.RemoteID, e.Remote
		outdated := s.reloads != g.reloads && !g.rebase(s)
		g.limit(now, s)
		before := g.byIdentity[e.RemoteID]
		g.byIdentity[e.RemoteID] = s // first, so that the old session does not give back the address that is now the new one's
		if before != nil && before != s {
			g.replace(now, s, before, e.InitialContact || e.Resumed)
		}
		if outdated {
			s.machine.Delete(now)
		}
	case ike.ChildInstalled:
		s.inbound[e.ID], g.byInbound[e.Inbound.SPI] = e.Inbound.SPI, s
	case ike.ChildRemoved:
		if g.byInbound[s.inbound[e.ID]] == s {
			delete(g.byInbound, s.inbound[e.ID])
		}
		delete(s.inbound, e.ID)
	case ike.EndpointChanged:
		s.remote = e.Update.Remote()
	}
	g.events.Push(Event{Session: s.id, Identity: s.identity, Address: s.address, HomeAddress: s.home, Remote: s.remote, Event: e})
}

// replaceAfter is how long a session that a new one of the same peer has replaced stays, for the peer to delete it and for
// packets that are on their way (RFC 7296 §2.8.3).
const replaceAfter = 10 * time.Second

// replace ends the session that the same peer had before. After INITIAL_CONTACT the peer knows nothing of it any more
// (RFC 7296 §2.4), so it is not told. Otherwise it may have authenticated anew beside it, and is given time; but there is one such
// session of a peer at most.
func (g *Gateway) replace(now link.Instant, next, s *session, silently bool) {
	if before := s.before; before != nil {
		before.machine.Delete(now)
		g.pump(now, before)
	}
	if s.before = nil; !silently {
		next.before, s.mayLastTo, s.endAt = s, s.endAt, now.Boot+replaceAfter
		g.pump(now, s)
		return
	}
	s.machine.Delete(now)
	for _, id := range slices.Sorted(maps.Keys(s.inbound)) {
		g.handleEvent(now, s, ike.ChildRemoved{ID: id, Inbound: s.inbound[id], Reason: ike.ErrReplaced})
	}
	g.events.Push(Event{Session: s.id, Identity: s.identity, Address: s.address, HomeAddress: s.home, Remote: s.remote,
		Event: ike.Closed{Err: ike.ErrReplaced}})
	g.release(s)
	g.forget(s)
}

// settle ends the half-open time of a session: when its peer is authenticated, or when it is forgotten. One that failed
// counts as long as it answers repetitions, so that failures are bounded too.
func (g *Gateway) settle(s *session) {
	if !s.halfOpen {
		return
	}
	s.halfOpen = false
	g.halfOpen--
	if g.halfOpenBy[s.from]--; g.halfOpenBy[s.from] == 0 {
		delete(g.halfOpenBy, s.from)
	}
}

// release gives back what a dead session holds of others: its identity and its address of the pool. The address is that of the
// session which has replaced it, unless that one has another policy, or its home address. One that it has replaced and that is still
// there takes its place again: the peer has thought better of it.
func (g *Gateway) release(s *session) {
	holder := g.byIdentity[s.identity]
	if holder == s {
		delete(g.byIdentity, s.identity)
		if before := s.before; before != nil && before.machine.Err() == nil {
			s.before, before.endAt, holder = nil, before.mayLastTo, before
			g.byIdentity[s.identity] = before
		}
	}
	if s.provision == nil || s.identity.IsZero() || s.home.IsValid() {
		return
	}
	if holder == nil || holder == s || holder.provision != s.provision || holder.home.IsValid() {
		s.provision.release(s.identity)
	}
}

// limit sets the end of a session that may not last for ever.
func (g *Gateway) limit(now link.Instant, s *session) {
	var most time.Duration
	if s.provision != nil {
		most = s.provision.Session
	}
	if u := s.user.Session; u > 0 && (most == 0 || u < most) {
		most = u
	}
	if most > 0 {
		s.endAt = now.Boot + most
	}
	if g.radius != nil {
		g.accounted[s.id] = s.user
	}
}

// forget removes a session.
func (g *Gateway) forget(s *session) {
	g.endEAP(s)
	g.settle(s)
	g.deadlines.Stop(&s.deadline)
	for key := range s.spis {
		g.closeSPI(s, key)
	}
	if g.byInit[s.init] == s {
		delete(g.byInit, s.init)
	}
	delete(g.sessions, s.id)
	if next := g.byIdentity[s.identity]; next != nil && next.before == s {
		next.before = nil
	}
}

func (g *Gateway) closeSPI(s *session, key spiKey) {
	delete(s.spis, key)
	if g.bySPI[key] == s {
		delete(g.bySPI, key)
	}
}
