package ike

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"slices"

	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
)

// mobikeTask negotiates MOBIKE in IKE_AUTH, beside the SA payload, and tells the addresses (RFC 4555 §3.2, §3.4).
type mobikeTask struct{}

func (mobikeTask) needed(*Machine) bool { return true }

func (mobikeTask) request(_ link.Instant, m *Machine, x *exchange) error {
	x.add(message.Notify{Message: message.MOBIKESupported})
	x.add(m.additional()...)
	x.add(m.noNATs(m.path())...)
	return nil
}

func (mobikeTask) response(_ link.Instant, m *Machine, _ *exchange, in *message.Message) error {
	m.startMOBIKE(in)
	return nil
}

func (mobikeTask) abandon(link.Instant, *Machine) {}

// answer is the responder's part.
func (mobikeTask) answer(m *Machine, in *message.Message) []message.Payload {
	if m.cfg.MOBIKE == nil || !m.startMOBIKE(in) {
		return nil
	}
	return append([]message.Payload{message.Notify{Message: message.MOBIKESupported}}, m.additional()...)
}

// refusesNAT tells whether IKE_AUTH is to be refused because addresses were changed on the way (RFC 4555 §3.9).
func (m *Machine) refusesNAT(in *message.Message) bool {
	_, asked := message.FindNotify(in.Payloads, message.MOBIKESupported)
	return asked && m.cfg.MOBIKE != nil && m.translated(in.Payloads)
}

// startMOBIKE notes whether the peer supports it, and its addresses.
func (m *Machine) startMOBIKE(in *message.Message) bool {
	b := &m.mobike
	if _, b.on = message.FindNotify(in.Payloads, message.MOBIKESupported); !b.on {
		return false
	}
	if !slices.Contains(b.addresses, m.local.Addr()) {
		b.addresses = append(b.addresses, m.local.Addr())
	}
	m.takePeers(in.Payloads, m.remote.Addr())
	b.confirmed = m.path()
	return true
}

// additional returns the notifies with our addresses other than the one in use.
func (m *Machine) additional() []message.Payload {
	var out []message.Payload
	for _, a := range m.mobike.addresses {
		if a == m.local.Addr() {
			continue
		}
		n := message.Notify{Message: message.AdditionalIP4Address, Data: a.AsSlice()}
		if a.Is6() {
			n.Message = message.AdditionalIP6Address
		}
		out = append(out, n)
	}
	return out
}

// addressList returns what replaces the list of our addresses (RFC 4555 §3.6).
func (m *Machine) addressList() []message.Payload {
	if out := m.additional(); out != nil {
		return out
	}
	return []message.Payload{message.Notify{Message: message.NoAdditionalAddresses}}
}

// peerAddresses returns the peer's addresses: from, where its message came from, and those that it lists.
func peerAddresses(ps []message.Payload, from netip.Addr) []netip.Addr {
	out := []netip.Addr{from}
	for _, p := range ps {
		n, ok := p.(message.Notify)
		if !ok || n.Message != message.AdditionalIP4Address && n.Message != message.AdditionalIP6Address {
			continue
		}
		if a, ok := netip.AddrFromSlice(n.Data); ok && a.Is4() == (n.Message == message.AdditionalIP4Address) {
			out = append(out, a)
		}
	}
	return append(out[:1:1], slices.DeleteFunc(usableAddresses(out[1:]), func(a netip.Addr) bool { return a == from })...)
}

// takePeers takes the peer's addresses.
func (m *Machine) takePeers(ps []message.Payload, from netip.Addr) {
	m.mobike.peers = peerAddresses(ps, from)
	m.emit(PeerAddresses{Addresses: slices.Clone(m.mobike.peers)})
}

// pathOctets is the data of NO_NATS_ALLOWED (RFC 4555 §4.2.6): addresses, then ports.
func pathOctets(source, destination netip.AddrPort) []byte {
	b := append(source.Addr().Unmap().AsSlice(), destination.Addr().Unmap().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, source.Port())
	return binary.BigEndian.AppendUint16(b, destination.Port())
}

// noNATs returns NO_NATS_ALLOWED for a message over p, where that is the rule (RFC 4555 §3.9).
func (m *Machine) noNATs(p path) []message.Payload {
	if !m.cfg.prohibitsNATs() {
		return nil
	}
	return []message.Payload{message.Notify{Message: message.NoNATsAllowed, Data: pathOctets(p.local, p.remote)}}
}

// translated tells whether a message that may have no NAT on its way has had one (RFC 4555 §3.9).
func (m *Machine) translated(ps []message.Payload) bool {
	n, ok := message.FindNotify(ps, message.NoNATsAllowed)
	if !ok {
		return m.cfg.prohibitsNATs()
	}
	return subtle.ConstantTimeCompare(n.Data, pathOctets(m.arrived.Remote, m.arrived.Local)) == 0
}

