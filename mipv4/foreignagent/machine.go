package foreignagent

import (
	"io"
	"net/netip"
	"slices"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
	"mipvpn/tun/queue"
)

// Machine is the foreign agent's protocol machine.
type Machine struct {
	cfg         Config
	random      io.Reader
	mobileNodes map[netip.Addr]*auth.SecurityAssociation
	homeAgents  map[netip.Addr]*auth.SecurityAssociation
	table       Table

	registrations map[registrationKey]*registration
	waits, ends   queue.Agenda[*registration] // of registrations with pending requests, and with visitors that expire
	revokes       queue.Agenda[*registration] // of registrations whose revocation waits for its acknowledgement
	pendings      int
	stations      map[Station]int // pending requests of each that has some
	visiting      int
	denials       map[denialKey]time.Duration // boot time of the last denial
	denialsSwept  time.Duration               // boot time at which the old ones were last taken out
	advertiser    advertiser
	challenges    challenges
	keeper        keeper
	questions     queue.FIFO[auth.Question]
	asked         uint64                   // questions
	asking        map[uint64]*registration // by question

	transmits queue.FIFO[Transmit]
	events    queue.FIFO[Event]
}

// registrationKey tells registrations apart: a mobile node may have one with each of several home agents. One without a home address
// yet has its NAI instead.
type registrationKey struct {
	home, homeAgent netip.Addr
	nai             string
}

// registration is an entry of the visitor list, with its pending requests (RFC 5944 §3.7.1). visitor is nil while none has
// been accepted.
type registration struct {
	key      registrationKey
	visitor  *Visitor
	lifetime uint16        // granted, in seconds
	until    time.Duration // boot time at which the visitor goes, unless lifetime is infinite
	pending  []*pending    // of all stations, the oldest first
	// revocable is what was agreed about revocation, nil for nothing; revocation one that waits for its acknowledgement.
	revocable  *revocability
	revocation *revocation
	answered   time.Duration // boot time at which it was accepted last
	// waiting is due with the oldest pending request, ending with the visitor, revoking with the next revocation; tidy sets them.
	waiting, ending, revoking queue.Timer[*registration]
	// keepAlive is the interval of keepalives in a UDP tunnel, 0 for none; keepAt is when the next is due, and keeping then.
	keepAlive, keepAt time.Duration
	keeping           queue.Timer[*registration]
}

// pending is a request that has been relayed and not answered.
type pending struct {
	request  *wire.RegistrationRequest
	station  station
	delivery bool          // encapsulating delivery style
	until    time.Duration // boot time
	// stamp is the timestamp of the Revocation Support extension that was added, if supported.
	stamp     uint32
	supported bool
	message   []byte // what goes to the home agent of it
	challenge []byte // that it has used, nil for none
	question  uint64 // to the AAA infrastructure that is not answered yet, 0 for none
}

// station is where a mobile node stands, and where replies go.
type station struct {
	at     Station
	source netip.AddrPort // of the request
	agent  netip.Addr     // the address that the request was sent to, this agent's when it was a group
}

// denialKey is what denials are limited by: one a second for each registration that a station tries and each code, since what follows
// on an answered challenge is another matter than that there was one.
type denialKey struct {
	registrationKey
	at   Station
	code wire.Code
}

// Destination says where a Transmit goes.
type Destination uint8

const (
	// ToHomeAgent: a UDP datagram from the care-of address, port 434, to Transmit.Remote.
	ToHomeAgent Destination = iota + 1
	// ToMobileNode: a UDP datagram to Transmit.Station, from Transmit.Local to Transmit.Remote.
	ToMobileNode
	// Advertise: an ICMP message with a time to live of 1 in a frame to Transmit.Station, from Transmit.Local to
	// Transmit.Remote, whose ports are 0.
	Advertise
)

// Transmit is a message to be sent.
type Transmit struct {
	To Destination
	// Local is the source, port included; the zero value for ToHomeAgent.
	Local netip.AddrPort
	// Remote is the destination.
	Remote netip.AddrPort
	// Station is where it goes to the mobile node; in an advertisement for all a link-layer group address.
	Station Station
	// Payload of the datagram, or the ICMP message.
	Payload []byte
}

// EventKind says what has become of a visitor.
type EventKind uint8

// What becomes of visitors.
const (
	// Arrived: a mobile node has a registration that it did not have.
	Arrived EventKind = iota + 1
	// Renewed: a registration lives on.
	Renewed
	// Departed: the mobile node deregistered.
	Departed
	// Expired: the lifetime ended.
	Expired
	// Dropped: the administrator struck the visitor off.
	Dropped
	// Revoked: the home agent revoked the registration (RFC 3543).
	Revoked
)

