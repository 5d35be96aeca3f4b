package gateway

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var gatewayAddr = netip.MustParseAddr("192.0.2.10")

func identity(t testing.TB, s string) ike.Identity {
	t.Helper()
	id, err := message.NewIdentity(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func source(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

// net joins one gateway and any number of clients. Datagrams are delivered in the order they were sent.
type net struct {
	t       *testing.T
	now     link.Instant
	g       *Gateway
	clients map[netip.AddrPort]*client
	toGate  []ike.Transmit // from clients
	events  []Event
	// lose, when set, takes datagrams of clients away.
	lose func(ike.Transmit) bool
	sent int // datagrams of the gateway
	// answer, when set, answers questions of the gateway.
	answer func(Event)
}

type client struct {
	net    *net
	m      *ike.Machine
	addr   netip.Addr
	events []ike.Event
	// answer, when set, answers questions of the machine.
	answer func(ike.Event)
}

func config(t testing.TB, peers int) Config {
	c := Config{
		IKE:  ike.Config{LocalID: identity(t, "gateway.corp.example")},
		Pool: netip.MustParsePrefix("10.0.9.0/24"), Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")},
		DNS: []netip.Addr{netip.MustParseAddr("10.0.1.1")},
	}
	for i := range peers {
		c.Peers = append(c.Peers, Peer{Identity: identity(t, fmt.Sprintf("laptop%d@corp.example", i)), PSK: psk(i)})
	}
	return c
}

func psk(i int) []byte { return []byte(fmt.Sprintf("the pre-shared key of laptop %d", i)) }

func newNet(t *testing.T, c Config) *net {
	t.Helper()
	g, err := New(c, source(1))
	if err != nil {
		t.Fatal(err)
	}
	return &net{t: t, g: g, clients: make(map[netip.AddrPort]*client),
		now: link.Instant{Boot: time.Hour, Wall: time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)}}
}

// client adds the client with number i, which is at an address of its own.
func (n *net) client(i int, change func(*ike.InitiatorConfig)) *client {
	n.t.Helper()
	c := &client{net: n, addr: netip.AddrFrom4([4]byte{203, 0, 113, byte(len(n.clients) + 1)})}
	cfg := ike.InitiatorConfig{
		Config: ike.Config{LocalID: identity(n.t, fmt.Sprintf("laptop%d@corp.example", i))},
		Local:  netip.AddrPortFrom(c.addr, 500), Remote: netip.AddrPortFrom(gatewayAddr, 500),
		RemoteID: identity(n.t, "gateway.corp.example"), PSK: psk(i), RequestAddress: true, RequestDNS: true, RequestSubnets: true,
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if c.m, err = ike.NewInitiator(cfg, source(byte(100+len(n.clients)))); err != nil {
		n.t.Fatal(err)
	}
	for _, port := range []uint16{500, 4500} {
		n.clients[netip.AddrPortFrom(c.addr, port)] = c
	}
	return c
}

func (c *client) pump() {
	for {
		e, ok := c.m.PollEvent()
		if !ok {
			break
		}
		c.events = append(c.events, e)
		if c.answer != nil {
			c.answer(e)
		}
	}
	for {
		t, ok := c.m.PollTransmit()
		if !ok {
			return
		}
		if t.Keepalive || c.net.lose != nil && c.net.lose(t) {
			continue
		}
		c.net.toGate = append(c.net.toGate, t)
	}
}

// settle delivers until nobody has anything to send, at one moment.
func (n *net) settle() {
	n.t.Helper()
	for range 1000 {
		for {
			e, ok := n.g.PollEvent()
			if !ok {
				break
			}
			n.events = append(n.events, e)
			if n.answer != nil {
				n.answer(e)
			}
		}
		if t, ok := n.g.PollTransmit(); ok {
			n.sent++
			if c := n.clients[t.Remote]; c != nil && !t.Keepalive {
				_ = c.m.HandleDatagram(n.now, ike.Datagram{Local: t.Remote, Remote: t.Local, Payload: t.Payload})
				c.pump()
			}
			continue
		}
		if len(n.toGate) == 0 {
			return
		}
		t := n.toGate[0]
		n.toGate = n.toGate[1:]
		_ = n.g.HandleDatagram(n.now, ike.Datagram{Local: t.Remote, Remote: t.Local, Payload: t.Payload})
	}
	n.t.Fatal("the exchange does not come to rest")
}

// advance lets time pass, in steps of all deadlines.
func (n *net) advance(d time.Duration) {
	n.t.Helper()
	end := n.now.Boot + d
	for range 10000 {
		n.settle()
		next := end
		if at, ok := n.g.Deadline(); ok {
			next = min(next, at)
		}
		for _, c := range n.clients {
			if at, ok := c.m.Deadline(); ok {
				next = min(next, at)
			}
		}
		n.now = n.now.Add(max(0, next-n.now.Boot))
		n.g.HandleTimeout(n.now)
		for _, c := range n.ordered() {
			c.m.HandleTimeout(n.now)
			c.pump()
		}
		if n.now.Boot >= end {
			n.settle()
			return
		}
	}
	n.t.Fatal("time does not pass")
}

func (n *net) ordered() []*client {
	var out []*client
	for _, c := range n.clients {
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *client) int { return a.addr.Compare(b.addr) })
	return out
}

func (c *client) start() {
	c.net.t.Helper()
	if err := c.m.Start(c.net.now); err != nil {
		c.net.t.Fatal(err)
	}
	c.pump()
}

func (n *net) connect(c *client) {
	n.t.Helper()
	c.start()
	n.settle()
	if _, ok := last[ike.Established](c.events); !ok {
		n.t.Fatalf("%v is not connected: %+v, %v", c.addr, c.events, c.m.Err())
	}
}

func last[T ike.Event](events []ike.Event) (T, bool) {
	for _, e := range slices.Backward(events) {
		if e, ok := e.(T); ok {
			return e, true
		}
	}
	var zero T
	return zero, false
}

// of returns the events of one kind with their envelopes.
func of[T ike.Event](events []Event) (out []Event) {
	for _, e := range events {
		if _, ok := e.Event.(T); ok {
			out = append(out, e)
		}
	}
	return out
}

// Shows: IKE-8 (peers and keys are found by identity), IKE-9. Two clients connect, get addresses of their own, and ESP
// passes both ways between the halves that the two ends install.
func TestTwoClientsConnect(t *testing.T) {
	n := newNet(t, config(t, 2))
	seen := make(map[netip.Addr]bool)
	for i := range 2 {
		c := n.client(i, nil)
		n.connect(c)
		up, _ := last[ike.Established](c.events)
		if len(up.Configuration.Addresses) != 1 || len(up.Configuration.DNS) != 1 || len(up.Configuration.Subnets) != 1 {
			t.Fatalf("configuration %+v", up.Configuration)
		}
		inner := up.Configuration.Addresses[0]
		if seen[inner] || !netip.MustParsePrefix("10.0.9.0/24").Contains(inner) {
			t.Errorf("inner address %v", inner)
		}
		seen[inner] = true
		ours := of[ike.ChildInstalled](n.events)
		there, _ := last[ike.ChildInstalled](c.events)
		if len(ours) != i+1 {
			t.Fatalf("%d child SAs at the gateway", len(ours))
		}
		here := ours[i].Event.(ike.ChildInstalled)
		if ours[i].Address != inner || ours[i].Identity != identity(t, fmt.Sprintf("laptop%d@corp.example", i)) {
			t.Errorf("envelope %+v", ours[i])
		}
		passes(t, there.Outbound, here.Inbound, inner, netip.MustParseAddr("10.0.1.20"), packet.NotDropped)
		passes(t, here.Outbound, there.Inbound, netip.MustParseAddr("10.0.1.20"), inner, packet.NotDropped)
		// Another inner source does not get in, whatever the client seals.
		loose := there.Outbound
		loose.Local = []esp.Selector{esp.AnySelector()}
		passes(t, loose, here.Inbound, netip.MustParseAddr("10.0.9.200"), netip.MustParseAddr("10.0.1.20"), packet.DropSelector)
	}
	if got := n.g.Sessions(); len(got) != 2 || n.g.HalfOpen() != 0 {
		t.Errorf("sessions %+v, %d half open", got, n.g.HalfOpen())
	}
}

func passes(t *testing.T, out, in esp.Parameters, src, dst netip.Addr, want packet.DropReason) {
	t.Helper()
	o, err := esp.NewOutbound(out, nil)
	if err != nil {
		t.Fatal(err)
	}
	i, err := esp.NewInbound(in)
	if err != nil {
		t.Fatal(err)
	}
	p := packet.From([]byte("payload"))
	packet.PushIPv4(p, packet.IPv4Fields{TTL: 64, Protocol: 254, Src: src, Dst: dst})
	inner := bytes.Clone(p.Bytes())
	b := packet.One(p)
	o.Apply(b)
	if b.Len() != 1 {
		t.Fatalf("%v to %v does not go out", src, dst)
	}
	if r := i.Open(p); r != want || want == packet.NotDropped && !bytes.Equal(p.Bytes(), inner) {
		t.Errorf("%v to %v: %v, want %v", src, dst, r, want)
	}
}

func TestWrongKeyAndUnknownIdentity(t *testing.T) {
	for name, change := range map[string]func(*ike.InitiatorConfig){
		"wrong key":        func(c *ike.InitiatorConfig) { c.PSK = []byte("another") },
		"unknown identity": func(c *ike.InitiatorConfig) { c.LocalID = identity(t, "stranger@corp.example") },
		"another gateway":  func(c *ike.InitiatorConfig) { c.RemoteID = identity(t, "other.corp.example") },
	} {
		n := newNet(t, config(t, 1))
		c := n.client(0, change)
		c.start()
		n.settle()
		if len(of[ike.Established](n.events)) != 0 || len(of[ike.ChildInstalled](n.events)) != 0 || len(n.g.Sessions()) != 0 {
			t.Errorf("%s: the gateway lets it in: %+v", name, n.events)
		}
		if n.g.HalfOpen() != 1 {
			t.Errorf("%s: what failed is not counted while state of it is left: %d", name, n.g.HalfOpen())
		}
		n.advance(2 * time.Minute)
		if c.m.Err() == nil {
			t.Errorf("%s: the client does not give up", name)
		}
		if n.g.HalfOpen() != 0 || len(n.g.sessions) != 0 || len(n.g.bySPI) != 0 || len(n.g.byInit) != 0 {
			t.Errorf("%s: state is left: %d half open, %d sessions, %d SPIs, %d requests", name, n.g.HalfOpen(), len(n.g.sessions), len(n.g.bySPI), len(n.g.byInit))
		}
	}
}

// A repeated IKE_SA_INIT request must not make a second machine (RFC 7296 §2.1).
func TestRepeatedInitRequest(t *testing.T) {
	n := newNet(t, config(t, 1))
	c := n.client(0, nil)
	c.start()
	first := n.toGate[0]
	n.toGate = append(n.toGate, first, first)
	n.settle()
	if len(of[ike.Established](n.events)) != 1 || len(n.g.sessions) != 1 || n.g.HalfOpen() != 0 {
		t.Errorf("%d sessions, %d half open", len(n.g.sessions), n.g.HalfOpen())
	}
}

// Shows: IKE-1 (COOKIE). Under load a client connects through a cookie, and a flood from forged addresses leaves no state.
func TestCookieUnderLoad(t *testing.T) {
	cfg := config(t, 1)
	cfg.CookieThreshold = 3
	n := newNet(t, cfg)
	template := n.client(0, nil)
	template.start()
	flood := n.toGate[0]
	n.toGate = nil
	for i := range 200 {
		payload := bytes.Clone(flood.Payload)
		payload[0], payload[1] = byte(i), 0xaa // another SPI each
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(i)}), 500)
		err := n.g.HandleDatagram(n.now, ike.Datagram{Local: flood.Remote, Remote: from, Payload: payload})
		if want := i >= 3; errors.Is(err, ErrCookieAsked) != want {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if n.g.HalfOpen() != 3 || len(n.g.sessions) != 3 {
		t.Fatalf("%d half open, %d sessions", n.g.HalfOpen(), len(n.g.sessions))
	}
	n.settle()
	delete(n.clients, netip.AddrPortFrom(template.addr, 500))
	c := n.client(0, nil)
	n.connect(c)
	n.advance(4 * time.Minute) // the first client goes on trying for a while, without hearing an answer
	if n.g.HalfOpen() != 0 {
		t.Errorf("%d half open after their time", n.g.HalfOpen())
	}
}

func TestCookiesAreBoundToTheirRequest(t *testing.T) {
	c := cookies{rand: source(9)}
	now := link.Instant{Boot: time.Hour}
	a, b := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")
	cookie, err := c.make(now, 0, a, 7, []byte("nonce"))
	if err != nil || len(cookie) > 64 || len(cookie) < 1 { // RFC 7296 §2.6
		t.Fatalf("cookie %x, %v", cookie, err)
	}
	flipped := bytes.Clone(cookie)
	flipped[5] ^= 1
	for name, got := range map[string]bool{
		"address": c.valid(now, cookie, b, 7, []byte("nonce")), "SPI": c.valid(now, cookie, a, 8, []byte("nonce")),
		"nonce": c.valid(now, cookie, a, 7, []byte("other")), "changed": c.valid(now, flipped, a, 7, []byte("nonce")),
		"cut": c.valid(now, cookie[:16], a, 7, []byte("nonce")), "none": c.valid(now, nil, a, 7, []byte("nonce")),
	} {
		if got {
			t.Errorf("%s: the cookie is taken", name)
		}
	}
	for _, step := range []struct {
		after time.Duration
		want  bool
	}{{0, true}, {cookieAge - 1, true}, {cookieAge, true}, {2*cookieAge - 1, true}, {2 * cookieAge, false}, {time.Hour, false}} {
		if got := c.valid(now.Add(step.after), cookie, a, 7, []byte("nonce")); got != step.want {
			t.Errorf("after %v: %v", step.after, got)
		}
	}
	late := cookies{rand: source(9)}
	old, err := late.make(now, 0, a, 7, nil)
	if err != nil {
		t.Fatal(err)
	}
	if late.valid(now.Add(time.Hour), old, a, 7, nil) {
		t.Error("a cookie of an hour ago is taken after a pause")
	}
}

func TestHalfOpenIsBounded(t *testing.T) {
	cfg := config(t, 1)
	cfg.CookieThreshold, cfg.MaxHalfOpen, cfg.MaxHalfOpenAddress = 1000, 6, 4
	n := newNet(t, cfg)
	c := n.client(0, nil)
	c.start()
	first := n.toGate[0]
	n.toGate = nil
	var refused int
	for i := range 20 {
		payload := bytes.Clone(first.Payload)
		payload[0] = byte(i)
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, 0, byte(i / 10)}), 500)
		if err := n.g.HandleDatagram(n.now, ike.Datagram{Local: first.Remote, Remote: from, Payload: payload}); errors.Is(err, ErrHalfOpen) {
			refused++
		}
	}
	if n.g.HalfOpen() != 6 || refused != 14 {
		t.Errorf("%d half open, %d refused", n.g.HalfOpen(), refused)
	}
	n.advance(cfg.HalfOpen + 2*time.Minute)
	if n.g.HalfOpen() != 0 || len(n.g.halfOpenBy) != 0 {
		t.Errorf("%d half open after their time, by address %v", n.g.HalfOpen(), n.g.halfOpenBy)
	}
}