// cookie2 is a COOKIE2 of ours (RFC 4555 §3.7, §4.2.5).
type cookie2 []byte

// newCookie2 returns a COOKIE2, nil where the policy does without.
func (m *Machine) newCookie2() (cookie2, error) {
	if !m.mobike.on || m.cfg.MOBIKE.Routability == CheckNever {
		return nil, nil
	}
	c, err := m.random(32)
	return c, err
}

func (c cookie2) payloads() []message.Payload {
	if c == nil {
		return nil
	}
	return []message.Payload{message.Notify{Message: message.Cookie2, Data: c}}
}

// check makes sure that the answer has it: the IKE SA has to be closed otherwise. An answer that is an error may be without.
func (c cookie2) check(in *message.Message) error {
	n, ok := message.FindNotify(in.Payloads, message.Cookie2)
	_, failed := message.ErrorNotify(in.Payloads)
	if c == nil || !ok && failed || ok && subtle.ConstantTimeCompare(n.Data, c) == 1 {
		return nil
	}
	return fatal(ErrCookie2, deleteIKE)
}

// updateTask is UPDATE_SA_ADDRESSES, the initiator's (RFC 4555 §3.5).
type updateTask struct {
	generation uint64
	path       path
	cookie     cookie2
	lists      bool // our addresses
	translated int  // answers UNEXPECTED_NAT_DETECTED so far
}

func (t *updateTask) needed(m *Machine) bool { return m.running() && m.mobike.pending }

func (t *updateTask) request(_ link.Instant, m *Machine, x *exchange) error {
	b := &m.mobike
	t.generation, t.path, b.pending = b.generation, m.path(), false
	var err error
	if t.cookie, err = m.newCookie2(); err != nil {
		return err
	}
	x.add(message.Notify{Message: message.UpdateSAAddresses})
	if t.lists = b.announce; t.lists {
		b.announce = false
		x.add(m.addressList()...)
	}
	if m.natTraversal {
		nat, err := m.natPayloads(x.sa)
		if err != nil {
			return err
		}
		x.add(nat...)
	}
	x.add(m.noNATs(t.path)...)
	x.add(t.cookie.payloads()...)
	return nil
}

func (t *updateTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if err := t.cookie.check(in); err != nil {
		return err
	}
	b := &m.mobike
	if t.generation != b.generation {
		b.announce = b.announce || t.lists // the list goes with the address that it is sent from
		return nil                         // the path has changed meanwhile, and another update says so
	}
	if x.spread {
		// The responder has taken the address that the request came from first, whichever that was (RFC 4555 §3.6).
		b.announce = b.announce || t.lists
		m.moveTo(now, m.path())
		return nil
	}
	if n, ok := message.ErrorNotify(in.Payloads); ok {
		return t.refused(now, m, n)
	}
	b.confirmed = t.path
	m.noteProven(m.remote)
	if nat, supported := (natTask{}).detect(in.Header, in.Payloads, m.arrived); supported && m.natTraversal {
		m.setNAT(now, nat)
	}
	b.seenAs, b.seenBy = seenAs(in), x.sa.serial
	m.updateEndpoints(true)
	return nil
}

// refused takes another path; when there is none, the last one that was good, if we still have its address.
func (t *updateTask) refused(now link.Instant, m *Machine, n message.Notify) error {
	b := &m.mobike
	if n.Message == message.UnexpectedNATDetected && t.translated < m.cfg.Retransmission.RefusedTries {
		// Somebody may have changed just this one message (RFC 4555 §3.9).
		t.translated++
		b.pending, b.announce = true, b.announce || t.lists
		m.current.queue = slices.Insert(m.current.queue, 0, newExchange(message.Informational, t))
		return nil
	}
	err := notifyError(message.Informational, n)
	b.refused = append(b.refused, t.path)
	m.emit(PathRefused{Local: t.path.local, Remote: t.path.remote, Err: err})
	next := m.paths()
	if c := b.confirmed; len(next) == 0 && c != t.path && slices.Contains(b.addresses, c.local.Addr()) && !slices.Contains(b.refused, c) {
		next = []path{c}
	}
	if len(next) == 0 {
		return fatal(err, deleteIKE)
	}
	m.moveTo(now, next[0])
	return nil
}

func (t *updateTask) abandon(_ link.Instant, m *Machine) {
	if m.err == nil && t.generation == m.mobike.generation {
		m.mobike.pending, m.mobike.announce = true, m.mobike.announce || t.lists
		m.current.queue = slices.Insert(m.current.queue, 0, newExchange(message.Informational, &updateTask{}))
	}
}

