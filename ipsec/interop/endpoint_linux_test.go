package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"mipvpn/ipsec/eap"
	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// patience is how long a test waits for what must come. Nothing is measured with it.
const patience = 30 * time.Second

// machine is what ike.Machine and gateway.Gateway have in common.
type machine interface {
	HandleDatagram(link.Instant, ike.Datagram) error
	HandleTraffic(link.Instant, uint32)
	HandleTimeout(link.Instant)
	Deadline() (time.Duration, bool)
	PollTransmit() (ike.Transmit, bool)
}

// happening is an event of a session; a client's machine has but one, 0. eap is a question of a gateway's EAP method, and the
// Event nil then.
type happening struct {
	session gateway.SessionID
	ike.Event
	eap eap.Event
}

// endpoint is an IKE machine of ours with its SAs on sockets of a namespace. One goroutine owns machine and SAs.
type endpoint struct {
	t        testing.TB
	ns       *os.File
	machine  machine
	poll     func() (happening, bool)
	ask      func(now link.Instant, h happening) error // answers what a machine asks its driver
	begin    time.Time
	sockets  map[netip.AddrPort]*net.UDPConn
	arrivals chan datagram
	commands chan func(link.Instant)
	events   chan happening
	inner    func(p *packet.Buf)                                        // takes packets that came out of an SA
	source   func(now link.Instant, local netip.AddrPort, s esp.Source) // takes where packets have come from; nil for nobody
	seen     []ike.Event
	ctx      context.Context
	cancel   func()

	drops    packet.Drops
	inbound  esp.Table
	children map[childKey]*childSA
	using    childKey
	moved    atomic.Bool // is set once the machine has sent from, or to, another endpoint
	address  netip.Addr  // of the client, inner
	lastID   uint16
}

type childKey struct {
	session gateway.SessionID
	child   ike.ChildID
}

type childSA struct {
	in            *esp.Inbound
	out           *esp.Outbound
	local, remote netip.AddrPort
}

// from returns where packets are sent from.
func (sa *childSA) from() netip.AddrPort {
	if sa.local.Port() > esp.PortNATT {
		return sa.local
	}
	return netip.AddrPortFrom(sa.local.Addr(), esp.PortNATT)
}

type datagram struct {
	local, remote netip.AddrPort
	payload       []byte
}

// client is an endpoint whose machine is an initiator's.
type client struct {
	*endpoint
	machine *ike.Machine
	packets chan *packet.Buf // inner ones that came out of an SA
}

// newEndpoint makes an endpoint without a machine and opens the sockets of the addresses in ns; run begins.
func newEndpoint(t testing.TB, ns *os.File, addrs ...netip.Addr) *endpoint {
	t.Helper()
	c := &endpoint{t: t, ns: ns, begin: time.Now(), sockets: make(map[netip.AddrPort]*net.UDPConn), arrivals: make(chan datagram, 64),
		commands: make(chan func(link.Instant)), events: make(chan happening, 256), children: make(map[childKey]*childSA)}
	ctx, cancel := context.WithCancel(context.Background())
	c.ctx, c.cancel = ctx, cancel
	t.Cleanup(c.close)
	for _, a := range addrs {
		for _, port := range []uint16{esp.PortIKE, esp.PortNATT} {
			c.listen(netip.AddrPortFrom(a, port))
		}
	}
	return c
}

// listen opens a socket.
func (c *endpoint) listen(local netip.AddrPort) {
	c.t.Helper()
	netnstest.Inside(c.t, c.ns, func() error {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(local))
		c.sockets[local] = conn
		return err
	})
	go c.read(c.sockets[local])
}

// close ends the endpoint's goroutine and closes its sockets.
func (c *endpoint) close() {
	c.cancel()
	for _, conn := range c.sockets {
		conn.Close()
	}
}

// newClient makes a client in ns with the first address of addrs, cfg.Local's when there are none; start begins.
func newClient(t testing.TB, ns *os.File, cfg ike.InitiatorConfig, more ...netip.Addr) *client {
	t.Helper()
	c := &client{endpoint: newEndpoint(t, ns, append([]netip.Addr{cfg.Local.Addr()}, more...)...), packets: make(chan *packet.Buf, 256)}
	var err error
	if c.machine, err = ike.NewInitiator(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	c.endpoint.machine = c.machine
	c.poll = func() (happening, bool) {
		e, ok := c.machine.PollEvent()
		return happening{Event: e}, ok
	}
	c.inner, c.source = func(p *packet.Buf) { c.packets <- p }, c.machine.HandleSource
	go c.run()
	return c
}

func (c *endpoint) now() link.Instant {
	return link.Instant{Boot: time.Hour + time.Since(c.begin), Wall: time.Now()}
}

func (c *endpoint) read(conn *net.UDPConn) {
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	for {
		p := make([]byte, 65536)
		n, from, err := conn.ReadFromUDPAddrPort(p)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue // an ICMP error of an earlier datagram
		}
		select {
		case c.arrivals <- datagram{local, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), p[:n]}:
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *endpoint) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at, ok := c.machine.Deadline(); ok {
			timer.Reset(at - c.now().Boot)
		} else {
			timer.Stop()
		}
		select {
		case <-c.ctx.Done():
			return
		case f := <-c.commands:
			f(c.now())
		case d := <-c.arrivals:
			c.arrived(d)
		case <-timer.C:
			c.machine.HandleTimeout(c.now())
		}
		c.pump()
	}
}