// The same client connects again, from elsewhere: it keeps its inner address and the session before is closed.
func TestReconnectReplaces(t *testing.T) {
	for _, silent := range []bool{false, true} {
		n := newNet(t, config(t, 1))
		before := n.client(0, nil)
		n.connect(before)
		first, _ := last[ike.Established](before.events)
		again := n.client(0, func(c *ike.InitiatorConfig) { c.InitialContact = silent })
		n.connect(again)
		second, _ := last[ike.Established](again.events)
		if first.Configuration.Addresses[0] != second.Configuration.Addresses[0] {
			t.Errorf("addresses %v and %v", first.Configuration.Addresses, second.Configuration.Addresses)
		}
		if !silent && (before.m.Err() != nil || len(of[ike.ChildRemoved](n.events)) != 0) {
			t.Error("the session before has no time to end")
		}
		n.advance(replaceAfter + time.Second)
		if told := before.m.Err() != nil; told == silent {
			t.Errorf("initial contact %v, and the old machine was told: %v", silent, told)
		}
		removed := of[ike.ChildRemoved](n.events)
		if len(removed) != 1 || removed[0].Session != 1 || len(of[ike.Closed](n.events)) != 1 {
			t.Errorf("initial contact %v: removed %+v", silent, removed)
		}
		if s := n.g.Sessions(); len(s) != 1 || s[0].ID != 2 {
			t.Errorf("sessions %+v", s)
		}
		n.advance(2 * time.Minute)
		if len(n.g.sessions) != 1 || len(n.g.byInbound) != 1 {
			t.Errorf("%d sessions, %d inbound SPIs are left", len(n.g.sessions), len(n.g.byInbound))
		}
	}
}