// addressTask tells the peer our addresses (RFC 4555 §3.6).
type addressTask struct {
	local      netip.Addr
	cookie     cookie2
	translated int
}

// announceAddresses tells the peer our addresses if it does not know them.
func (m *Machine) announceAddresses(now link.Instant) {
	if m.running() && m.mobike.announce && !m.queued(func(t task) bool { _, ok := t.(*addressTask); return ok }) {
		m.enqueue(now, m.current, newExchange(message.Informational, &addressTask{}))
	}
}

func (t *addressTask) needed(m *Machine) bool { return m.running() && m.mobike.announce }

func (t *addressTask) request(_ link.Instant, m *Machine, x *exchange) error {
	m.mobike.announce, t.local = false, m.local.Addr()
	var err error
	if t.cookie, err = m.newCookie2(); err != nil {
		return err
	}
	x.add(m.addressList()...)
	x.add(m.noNATs(m.path())...)
	x.add(t.cookie.payloads()...)
	return nil
}

func (t *addressTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if err := t.cookie.check(in); err != nil {
		return err
	}
	n, failed := message.ErrorNotify(in.Payloads)
	again := failed && n.Message == message.UnexpectedNATDetected && t.translated < m.cfg.Retransmission.RefusedTries
	if again {
		t.translated++
	}
	// The address that the request is sent from belongs to what it says.
	if again || x.spread || t.local != m.local.Addr() {
		m.mobike.announce = true
		m.enqueue(now, m.current, newExchange(message.Informational, &addressTask{translated: t.translated}))
	}
	if m.responder != nil {
		m.proveRemote(now)
	}
	return nil
}

func (t *addressTask) abandon(now link.Instant, m *Machine) {
	if m.err == nil {
		m.mobike.announce = true
		m.announceAddresses(now)
	}
}

// testTask tests a path without using it (RFC 4555 §3.10): a request that changes nothing is sent over it.
type testTask struct{ path path }

// testNext tests the next of the preferred paths.
func (m *Machine) testNext(now link.Instant) {
	b := &m.mobike
	if len(b.tests) == 0 || !m.running() {
		return
	}
	t := &testTask{path: b.tests[0]}
	b.tests = b.tests[1:]
	m.enqueue(now, m.current, newExchange(message.Informational, t))
}

func (t *testTask) needed(m *Machine) bool {
	return m.running() && slices.Contains(m.preferredPaths(), t.path)
}

func (t *testTask) request(_ link.Instant, _ *Machine, x *exchange) error {
	x.test = t.path
	return nil
}

func (t *testTask) response(now link.Instant, m *Machine, x *exchange, _ *message.Message) error {
	if !x.spread && t.path.joins(m.arrived.path()) && t.needed(m) {
		m.moveTo(now, t.path)
		return nil
	}
	if !m.mobike.on && m.running() {
		m.shift(now, m.path(), false) // the peer may have followed the test
	}
	m.testNext(now)
	return nil
}

func (t *testTask) abandon(link.Instant, *Machine) {}

// routabilityTask is the return routability check (RFC 4555 §3.7) of the endpoint in use.
type routabilityTask struct {
	path   path
	cookie cookie2
}

// proveRemote has the peer answer from the endpoint in use, unless it has before.
func (m *Machine) proveRemote(now link.Instant) {
	if m.running() && !m.isProven(m.remote) && !m.queued(func(t task) bool { _, ok := t.(*routabilityTask); return ok }) {
		m.enqueue(now, m.current, newExchange(message.Informational, &routabilityTask{}))
	}
}

func (t *routabilityTask) needed(m *Machine) bool { return m.running() && !m.isProven(m.remote) }

func (t *routabilityTask) request(_ link.Instant, m *Machine, x *exchange) error {
	t.path = m.path()
	var err error
	if t.cookie, err = m.newCookie2(); err != nil {
		return err
	}
	x.add(t.cookie.payloads()...)
	return nil
}

func (t *routabilityTask) response(now link.Instant, m *Machine, x *exchange, in *message.Message) error {
	if err := t.cookie.check(in); err != nil {
		return err
	}
	// When the request has gone to several endpoints, the answer does not say which works.
	if x.spread || t.path != m.path() {
		m.proveRemote(now)
		return nil
	}
	m.noteProven(m.remote)
	m.mobike.formerly = path{}
	m.updateEndpoints(true)
	return nil
}

func (t *routabilityTask) abandon(now link.Instant, m *Machine) {
	if m.err == nil {
		m.proveRemote(now)
	}
}