func (c *endpoint) arrived(d datagram) {
	if d.local.Port() != esp.PortIKE {
		switch esp.Classify(d.payload) {
		case esp.KindIKE:
			d.payload = d.payload[esp.MarkerLen:]
		case esp.KindESP:
			c.open(d)
			return
		default:
			return
		}
	}
	if err := c.machine.HandleDatagram(c.now(), ike.Datagram{Local: d.local, Remote: d.remote, Payload: d.payload}); err != nil {
		c.t.Logf("ours: from %v: %v", d.remote, err)
	}
}

func (c *endpoint) open(d datagram) {
	b := packet.One(packet.From(d.payload))
	b.Bufs[0].Peer = d.remote
	c.inbound.Open(b, &c.drops)
	for _, p := range b.Bufs {
		if c.source != nil {
			c.source(c.now(), d.local, c.inbound.Lookup(p.SA).Source())
		}
		c.machine.HandleTraffic(c.now(), p.SA)
		c.inner(p)
	}
	b.Forget()
}

func (c *endpoint) pump() {
	for {
		e, ok := c.poll()
		if !ok {
			break
		}
		c.handle(e)
		if c.ask != nil {
			if err := c.ask(c.now(), e); err != nil {
				c.t.Errorf("ours: answering %T: %v", e.Event, err)
			}
		}
		select {
		case c.events <- e:
		case <-c.ctx.Done():
			return
		}
	}
	for {
		t, ok := c.machine.PollTransmit()
		if !ok {
			return
		}
		payload := t.Payload
		if t.Local.Port() != esp.PortIKE && !t.Keepalive {
			payload = append(make([]byte, esp.MarkerLen), payload...)
		}
		c.write(t.Local, t.Remote, payload)
	}
}

func (c *endpoint) write(local, remote netip.AddrPort, payload []byte) {
	conn := c.sockets[local]
	if conn == nil {
		c.t.Errorf("ours: a datagram from %v to %v, and no such socket", local, remote)
		return
	}
	if _, err := conn.WriteToUDPAddrPort(payload, remote); err != nil && !errors.Is(err, net.ErrClosed) {
		c.t.Logf("ours: %v", err)
	}
}

func (c *endpoint) handle(h happening) {
	key := func(id ike.ChildID) childKey { return childKey{h.session, id} }
	switch e := h.Event.(type) {
	case ike.Established:
		if len(e.Configuration.Addresses) > 0 {
			c.address = e.Configuration.Addresses[0]
		}
	case ike.ChildInstalled:
		in, err := esp.NewInbound(e.Inbound)
		if err != nil {
			c.t.Errorf("inbound: %v", err)
			return
		}
		out, err := esp.NewOutbound(e.Outbound, &c.drops)
		if err != nil {
			c.t.Errorf("outbound: %v", err)
			return
		}
		if !c.inbound.Add(in) {
			c.t.Errorf("SPI %08x is taken", in.SPI())
		}
		c.children[key(e.ID)] = &childSA{in, out, e.Local, e.Remote}
		if !e.Standby {
			c.using = key(e.ID)
		}
	case ike.ChildActivated:
		c.using = key(e.ID)
	case ike.ChildRemoved:
		c.inbound.Remove(e.Inbound)
		delete(c.children, key(e.ID))
	case ike.ESPWanted:
		if sa := c.children[c.using]; sa != nil {
			if p := sa.out.Dummy(64); p != nil {
				c.write(sa.from(), sa.remote, p.Bytes())
				p.Release()
			}
		}
	case ike.EndpointChanged:
		c.moved.Store(true)
		for k, sa := range c.children {
			if k.session == h.session && e.Update.Concerns(k.child) {
				sa.local, sa.remote = e.Update.Local(), e.Update.Remote()
			}
		}
	}
}

// command runs f on the endpoint's goroutine and returns what it returns.
func (c *endpoint) command(f func(link.Instant) error) {
	c.t.Helper()
	if err := c.try(f); err != nil {
		c.t.Fatal(err)
	}
}

// try is command that returns the error.
func (c *endpoint) try(f func(link.Instant) error) error {
	result := make(chan error, 1)
	c.commands <- func(now link.Instant) { result <- f(now) }
	return <-result
}

// seal seals an inner packet with the child SA in use and sends it in UDP. The endpoint's goroutine calls it.
func (c *endpoint) seal(p *packet.Buf) error {
	sa := c.children[c.using]
	if sa == nil {
		p.Release()
		return errors.New("no child SA")
	}
	b := packet.One(p)
	sa.out.Apply(b)
	defer b.Release()
	if b.Len() != 1 {
		return fmt.Errorf("the packet was dropped: %v", c.drops.Snapshot())
	}
	c.write(sa.from(), sa.remote, b.Bufs[0].Bytes())
	return nil
}

func (c *client) start() {
	c.t.Helper()
	c.command(func(now link.Instant) error { return c.machine.Start(now) })
}

// waiter is what wait is for: an endpoint, or what has one.
type waiter interface{ self() *endpoint }

func (c *endpoint) self() *endpoint { return c }

// wait returns the next event of type T, passing over others; the machine's end in between is an error of the test.
func wait[T ike.Event](w waiter) T {
	c := w.self()
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case h := <-c.events:
			c.seen = append(c.seen, h.Event)
			if want, ok := h.Event.(T); ok {
				return want
			}
			if end, ok := h.Event.(ike.Closed); ok {
				c.t.Fatalf("the machine closed: %v; waiting for %T", end.Err, *new(T))
			}
		case <-timeout:
			c.t.Fatalf("no %T; so far %+v", *new(T), c.seen)
		}
	}
}