// String returns the kind as one word for logs.
func (k EventKind) String() string {
	if k >= Arrived && k <= Revoked {
		return [...]string{"arrived", "renewed", "departed", "expired", "dropped", "revoked"}[k-Arrived]
	}
	return "unknown"
}

// Event is a change of the visitor list.
type Event struct {
	Kind EventKind
	// Visitor is the registration.
	Visitor *Visitor
	// Lifetime granted, in seconds, for Arrived and Renewed.
	Lifetime uint16
}

// New returns a foreign agent without visitors. The first advertisement is due at the boot time of now. random serves to
// spread advertisements. Errors wrap ErrConfig.
func New(cfg Config, now link.Instant, random io.Reader) (*Machine, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	m := &Machine{
		cfg: cfg, random: random,
		mobileNodes: associations(cfg.MobileNodes), homeAgents: associations(cfg.HomeAgents),
		registrations: make(map[registrationKey]*registration), denials: make(map[denialKey]time.Duration),
		stations: make(map[Station]int),
	}
	m.advertiser.start(cfg.Interval, now.Boot)
	return m, nil
}

func associations(peers []Peer) map[netip.Addr]*auth.SecurityAssociation {
	m := make(map[netip.Addr]*auth.SecurityAssociation, len(peers))
	for _, p := range peers {
		m[p.Address] = p.Association
	}
	return m
}

// Table returns the visitor list for the data path. It is the same for the machine's whole life.
func (m *Machine) Table() *Table { return &m.table }

// HandleTimeout sends the advertisement that is due, denies requests that have waited too long, and deletes visitors
// whose lifetimes have ended.
func (m *Machine) HandleTimeout(now link.Instant) {
	m.advertise(now)
	m.keepAlive(now)
	for r, due := m.waits.Due(now.Boot); due; r, due = m.waits.Due(now.Boot) {
		m.expirePending(now, r)
		m.tidy(r)
	}
	for r, due := m.ends.Due(now.Boot); due; r, due = m.ends.Due(now.Boot) {
		m.removeVisitor(r, Expired)
		m.tidy(r)
	}
	for r, due := m.revokes.Due(now.Boot); due; r, due = m.revokes.Due(now.Boot) {
		m.sendRevocation(now, r)
		m.tidy(r)
	}
}

// expirePending takes out requests that have waited too long. The newest of a station for a registration is denied with code 78
// (RFC 5944 §3.7.1); the mobile node has already given up on the others.
func (m *Machine) expirePending(now link.Instant, r *registration) {
	for len(r.pending) > 0 && r.pending[0].until <= now.Boot {
		p := r.pending[0]
		m.removePending(r, 0)
		if !slices.ContainsFunc(r.pending, p.sameStation) {
			_ = m.deny(now, p.request, p.station, wire.CodeFARegistrationTimeout, nil)
		}
	}
}

// sameStation reports whether both requests are of one station.
func (p *pending) sameStation(o *pending) bool { return p.station.at == o.station.at }

// removePending takes the pending request at the place i out.
func (m *Machine) removePending(r *registration, i int) {
	m.forget(r.pending[i])
	r.pending = slices.Delete(r.pending, i, i+1)
}

// removeAllPending takes all of them out.
func (m *Machine) removeAllPending(r *registration) {
	for _, p := range r.pending {
		m.forget(p)
	}
	r.pending = nil
}

// answerPending takes the pending request at the place i out, which has its answer, and those that the same station sent before it:
// they are not waited for any more. What others have sent in the name of the same mobile node stays.
func (m *Machine) answerPending(r *registration, i int) {
	answered, newer := r.pending[i], r.pending[i+1:]
	kept := r.pending[:0]
	for _, p := range r.pending[:i+1] {
		if p.sameStation(answered) {
			m.forget(p)
		} else {
			kept = append(kept, p)
		}
	}
	all := r.pending
	r.pending = append(kept, newer...)
	clear(all[len(r.pending):])
}

// await counts a request that is pending from now on.
func (m *Machine) await(p *pending) {
	m.pendings++
	m.stations[p.station.at]++
}

// forget counts a request that is pending no longer.
func (m *Machine) forget(p *pending) {
	delete(m.asking, p.question)
	m.pendings--
	if m.stations[p.station.at]--; m.stations[p.station.at] == 0 {
		delete(m.stations, p.station.at)
	}
}

func (m *Machine) removeVisitor(r *registration, why EventKind) {
	m.events.Push(Event{Kind: why, Visitor: r.visitor})
	r.visitor = nil
	m.visiting--
	m.table.set(r.key.home, r.key.homeAgent, nil)
}

// PollTransmit returns the next message to send.
func (m *Machine) PollTransmit() (Transmit, bool) { return m.transmits.Pop() }

// PollEvent returns the next event.
func (m *Machine) PollEvent() (Event, bool) { return m.events.Pop() }

// Err returns nil: no input kills a foreign agent.
func (m *Machine) Err() error { return nil }