// Shows: IKE-5 (DELETE, DPD). A client that leaves gives its address back; so does one that falls silent.
func TestAddressesComeBack(t *testing.T) {
	cfg := config(t, 3)
	cfg.Pool = netip.MustParsePrefix("10.0.9.8/31")
	n := newNet(t, cfg)
	a, b := n.client(0, nil), n.client(1, nil)
	n.connect(a)
	n.connect(b)
	c := n.client(2, nil)
	c.start()
	n.settle()
	if _, ok := last[ike.ChildInstalled](c.events); ok {
		t.Fatal("a third client got in with two addresses in the pool")
	}
	a.m.Delete(n.now)
	a.pump()
	n.settle()
	if !errors.Is(a.m.Err(), ike.ErrDeleted) || len(n.g.Sessions()) != 1 {
		t.Fatalf("after DELETE: %v, %+v", a.m.Err(), n.g.Sessions())
	}
	n.lose = func(x ike.Transmit) bool { return x.Local.Addr() == b.addr }
	n.advance(10 * time.Minute)
	if len(n.g.Sessions()) != 0 {
		t.Fatalf("the silent client is still there: %+v", n.g.Sessions())
	}
	n.lose = nil
	for i := range 2 {
		n.connect(n.client(i+1, nil))
	}
}

