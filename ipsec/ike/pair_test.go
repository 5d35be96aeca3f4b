package ike

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/suite"
	"mipvpn/tun/link"
)

// Addresses of the pair.
var (
	clientAddr  = netip.MustParseAddr("192.168.1.7")
	gatewayAddr = netip.MustParseAddr("192.0.2.10")
	assigned    = netip.MustParseAddr("10.0.9.5")
	inside      = netip.MustParsePrefix("10.0.0.0/16")
	dnsServer   = netip.MustParseAddr("10.0.1.53")
	testPSK     = []byte("a pre-shared key for tests, 32 octets and more")
)

func mustID(s string) Identity {
	id, err := message.NewIdentity(s)
	if err != nil {
		panic(err)
	}
	return id
}

// testPolicy is a gateway's policy for one client.
type testPolicy struct {
	psk       []byte
	required  func(local, remote Identity) (Requirement, error) // in the place of psk
	assign    func(Request) (Configuration, error)
	localSide []esp.Selector
	asked     Request
}

func (p *testPolicy) Authentication(local, remote Identity) (Requirement, error) {
	if p.required != nil {
		return p.required(local, remote)
	}
	if remote != mustID("laptop@example.com") {
		return Requirement{}, fmt.Errorf("nobody knows %v", remote)
	}
	return Requirement{Own: Proof{PSK: p.psk}, Rounds: []Acceptance{{PSK: p.psk}}}, nil
}

func (p *testPolicy) Assign(_ Identity, r Request) (Configuration, error) {
	p.asked = r
	return p.assign(r)
}

func (p *testPolicy) Selectors(_ Identity, a []netip.Addr) (localSide, remoteSide []esp.Selector) {
	for _, addr := range a {
		remoteSide = append(remoteSide, esp.AddrSelector(addr))
	}
	return p.localSide, remoteSide
}

// installed is what a driver has made of the events about one child SA.
type installed struct {
	ChildInstalled
	active bool
	order  int // of activation
	// met is set once the other end was seen to have it too.
	met bool
}

// end is one end of the pair with its driver's state.
type end struct {
	name     string
	m        *Machine
	children map[ChildID]*installed
	spis     map[SPIOpened]bool
	events   []Event
	order    int
	update   uint64 // the last EndpointUpdate
	closed   error
}

// flight is a datagram on its way.
type flight struct {
	Transmit
	from  *end
	index int
	text  string
}

// pair drives two machines by a virtual clock and two queues.
type pair struct {
	t      *testing.T
	now    link.Instant
	a, b   *end // client and gateway
	queue  []flight
	sent   int
	log    []string
	keys   map[[2]uint64]*keys
	policy *testPolicy
	// lax turns the invariants off.
	lax bool
	// seen are all datagrams sent.
	seen []flight
	// inits are the IKE_SA_INIT requests as sent.
	inits [][]byte
	// lose, when set, decides by index and contents whether a datagram is lost; duplicate whether it arrives twice.
	lose, duplicate func(f flight) bool
	// answer, when set, answers what a machine asks its driver.
	answer func(e *end, ev Event)
	// nat rewrites the client's address as the gateway sees it, and back.
	nat netip.Addr
	// route, when set, is the network in the place of nat: it rewrites addresses, or loses the datagram.
	route func(f flight, d Datagram) (Datagram, bool)
	// natPort is the NAT's port for the client's 4500 (500 is mapped to itself).
	natPort uint16
}

type option func(*InitiatorConfig, *ResponderConfig, *testPolicy)

func newPair(t *testing.T, seed uint64, opts ...option) *pair {
	t.Helper()
	p := &pair{t: t, now: link.Instant{Boot: time.Hour}, keys: map[[2]uint64]*keys{}, natPort: 31337}
	p.policy = &testPolicy{psk: testPSK, localSide: []esp.Selector{esp.PrefixSelector(inside)}}
	p.policy.assign = func(Request) (Configuration, error) {
		return Configuration{
			Addresses: []netip.Addr{assigned}, DNS: []netip.Addr{dnsServer}, Subnets: []netip.Prefix{inside},
		}, nil
	}
	never := Lifetimes{IKE: -1, Child: -1}
	ic := InitiatorConfig{
		Config:   Config{LocalID: mustID("laptop@example.com"), Lifetimes: never, Liveness: -1, Proposals: Proposals{NoAdditional: true}},
		Local:    netip.AddrPortFrom(clientAddr, 0),
		Remote:   netip.AddrPortFrom(gatewayAddr, 0),
		PSK:      testPSK,
		RemoteID: mustID("vpn.example.com"), RequestAddress: true, RequestDNS: true, RequestSubnets: true,
	}
	rc := ResponderConfig{
		Config: Config{LocalID: mustID("vpn.example.com"), Lifetimes: never, Liveness: -1, Proposals: Proposals{NoAdditional: true}},
		Policy: p.policy,
	}
	for _, o := range opts {
		o(&ic, &rc, p.policy)
	}
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	a, err := NewInitiator(ic, rand.NewChaCha8(key))
	if err != nil {
		t.Fatal(err)
	}
	key[31] = 1
	b, err := NewResponder(rc, rand.NewChaCha8(key))
	if err != nil {
		t.Fatal(err)
	}
	p.a, p.b = newEnd("A", a), newEnd("B", b)
	return p
}

