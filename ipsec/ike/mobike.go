package ike

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// MOBIKE says how an end takes part in RFC 4555: the IKE SA and its child SAs live on when the addresses of either end change,
// and the initiator, who began the first IKE SA, decides which pair of addresses is used.
type MOBIKE struct {
	// Addresses are this end's addresses, the preferred first, of both families. SetAddresses changes them. Empty means the one
	// that the IKE SA is set up with.
	Addresses []netip.Addr
	// Routability says when it is checked that the peer receives at an address that it has moved to.
	Routability Routability
	// NoNATs prohibits address translation (§3.9): NAT traversal is not offered, and paths on which addresses are changed are
	// not used.
	NoNATs bool
	// Acceptable, when set, is asked by a responder whether child SAs may be used between these addresses of its own and of the
	// initiator (§3.5). It must not call the machine.
	Acceptable func(local, remote netip.Addr) bool
	// Peers, when set, says by which addresses this end knows that the peer is reached from a local one, such as by one that the
	// local network's NAT64 translates (RFC 6052). They are tried before those that the peer has told; where there is one, the
	// address in use is not carried over from another local address. It must not call the machine.
	Peers func(local netip.Addr) []netip.Addr
}

// from returns the addresses of the peer that Peers knows from a local one.
func (c *MOBIKE) from(local netip.Addr) []netip.Addr {
	if c == nil || c.Peers == nil {
		return nil
	}
	return usableAddresses(c.Peers(local))
}

// Routability says when a return routability check (RFC 4555 §3.7) is made.
type Routability uint8

const (
	// CheckAfter lets child SAs follow at once and checks then: EndpointUpdate.Proven bounds what may be sent meanwhile.
	CheckAfter Routability = iota
	// CheckBefore lets child SAs follow when the check has passed.
	CheckBefore
	// CheckNever trusts peers about their addresses.
	CheckNever
)

// startAddresses returns the state before there is a peer.
func (c *Config) startAddresses() mobike {
	if c.MOBIKE == nil {
		return mobike{}
	}
	return mobike{addresses: usableAddresses(c.MOBIKE.Addresses)}
}

// prohibitsNATs tells whether NAT traversal is off.
func (c *Config) prohibitsNATs() bool { return c.MOBIKE != nil && c.MOBIKE.NoNATs }

// ErrNoMOBIKE means that MOBIKE is not configured or that the peer does not support it, so that the IKE SA cannot move.
var ErrNoMOBIKE = errors.New("MOBIKE is not in use")

// ErrCookie2 means that the peer's answer did not have the COOKIE2 that it was asked with: it has not seen the question
// (RFC 4555 §3.7).
var ErrCookie2 = errors.New("the answer does not have the COOKIE2 of the request")

// The bounds of MOBIKE.
const (
	// maxOuter bounds the addresses of either end, and maxPaths the pairs of them that are tried.
	maxOuter, maxPaths = 16, 32
	// maxProven bounds the endpoints of the peer that are remembered as proven.
	maxProven = 8
	// searchAfter is how often a request has to be sent until other paths are tried for it.
	searchAfter = 3
	// searchPace is the time between two tries, searchPause that between the first rounds over all paths; it doubles up to
	// searchPauseLimit. So no more than four small datagrams a second are sent for a search (RFC 4555 §3.10, seed 001 §2.5:
	// without congestion).
	searchPace, searchPause, searchPauseLimit = 250 * time.Millisecond, time.Second, 30 * time.Second
	// testTries is how often a request is sent over a path that is only tested, before it goes over the path in use.
	testTries = 3
	// patience is how long a responder repeats a request at least (RFC 4555 §3.11): the initiator has to find a path first.
	patience = 5 * time.Minute
)

// path is a pair of endpoints, those of a TCP connection when tcp is set.
type path struct {
	local, remote netip.AddrPort
	tcp           bool
}

func (d Datagram) path() path { return path{d.Local, d.Remote, d.TCP} }

// joins tells whether the path has the same addresses and transport; ports are a NAT's affair.
func (p path) joins(o path) bool {
	return p.tcp == o.tcp && p.local.Addr() == o.local.Addr() && p.remote.Addr() == o.remote.Addr()
}