func TestFixedAddress(t *testing.T) {
	cfg := config(t, 2)
	cfg.Pool = netip.MustParsePrefix("10.0.9.0/30")
	cfg.Peers[1].Address = netip.MustParseAddr("10.0.9.1")
	n := newNet(t, cfg)
	for i, want := range []string{"10.0.9.2", "10.0.9.1"} {
		c := n.client(i, func(c *ike.InitiatorConfig) { c.WantedAddress = netip.MustParseAddr("10.0.9.1") })
		n.connect(c)
		if up, _ := last[ike.Established](c.events); up.Configuration.Addresses[0].String() != want {
			t.Errorf("client %d has %v, want %v", i, up.Configuration.Addresses, want)
		}
	}
}

// Shows: IKE-5 (rekey of child and IKE SA, begun by the gateway and by the client). Messages find their session by SPI
// also when the gateway is the original initiator of the new IKE SA.
func TestRekeyFromBothSides(t *testing.T) {
	n := newNet(t, config(t, 1))
	c := n.client(0, nil)
	n.connect(c)
	id := n.g.Sessions()[0].ID
	child := of[ike.ChildInstalled](n.events)[0].Event.(ike.ChildInstalled).ID
	if err := n.g.RekeyChild(n.now, id, child); err != nil {
		t.Fatal(err)
	}
	n.advance(10 * time.Second)
	if err := n.g.RekeyIKE(n.now, id); err != nil {
		t.Fatal(err)
	}
	n.advance(10 * time.Second)
	there, _ := last[ike.ChildInstalled](c.events)
	if err := c.m.RekeyChild(n.now, there.ID); err != nil {
		t.Fatal(err)
	}
	c.pump()
	n.advance(10 * time.Second)
	if err := c.m.RekeyIKE(n.now); err != nil {
		t.Fatal(err)
	}
	c.pump()
	n.advance(2 * time.Minute)
	if got := len(of[ike.IKERekeyed](n.events)); got != 2 {
		t.Errorf("%d rekeyed IKE SAs", got)
	}
	installed := of[ike.ChildInstalled](n.events)
	if len(installed) != 3 || len(of[ike.ChildRemoved](n.events)) != 2 || len(n.g.byInbound) != 1 || len(n.g.bySPI) != 1 {
		t.Errorf("%d installed, %d removed, %d inbound, %d IKE SPIs", len(installed), len(of[ike.ChildRemoved](n.events)), len(n.g.byInbound), len(n.g.bySPI))
	}
	there, _ = last[ike.ChildInstalled](c.events)
	here := installed[len(installed)-1].Event.(ike.ChildInstalled)
	inner := n.g.Sessions()[0].Address
	passes(t, there.Outbound, here.Inbound, inner, netip.MustParseAddr("10.0.1.20"), packet.NotDropped)
	passes(t, here.Outbound, there.Inbound, netip.MustParseAddr("10.0.1.20"), inner, packet.NotDropped)
	if err := n.g.RekeyIKE(n.now, 99); !errors.Is(err, ErrUnknownSPI) {
		t.Errorf("a session that is not there: %v", err)
	}
}