func newEnd(name string, m *Machine) *end {
	return &end{name: name, m: m, children: map[ChildID]*installed{}, spis: map[SPIOpened]bool{}}
}

// established returns a pair with a child SA, its queues and logs emptied.
func established(t *testing.T, seed uint64, opts ...option) *pair {
	t.Helper()
	p := newPair(t, seed, opts...)
	p.start()
	p.drive()
	p.agree(1)
	p.log, p.a.events, p.b.events = nil, nil, nil
	return p
}

func (p *pair) start() {
	p.t.Helper()
	if err := p.a.m.Start(p.now); err != nil {
		p.t.Fatal(err)
	}
	p.drain()
}

func (p *pair) other(e *end) *end {
	if e == p.a {
		return p.b
	}
	return p.a
}

// drain takes events and then transmits of both ends, as a driver does.
func (p *pair) drain() {
	p.t.Helper()
	for _, e := range []*end{p.a, p.b} {
		for ev, ok := e.m.PollEvent(); ok; ev, ok = e.m.PollEvent() {
			p.event(e, ev)
		}
		for _, s := range e.m.sas {
			if s.keys != nil {
				k := *s.keys
				p.keys[[2]uint64{s.spiI, s.spiR}] = &k
			}
		}
	}
	for _, e := range []*end{p.a, p.b} {
		for tr, ok := e.m.PollTransmit(); ok; tr, ok = e.m.PollTransmit() {
			f := flight{Transmit: tr, from: e, index: p.sent}
			f.text = e.name + " " + p.describe(tr)
			p.sent++
			if h, err := message.ParseHeader(tr.Payload); err == nil && initial(h.Exchange) && !h.Response() {
				p.inits = append(p.inits, tr.Payload)
			}
			p.log = append(p.log, f.text)
			p.queue = append(p.queue, f)
			p.seen = append(p.seen, f)
		}
	}
}

func (p *pair) event(e *end, ev Event) {
	p.t.Helper()
	if e.closed != nil {
		p.t.Fatalf("%s: %T after Closed", e.name, ev)
	}
	e.events = append(e.events, ev)
	if p.answer != nil {
		p.answer(e, ev)
	}
	switch ev := ev.(type) {
	case SPIOpened:
		e.spis[ev] = true
	case SPIClosed:
		if !e.spis[SPIOpened(ev)] {
			p.t.Fatalf("%s: %+v was not open", e.name, ev)
		}
		delete(e.spis, SPIOpened(ev))
	case ChildInstalled:
		c := &installed{ChildInstalled: ev}
		e.children[ev.ID] = c
		if !ev.Standby {
			e.activate(c)
		}
	case ChildActivated:
		if e.children[ev.ID] == nil || e.children[ev.ID].active {
			p.t.Fatalf("%s: activation of child SA %d, which is %+v", e.name, ev.ID, e.children[ev.ID])
		}
		e.activate(e.children[ev.ID])
	case EndpointChanged:
		for id, c := range e.children {
			if u := ev.Update; u.Concerns(id) {
				if u.Number() <= e.update {
					p.t.Fatalf("%s: endpoint update %d after %d", e.name, u.Number(), e.update)
				}
				c.Local, c.Remote, c.UDPEncapsulation = u.Local(), u.Remote(), u.UDPEncapsulation()
			}
		}
		e.update = ev.Update.Number()
	case ChildRemoved:
		c := e.children[ev.ID]
		if c == nil || c.Inbound.SPI != ev.Inbound || c.Outbound.SPI != ev.Outbound {
			p.t.Fatalf("%s: removal of %+v, which is %+v", e.name, ev, c)
		}
		delete(e.children, ev.ID)
	case Closed:
		e.closed = ev.Err
		if len(e.children) != 0 || len(e.spis) != 0 {
			p.t.Fatalf("%s: closed with %d child SAs and %d SPIs left", e.name, len(e.children), len(e.spis))
		}
	}
}

func (e *end) activate(c *installed) {
	e.order++
	c.active, c.order = true, e.order
}

// sending returns the child SA that a driver sends on: the one activated last.
func (e *end) sending() *installed {
	var best *installed
	for _, c := range e.children {
		if c.active && (best == nil || c.order > best.order) {
			best = c
		}
	}
	return best
}