// mobike is the state of RFC 4555.
type mobike struct {
	// on is set when both ends support it.
	on bool
	// addresses are ours, the preferred first, peers the peer's, the one that its last list came from first.
	addresses, peers []netip.Addr
	// proven are endpoints of the peer that have answered.
	proven []netip.AddrPort
	// announce is set while the peer has not been told our addresses, lapsed while they have changed without being acted on:
	// there was none, or the machine was parked.
	announce, lapsed bool

	// The initiator's. generation counts the changes of path: what answers an update of an older one is stale. pending is set
	// while an update has to be sent. confirmed is the path that the responder has taken last, refused those that it has not.
	generation uint64
	pending    bool
	confirmed  path
	refused    []path
	// seenAs is NAT_DETECTION_DESTINATION_IP of the responder's answer to the last update.
	// The SPIs of the IKE SA are in it, whose serial number is seenBy.
	seenAs []byte
	seenBy uint64
	// tests are paths that are preferred to the one in use, still to be tested.
	tests []path

	// updated is the path of the last update (the responder's), formerly the last one that was proven before one was followed
	// that is not.
	updated, formerly path
	// newest is the serial number of the IKE SA on which the newest update came (the responder's).
	newest uint64

	search search
}

// search is the search for a path on which an outstanding request is answered. at is 0 while there is none.
type search struct {
	at    time.Duration
	queue []path
	pause time.Duration
}

// path returns the path in use.
func (m *Machine) path() path { return path{m.local, m.remote, m.tcp} }

// use makes p the path in use.
func (m *Machine) use(p path) { m.local, m.remote, m.tcp = p.local, p.remote, p.tcp }

// SetAddresses tells the machine this end's addresses, the preferred first. An initiator moves its SAs away from an address
// that is gone, at once and to the first pair of addresses that may work, and searches on when there is no answer; to an
// address that is preferred to the one in use it moves when a test of that path was answered. Without MOBIKE it does the same where
// the peer follows (ProveFollowing), with requests and ESP packets from the new address in the place of an update. A responder whose address in
// use is gone sends from another one. Either tells the peer its addresses (RFC 4555 §3.5, §3.6). EndpointChanged says what
// the child SAs use. With no address at all nothing happens; Park keeps the SAs then. While it is
// being found out whether the peer follows, the machine only leaves an address that is gone. Errors: ErrClosed, and ErrNoMOBIKE
// once it is established, when the SAs have to be made anew from another address.
func (m *Machine) SetAddresses(now link.Instant, addresses []netip.Addr) error {
	switch {
	case m.err != nil || m.deleting:
		return fmt.Errorf("ike: set addresses: %w", ErrClosed)
	case !m.established && m.cfg.MOBIKE == nil, m.established && !m.movable() && m.trail.state != followsTrying:
		return fmt.Errorf("ike: set addresses: %w", ErrNoMOBIKE)
	}
	b := &m.mobike
	before := b.addresses
	b.addresses = usableAddresses(addresses)
	if !m.established || !b.lapsed && slices.Equal(before, b.addresses) {
		return nil
	}
	b.announce = b.announce || b.on && !sameSet(before, b.addresses)
	m.followAddresses(now)
	return m.err
}

// ChangeNetwork is SetAddresses for addresses of which the one in use, though it may be the same as before, is in another network
// now: an initiator tells the peer from there at once, in UDP where it was in TCP. Errors are those of SetAddresses.
func (m *Machine) ChangeNetwork(now link.Instant, addresses []netip.Addr) error {
	m.mobike.lapsed = m.established && m.movable()
	if err := m.SetAddresses(now, addresses); err != nil || m.trail.state != followsTrying || m.parked {
		return err
	}
	m.shift(now, m.path(), true) // which proves as well
	return m.err
}

// TryPreferred has an initiator whose SAs move test paths from addresses that are preferred to the one in use again, and move to the
// first of them on which the test is answered. Errors are those of SetAddresses.
func (m *Machine) TryPreferred(now link.Instant) error {
	switch {
	case !m.running():
		return fmt.Errorf("ike: try preferred paths: %w", ErrClosed)
	case !m.movable() || m.initiator == nil:
		return fmt.Errorf("ike: try preferred paths: %w", ErrNoMOBIKE)
	}
	m.mobike.tests = m.preferredPaths()
	m.testNext(now)
	return m.err
}

// followAddresses acts on addresses that have changed.
func (m *Machine) followAddresses(now link.Instant) {
	b := &m.mobike
	if len(b.addresses) == 0 || m.parked || m.trail.state == followsTrying && slices.Contains(b.addresses, m.local.Addr()) {
		b.lapsed = true
		return
	}
	lapsed := b.lapsed
	b.lapsed, b.refused = false, nil
	switch {
	case m.responder != nil:
		m.leaveAddress(now)
	case !slices.Contains(b.addresses, m.local.Addr()):
		if all := m.paths(); len(all) != 0 {
			m.moveTo(now, all[0])
		}
	case lapsed && !b.on:
		m.shift(now, m.path(), true)
	case lapsed: // whatever is on the path may have forgotten us meanwhile
		to := m.path()
		if all := m.paths(); m.tcp && len(all) != 0 {
			to = all[0]
		}
		m.moveTo(now, to)
		b.tests = m.preferredPaths() // and something better may be there
		m.testNext(now)
	default:
		b.tests = m.preferredPaths()
		m.testNext(now)
	}
	m.announceAddresses(now)
}