// Shows: IKE-8. What comes from another address with the SPI of a session, but not authentic, changes nothing.
func TestForgedMessagesChangeNothing(t *testing.T) {
	n := newNet(t, config(t, 1))
	c := n.client(0, nil)
	n.connect(c)
	before := n.g.Sessions()
	var spi spiKey
	for k := range n.g.bySPI {
		spi = k
	}
	h := message.Header{InitiatorSPI: 1, ResponderSPI: spi.spi, Exchange: message.Informational, Flags: message.FlagInitiator, MessageID: 2}
	wire, err := (&message.Message{Header: h, Payloads: []message.Payload{message.Encrypted{Body: make([]byte, 60)}}}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger := netip.MustParseAddrPort("198.18.0.1:4500")
	if err := n.g.HandleDatagram(n.now, ike.Datagram{Local: netip.AddrPortFrom(gatewayAddr, 4500), Remote: stranger, Payload: wire}); err == nil {
		t.Error("a forgery is taken")
	}
	if after := n.g.Sessions(); !slices.Equal(before, after) {
		t.Errorf("sessions %+v became %+v", before, after)
	}
}

// RFC 7296 §2.21.4: a request for an unknown SA is answered with INVALID_IKE_SPI, but not without limit.
func TestUnknownSPIIsAnsweredAtABoundedRate(t *testing.T) {
	n := newNet(t, config(t, 1))
	h := message.Header{InitiatorSPI: 5, ResponderSPI: 6, Exchange: message.Informational, Flags: message.FlagInitiator, MessageID: 77}
	wire, err := (&message.Message{Header: h}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := ike.Datagram{Local: netip.AddrPortFrom(gatewayAddr, 500), Remote: netip.MustParseAddrPort("203.0.113.9:500"), Payload: wire}
	for range 100 {
		if err := n.g.HandleDatagram(n.now, d); !errors.Is(err, ErrUnknownSPI) {
			t.Fatal(err)
		}
	}
	answer, ok := n.g.PollTransmit()
	if !ok {
		t.Fatal("no answer")
	}
	m, err := message.Parse(answer.Payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := message.FindNotify(m.Payloads, message.InvalidIKESPI); !ok || m.Header.MessageID != 77 || !m.Header.Response() || m.Header.FromInitiator() {
		t.Errorf("answer %+v", m)
	}
	n.settle()
	if n.sent != maxUnknownAnswers-1 {
		t.Errorf("%d more answers in one second", n.sent)
	}
	n.now = n.now.Add(time.Second)
	if err := n.g.HandleDatagram(n.now, d); !errors.Is(err, ErrUnknownSPI) {
		t.Fatal(err)
	}
	if _, ok := n.g.PollTransmit(); !ok {
		t.Error("no answer a second later")
	}
	h.Flags |= message.FlagResponse
	if wire, err = (&message.Message{Header: h}).Append(nil); err != nil {
		t.Fatal(err)
	}
	d.Payload = wire
	if err := n.g.HandleDatagram(n.now, d); !errors.Is(err, ErrUnknownSPI) {
		t.Fatal(err)
	}
	if _, ok := n.g.PollTransmit(); ok {
		t.Error("a response is answered")
	}
}

func TestCloseTellsAll(t *testing.T) {
	n := newNet(t, config(t, 2))
	a, b := n.client(0, nil), n.client(1, nil)
	n.connect(a)
	n.connect(b)
	n.g.Close(n.now)
	n.settle()
	for _, c := range []*client{a, b} {
		if !errors.Is(c.m.Err(), ike.ErrDeletedByPeer) {
			t.Errorf("%v: %v", c.addr, c.m.Err())
		}
	}
	late := n.client(0, nil)
	late.start()
	n.settle()
	if _, ok := last[ike.Established](late.events); ok {
		t.Error("a closed gateway takes a client")
	}
	n.advance(5 * time.Minute)
	if len(n.g.sessions) != 0 {
		t.Errorf("%d sessions are left", len(n.g.sessions))
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no networks":    func(c *Config) { c.Networks = nil },
		"IPv6 network":   func(c *Config) { c.Networks = []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")} },
		"IPv6 pool":      func(c *Config) { c.Pool = netip.MustParsePrefix("2001:db8::/64") },
		"no pool":        func(c *Config) { c.Pool = netip.Prefix{} },
		"no key":         func(c *Config) { c.Peers[0].PSK = nil },
		"no identity":    func(c *Config) { c.Peers[0].Identity = ike.Identity{} },
		"twice":          func(c *Config) { c.Peers[1].Identity = c.Peers[0].Identity },
		"address twice":  func(c *Config) { c.Peers[0].Address = gatewayAddr; c.Peers[1].Address = gatewayAddr },
		"IPv6 address":   func(c *Config) { c.Peers[0].Address = netip.IPv6LinkLocalAllNodes() },
		"negative bound": func(c *Config) { c.MaxHalfOpen = -1 },
	} {
		cfg := config(t, 2)
		change(&cfg)
		if _, err := New(cfg, source(1)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg := config(t, 1)
	cfg.IKE.LocalID = ike.Identity{}
	if _, err := New(cfg, source(1)); !errors.Is(err, ike.ErrConfig) {
		t.Errorf("no own identity: %v", err)
	}
}

// FuzzHandleDatagram gives a gateway with one session any octets; it must come to rest and keep the session.
func FuzzHandleDatagram(f *testing.F) {
	header := message.Header{InitiatorSPI: 5, Exchange: message.IKESAInit, Flags: message.FlagInitiator}
	wire, err := (&message.Message{Header: header, Payloads: []message.Payload{message.Nonce{Data: make([]byte, 32)}}}).Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Add(wire[:28])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		cfg := config(t, 1)
		cfg.CookieThreshold = 1
		n := newNet(t, cfg)
		n.connect(n.client(0, nil))
		for port := range uint16(3) {
			_ = n.g.HandleDatagram(n.now, ike.Datagram{Local: netip.AddrPortFrom(gatewayAddr, 500),
				Remote: netip.AddrPortFrom(netip.MustParseAddr("198.18.0.1"), 500+port), Payload: p})
		}
		n.settle()
		n.advance(2 * time.Minute)
		if len(n.g.Sessions()) != 1 || n.g.HalfOpen() != 0 {
			t.Fatalf("sessions %+v, %d half open", n.g.Sessions(), n.g.HalfOpen())
		}
	})
}