// describe says what a datagram is and what is in it.
func (p *pair) describe(tr Transmit) string {
	if tr.Keepalive {
		return "keepalive"
	}
	h, err := message.ParseHeader(tr.Payload)
	if err != nil {
		return err.Error()
	}
	kind := "request"
	if h.Response() {
		kind = "response"
	}
	out := fmt.Sprintf("%v %s %d:", h.Exchange, kind, h.MessageID)
	m, err := p.open(tr.Payload)
	if err != nil {
		return out + " " + err.Error()
	}
	for _, pl := range m.Payloads {
		switch pl := pl.(type) {
		case message.Notify:
			out += fmt.Sprintf(" N(%v)", pl.Message)
		case message.Delete:
			out += fmt.Sprintf(" D(%v)", pl.Protocol)
		default:
			out += " " + pl.Type().String()
		}
	}
	return out
}

// open decrypts a datagram of either end.
func (p *pair) open(b []byte) (*message.Message, error) {
	m, err := message.Parse(b)
	if err != nil {
		return nil, err
	}
	if _, ok := message.Find[message.Encrypted](m.Payloads); !ok {
		return m, nil
	}
	k := p.keys[[2]uint64{m.Header.InitiatorSPI, m.Header.ResponderSPI}]
	if k == nil {
		return nil, fmt.Errorf("no keys for %016x_%016x", m.Header.InitiatorSPI, m.Header.ResponderSPI)
	}
	c := k.fromResponder
	if m.Header.FromInitiator() {
		c = k.fromInitiator
	}
	m, _, err = message.Open(bytes.Clone(b), c)
	return m, err
}

// deliver lets a datagram arrive at the other end, through the NAT if there is one.
func (p *pair) deliver(f flight) error {
	p.t.Helper()
	if f.Keepalive {
		if p.route != nil {
			p.route(f, Datagram{Local: f.Remote, Remote: f.Local})
		}
		return nil
	}
	d := Datagram{Local: f.Remote, Remote: f.Local, TCP: f.TCP, Payload: bytes.Clone(f.Payload)}
	if p.nat.IsValid() {
		d = p.translate(f, d)
	}
	if p.route != nil {
		var ok bool
		if d, ok = p.route(f, d); !ok {
			p.log = append(p.log, "   no way: "+f.text)
			return nil
		}
	}
	if b := p.b.m; f.from == p.a && b.current == nil && b.err != nil {
		// It has refused IKE_SA_INIT: the gateway makes a new machine for the next request.
		m, err := NewResponder(*b.responder, b.rand)
		if err != nil {
			p.t.Fatal(err)
		}
		p.b.m, p.b.closed = m, nil
	}
	err := p.other(f.from).m.HandleDatagram(p.now, d)
	p.drain()
	p.invariants()
	return err
}

func (p *pair) translate(f flight, d Datagram) Datagram {
	p.t.Helper()
	if f.from == p.a {
		port := d.Remote.Port()
		if port == portNATT {
			port = p.natPort
		}
		d.Remote = netip.AddrPortFrom(p.nat, port)
		return d
	}
	port := d.Local.Port()
	if port == p.natPort {
		port = portNATT
	}
	if d.Local.Addr() != p.nat {
		p.t.Fatalf("the gateway sends to %v, not to the NAT", d.Local)
	}
	d.Local = netip.AddrPortFrom(clientAddr, port)
	return d
}

// invariants hold at every moment: what an end sends on, the other can receive. Only a child SA that replaces none may be
// used by the exchange's responder before the initiator has it (RFC 7296 §2.8).
func (p *pair) invariants() {
	p.t.Helper()
	for _, e := range []*end{p.a, p.b} {
		if !p.lax {
			p.timers(e)
		}
		o := p.other(e)
		s := e.sending()
		if p.lax || s == nil || o.closed != nil || o.m.Err() != nil {
			continue
		}
		if c := e.m.childByID(s.ID); c != nil && c.state == childDeleting && c.replacedBy == nil {
			continue // on command, so that what is sent now may be lost
		}
		ok := false
		for _, c := range o.children {
			ok = ok || c.Inbound.SPI == s.Outbound.SPI && bytes.Equal(c.Inbound.Key, s.Outbound.Key)
		}
		s.met = s.met || ok
		if !ok && (s.met || s.Replaces != 0) {
			p.t.Fatalf("%s sends on SPI %08x, which %s does not know\n%s", e.name, s.Outbound.SPI, o.name, p.trace())
		}
	}
}

func (p *pair) trace() string { return strings.Join(p.log, "\n") }