// usableAddresses returns the unicast addresses of the list, each once, maxOuter at most.
func usableAddresses(list []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		if a = a.Unmap(); usable(a) && !slices.Contains(out, a) && len(out) < maxOuter {
			out = append(out, a)
		}
	}
	return out
}

// usable tells whether a peer somewhere else can have the address.
func usable(a netip.Addr) bool {
	return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() && !a.IsLoopback() && !a.IsLinkLocalUnicast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

func sameSet(a, b []netip.Addr) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(x netip.Addr) bool { return !slices.Contains(b, x) })
}

// paths returns the paths other than the one in use, those from our preferred address first, and of those the one to the
// peer's address in use first.
func (m *Machine) paths() []path {
	b := &m.mobike
	var out []path
	for _, local := range b.addresses {
		known := m.cfg.MOBIKE.from(local)
		for _, remote := range slices.Concat([]netip.Addr{m.remote.Addr()}, known, b.peers) {
			p := path{local: netip.AddrPortFrom(local, m.local.Port()), remote: netip.AddrPortFrom(remote, portNATT)}
			if m.trail.open() && local != m.local.Addr() {
				p.local = netip.AddrPortFrom(local, portNATT) // the port of the proof is of its address alone
			}
			switch {
			case m.tcp: // the way back to UDP (RFC 9329 §7.1)
				p.local = netip.AddrPortFrom(local, portNATT)
			case remote == m.remote.Addr():
				p.remote = m.remote
				if len(b.peers)+len(known) != 0 && !slices.Contains(b.peers, remote) && !slices.Contains(known, remote) {
					continue // the peer has it no longer, or not for this address
				}
			case m.local.Port() == portIKE:
				p.remote = netip.AddrPortFrom(remote, portIKE) // no NAT traversal
			}
			if local.Is4() == remote.Is4() && p != m.path() && len(out) < maxPaths && !slices.Contains(b.refused, p) && !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	}
	return out
}

// preferredPaths returns the paths from addresses that are preferred to the one in use, and out of TCP those from this one too.
func (m *Machine) preferredPaths() []path {
	rank := slices.Index(m.mobike.addresses, m.local.Addr())
	if m.tcp {
		rank++
	}
	return slices.DeleteFunc(m.paths(), func(p path) bool { return slices.Index(m.mobike.addresses, p.local.Addr()) >= rank })
}

// moveTo has the initiator use another path (RFC 4555 §3.5).
func (m *Machine) moveTo(now link.Instant, to path) {
	b := &m.mobike
	if !b.on {
		m.shift(now, to, false)
		return
	}
	b.generation++
	b.pending, b.search, b.tests = true, search{}, nil
	if to != m.path() {
		m.keep = keepalives{}
	}
	m.use(to)
	// A NAT is suspected on the new path until the answer shows that there is none.
	m.encapsulate = m.natTraversal && !m.tcp
	if m.isProven(m.remote) || m.cfg.MOBIKE.Routability != CheckBefore {
		m.updateEndpoints(m.isProven(m.remote))
	}
	m.repeatOutstanding(now)
	if !m.queued(func(t task) bool { _, ok := t.(*updateTask); return ok }) {
		m.current.queue = slices.Insert(m.current.queue, 0, newExchange(message.Informational, &updateTask{}))
	}
	m.startNext(now, m.current)
}

// leaveAddress has a responder send from another address when the one in use is gone (RFC 4555 §3.5, last paragraph).
func (m *Machine) leaveAddress(now link.Instant) {
	if slices.Contains(m.mobike.addresses, m.local.Addr()) {
		return
	}
	all := m.paths()
	if len(all) == 0 {
		return
	}
	to := all[0]
	for _, p := range all {
		if p.remote == m.remote { // where the peer is known to be
			to = p
			break
		}
	}
	m.use(to)
	m.updateEndpoints(m.isProven(m.remote))
	m.repeatOutstanding(now)
	m.proveRemote(now)
}

// repeatOutstanding sends what is outstanding over the path now in use: the same octets (RFC 4555 §3.5). The old path's tries
// do not count.
func (m *Machine) repeatOutstanding(now link.Instant) {
	for _, s := range m.sas {
		if x := s.exchange; x != nil && s.state != saClosed {
			x.spread, x.searching, x.test = true, false, path{}
			x.tries, x.interval, x.sentAt = 0, m.cfg.Retransmission.Initial, now.Boot
			m.resend(now, x)
		}
	}
}

// queued tells whether the current IKE SA has an exchange waiting whose first task is one.
func (m *Machine) queued(is func(task) bool) bool {
	return slices.ContainsFunc(m.current.queue, func(x *exchange) bool { return is(x.tasks[0]) })
}

// isProven tells whether the peer has been reached at the endpoint; TCP's handshake shows it (RFC 9329 §7.1).
func (m *Machine) isProven(remote netip.AddrPort) bool {
	return m.tcp || m.cfg.MOBIKE != nil && m.cfg.MOBIKE.Routability == CheckNever || slices.Contains(m.mobike.proven, remote)
}

func (m *Machine) noteProven(remote netip.AddrPort) {
	b := &m.mobike
	if slices.Contains(b.proven, remote) {
		return
	}
	if len(b.proven) == maxProven {
		b.proven = b.proven[1:]
	}
	b.proven = append(b.proven, remote)
}

// route returns the path that a request is sent over next.
func (m *Machine) route(now link.Instant, x *exchange) path {
	if x.test == (path{}) {
		return m.path()
	}
	if x.tries < testTries && slices.Contains(m.mobike.addresses, x.test.local.Addr()) {
		return x.test
	}
	// The test has failed; the exchange has to end all the same.
	x.test, x.spread, x.sentAt = path{}, true, now.Boot
	x.tries, x.interval = 0, m.cfg.Retransmission.Initial
	return m.path()
}

// suspect begins to search for a path when a request has gone unanswered for a while. A responder searches only for telling
// its own addresses (RFC 4555 §3.6).
func (m *Machine) suspect(now link.Instant, x *exchange) {
	b, f := &m.mobike, &m.trail
	if f.state == followsTrying && f.home != (path{}) && x.sa == m.current && x.tries > followTries && m.running() {
		m.followsNot(now) // no way out of the new port
		return
	}
	if _, proving := x.tasks[0].(*routabilityTask); proving && x.tries >= m.cfg.Retransmission.RefusedTries && b.formerly != (path{}) {
		m.use(b.formerly) // nobody answers there: it may have been a copy of the peer's packet
		b.formerly = path{}
		m.updateEndpoints(m.isProven(m.remote))
		m.repeatOutstanding(now)
		return
	}
	if !m.movable() || !m.running() || x.sa != m.current || x.tries < searchAfter || x.test != (path{}) || b.search.at != 0 {
		return
	}
	if _, telling := x.tasks[0].(*addressTask); m.responder != nil && !telling {
		return
	}
	if all := m.paths(); len(all) != 0 {
		b.search = search{at: now.Boot, queue: all, pause: searchPause}
	}
}

// searchTimeout tries the next path.
func (m *Machine) searchTimeout(now link.Instant) {
	s := &m.mobike.search
	if !due(now, s.at) {
		return
	}
	x := m.current.exchange
	if x == nil || !m.running() {
		*s = search{}
		return
	}
	if len(s.queue) == 0 {
		s.at, s.queue = now.Boot+s.pause, m.paths()
		s.pause = min(2*s.pause, searchPauseLimit)
		return
	}
	p := s.queue[0]
	s.queue = s.queue[1:]
	s.at = now.Boot + searchPace
	x.spread, x.searching = true, true
	m.sendOver(p, x)
}

// sendOver sends the request of an exchange over a path. The first one on an IKE SA that the peer has asked for may find that
// the peer does not know it: the answer has gone the old way, and the peer still asks there. So it goes this way too.
func (m *Machine) sendOver(p path, x *exchange) {
	if m.mobike.on && x.sa == m.current && !x.sa.initiator && x.id == 0 && x.sa.expectID == 0 {
		for _, s := range m.sas {
			if s.state == saReplaced {
				for _, wire := range s.lastResponse {
					m.transmit(p, wire)
				}
			}
		}
	}
	for _, wire := range x.wires {
		m.transmit(p, wire)
	}
}

// patient tells whether a responder goes on repeating a request: the initiator has to find a path first.
func (m *Machine) patient(now link.Instant, x *exchange) bool {
	return m.mobike.on && m.responder != nil && m.running() && x.sa == m.current && now.Since(x.sentAt) < patience
}

// noteAnswer takes note of where the answer to x has come from: a path that works, when others were tried for it.
func (m *Machine) noteAnswer(now link.Instant, x *exchange) {
	b := &m.mobike
	b.search = search{}
	at := m.arrived.path()
	if !m.movable() || !m.running() || !x.searching || at.joins(m.path()) || !slices.Contains(b.addresses, at.local.Addr()) {
		return
	}
	if m.initiator != nil {
		m.moveTo(now, at)
		return
	}
	// The IKE SA goes there; child SAs do when the initiator says so (RFC 4555 §3.6), unless they cannot stay.
	gone := !slices.Contains(b.addresses, m.local.Addr())
	m.use(at)
	if gone {
		m.updateEndpoints(m.isProven(m.remote))
	}
}