// next delivers or loses the first datagram of the queue.
func (p *pair) next() {
	p.t.Helper()
	f := p.queue[0]
	p.queue = p.queue[1:]
	if p.lose != nil && p.lose(f) {
		p.log = append(p.log, "   lost: "+f.text)
		return
	}
	_ = p.deliver(f) // rejections show in the state that is asserted on
	if p.duplicate != nil && p.duplicate(f) {
		_ = p.deliver(f)
	}
}

// drive runs for three minutes of virtual time.
func (p *pair) drive() { p.t.Helper(); p.driveFor(3 * time.Minute) }

// driveFor delivers all that is under way and lets the time pass from timer to timer for d. The steps are bounded: two
// ends that go on talking without a reason fail the test.
func (p *pair) driveFor(d time.Duration) {
	p.t.Helper()
	limit := p.now.Boot + d
	for steps := 0; ; steps++ {
		if steps == 20000 {
			p.t.Fatalf("no end after %d steps:\n%s", steps, strings.Join(p.log[max(0, len(p.log)-60):], "\n"))
		}
		if len(p.queue) > 0 {
			p.next()
			continue
		}
		at, ok := p.deadline()
		if !ok || at > limit {
			p.now = p.now.Add(max(0, limit-p.now.Boot))
			return
		}
		p.now = p.now.Add(max(0, at-p.now.Boot))
		p.timeouts()
	}
}

func (p *pair) deadline() (time.Duration, bool) {
	at, ok := p.a.m.Deadline()
	if bt, bok := p.b.m.Deadline(); bok && (!ok || bt < at) {
		at, ok = bt, true
	}
	return at, ok
}

func (p *pair) timeouts() {
	p.t.Helper()
	p.a.m.HandleTimeout(p.now)
	p.b.m.HandleTimeout(p.now)
	p.drain()
	p.invariants()
}

// agree asserts that both ends live and have the same IKE SA, and n child SAs with the same keys; that each end sends on
// one that the other has; and that nothing is outstanding.
func (p *pair) agree(n int) {
	p.t.Helper()
	fail := func(format string, args ...any) {
		p.t.Helper()
		p.t.Fatalf(format+"\n%s", append(args, p.trace())...)
	}
	if p.a.m.Err() != nil || p.b.m.Err() != nil {
		fail("dead: A %v, B %v", p.a.m.Err(), p.b.m.Err())
	}
	ca, cb := p.a.m.current, p.b.m.current
	if ca.spiI != cb.spiI || ca.spiR != cb.spiR || ca.initiator == cb.initiator || !bytes.Equal(ca.keys.d, cb.keys.d) {
		fail("different IKE SAs: %v and %v", ca, cb)
	}
	for _, e := range []*end{p.a, p.b} {
		if len(e.m.sas) != 1 || e.m.current.state != saEstablished || e.m.current.exchange != nil || len(e.m.current.queue) != 0 {
			fail("%s is not at rest: %v, exchange %+v", e.name, e.m.sas, e.m.current.exchange)
		}
		if len(e.children) != n || len(e.m.children) != n {
			fail("%s has %d child SAs installed and knows %d, want %d", e.name, len(e.children), len(e.m.children), n)
		}
		if len(e.spis) != 1 {
			fail("%s has SPIs %v open, want one", e.name, e.spis)
		}
		if n > 0 && e.sending() == nil {
			fail("%s sends on no child SA", e.name)
		}
	}
	var in, out []string
	for _, c := range p.a.children {
		in = append(in, half(c.Inbound, true))
		out = append(out, half(c.Outbound, true))
	}
	for _, c := range p.b.children {
		i, o := half(c.Outbound, false), half(c.Inbound, false)
		if !slices.Contains(in, i) || !slices.Contains(out, o) {
			fail("B has child SA %v / %v, A has %v / %v", i, o, in, out)
		}
	}
}

// half is a comparable form of one direction, as A sees it.
func half(e esp.Parameters, a bool) string {
	local, remote := e.Local, e.Remote
	if !a {
		local, remote = remote, local
	}
	return fmt.Sprintf("%08x %v %x %v %v %v", e.SPI, e.Encryption, e.Key, e.ESN, local, remote)
}

func find[T Event](events []Event) (T, bool) {
	for _, e := range events {
		if v, ok := e.(T); ok {
			return v, true
		}
	}
	var zero T
	return zero, false
}

func count[T Event](events []Event) int {
	n := 0
	for _, e := range events {
		if _, ok := e.(T); ok {
			n++
		}
	}
	return n
}

// onlyGroup makes exchanges cheap to run many times.
func onlyGroup(g suite.Group) option {
	return func(i *InitiatorConfig, r *ResponderConfig, _ *testPolicy) {
		i.Proposals.Groups, r.Proposals.Groups = []suite.Group{g}, []suite.Group{g}
	}
}
