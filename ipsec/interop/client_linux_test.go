package interop

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// patience is how long a test waits for what must come. Nothing is measured with it.
const patience = 30 * time.Second

// client is our IKE initiator with its SAs on sockets of a namespace. One goroutine owns machine and SAs.
type client struct {
	t        *testing.T
	machine  *ike.Machine
	begin    time.Time
	sockets  map[uint16]*net.UDPConn
	arrivals chan datagram
	commands chan func(link.Instant)
	events   chan ike.Event
	packets  chan *packet.Buf // inner ones that came out of an SA
	seen     []ike.Event

	drops     packet.Drops
	inbound   esp.Table
	children  map[ike.ChildID]*childSA
	using     ike.ChildID
	remote    netip.AddrPort
	address   netip.Addr // inner
	identFree uint16
}

type childSA struct {
	in  *esp.Inbound
	out *esp.Outbound
}

type datagram struct {
	local, remote netip.AddrPort
	payload       []byte
}

// newClient opens the sockets in ns and makes the machine; start begins.
func newClient(t *testing.T, ns *os.File, cfg ike.InitiatorConfig) *client {
	t.Helper()
	c := &client{t: t, begin: time.Now(), sockets: make(map[uint16]*net.UDPConn), arrivals: make(chan datagram, 64),
		commands: make(chan func(link.Instant)), events: make(chan ike.Event, 256), packets: make(chan *packet.Buf, 256),
		children: make(map[ike.ChildID]*childSA)}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	for _, port := range []uint16{esp.PortIKE, esp.PortNATT} {
		netnstest.Inside(t, ns, func() error {
			conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(cfg.Local.Addr(), port)))
			c.sockets[port] = conn
			return err
		})
		conn := c.sockets[port]
		t.Cleanup(func() { conn.Close() })
		go c.read(ctx, conn)
	}
	var err error
	if c.machine, err = ike.NewInitiator(cfg, rand.Reader); err != nil {
		t.Fatal(err)
	}
	go c.run(ctx)
	return c
}

func (c *client) now() link.Instant {
	return link.Instant{Boot: time.Hour + time.Since(c.begin), Wall: time.Now()}
}

func (c *client) read(ctx context.Context, conn *net.UDPConn) {
	local := conn.LocalAddr().(*net.UDPAddr).AddrPort()
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
		case c.arrivals <- datagram{local, from, p[:n]}:
		case <-ctx.Done():
			return
		}
	}
}

func (c *client) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if at, ok := c.machine.Deadline(); ok {
			timer.Reset(at - c.now().Boot)
		} else {
			timer.Stop()
		}
		select {
		case <-ctx.Done():
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

func (c *client) arrived(d datagram) {
	if d.local.Port() == esp.PortNATT {
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
		c.t.Logf("client: %v", err)
	}
}

func (c *client) open(d datagram) {
	b := packet.One(packet.From(d.payload))
	c.inbound.Open(b, &c.drops)
	for _, p := range b.Bufs {
		c.machine.HandleTraffic(c.now(), p.SA)
		c.packets <- p
	}
	b.Forget()
}

func (c *client) pump() {
	for {
		e, ok := c.machine.PollEvent()
		if !ok {
			break
		}
		c.handle(e)
		c.events <- e
	}
	for {
		t, ok := c.machine.PollTransmit()
		if !ok {
			return
		}
		payload := t.Payload
		if t.Local.Port() == esp.PortNATT && !t.Keepalive {
			payload = append(make([]byte, esp.MarkerLen), payload...)
		}
		if _, err := c.sockets[t.Local.Port()].WriteToUDPAddrPort(payload, t.Remote); err != nil {
			c.t.Logf("client: %v", err)
		}
	}
}

func (c *client) handle(e ike.Event) {
	switch e := e.(type) {
	case ike.Established:
		c.remote = e.Remote
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
		c.children[e.ID] = &childSA{in, out}
		if !e.Standby {
			c.using = e.ID
		}
	case ike.ChildActivated:
		c.using = e.ID
	case ike.ChildRemoved:
		c.inbound.Remove(e.Inbound)
		delete(c.children, e.ID)
	}
}

// command runs f on the client's goroutine and returns what it returns.
func (c *client) command(f func(link.Instant) error) {
	c.t.Helper()
	result := make(chan error, 1)
	c.commands <- func(now link.Instant) { result <- f(now) }
	if err := <-result; err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) start() {
	c.t.Helper()
	c.command(func(now link.Instant) error { return c.machine.Start(now) })
}

// wait returns the next event of type T, passing over others; the machine's end in between is an error of the test.
func wait[T ike.Event](c *client) T {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-c.events:
			c.seen = append(c.seen, e)
			if want, ok := e.(T); ok {
				return want
			}
			if end, ok := e.(ike.Closed); ok {
				c.t.Fatalf("the machine closed: %v; waiting for %T", end.Err, *new(T))
			}
		case <-timeout:
			c.t.Fatalf("no %T; so far %+v", *new(T), c.seen)
		}
	}
}

// send seals an inner packet of the client and sends it in UDP.
func (c *client) send(p *packet.Buf) {
	c.t.Helper()
	c.command(func(link.Instant) error {
		sa := c.children[c.using]
		if sa == nil {
			return errors.New("no child SA")
		}
		b := packet.One(p)
		sa.out.Apply(b)
		defer b.Release()
		if b.Len() != 1 {
			return errors.New("the packet was dropped")
		}
		_, err := c.sockets[esp.PortNATT].WriteToUDPAddrPort(b.Bufs[0].Bytes(), netip.AddrPortFrom(c.remote.Addr(), esp.PortNATT))
		return err
	})
}

// receive returns the next inner packet for which match is true.
func (c *client) receive(match func(packet.IPv4) bool) packet.IPv4 {
	c.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case p := <-c.packets:
			if ip := packet.IPv4(p.Bytes()); match(ip) {
				return ip
			}
		case <-timeout:
			c.t.Fatalf("no packet came out of the SA; drops %v", c.drops.Snapshot())
		}
	}
}

// ping sends an ICMP echo request of n octets to dst through the SA and waits for the reply.
func (c *client) ping(dst netip.Addr, n int) {
	c.t.Helper()
	c.identFree++
	id := c.identFree
	b := packet.Get(n + 28)
	icmp := b.Extend(8 + n)
	clear(icmp)
	icmp[0] = 8
	binary.BigEndian.PutUint16(icmp[4:], id)
	for i := range n {
		icmp[8+i] = byte(i * 3)
	}
	binary.BigEndian.PutUint16(icmp[2:], packet.Checksum(icmp, 0))
	want := string(icmp[8:])
	packet.PushIPv4(b, packet.IPv4Fields{ID: id, TTL: 64, Protocol: packet.ProtocolICMP, Src: c.address, Dst: dst})
	c.send(b)
	reply := c.receive(func(ip packet.IPv4) bool {
		p := ip.Payload()
		return ip.Protocol() == packet.ProtocolICMP && ip.Src() == dst && ip.Dst() == c.address && len(p) >= 8 && p[0] == 0 && binary.BigEndian.Uint16(p[4:]) == id
	})
	if got := string(reply.Payload()[8:]); got != want {
		c.t.Fatalf("echo reply of %d octets differs from the request of %d", len(got), len(want))
	}
}

// udp sends text to the echo service at dst and waits for it to come back.
func (c *client) udp(dst netip.AddrPort, text string) {
	c.t.Helper()
	src := netip.AddrPortFrom(c.address, 40000)
	b := packet.From([]byte(text))
	packet.PushUDP(b, src, dst)
	packet.PushIPv4(b, packet.IPv4Fields{ID: 1, TTL: 64, Protocol: packet.ProtocolUDP, Src: src.Addr(), Dst: dst.Addr()})
	c.send(b)
	reply := c.receive(func(ip packet.IPv4) bool {
		return ip.Protocol() == packet.ProtocolUDP && ip.Src() == dst.Addr() && packet.UDP(ip.Payload()).Valid()
	})
	u := packet.UDP(reply.Payload())
	if string(u.Payload()) != text || u.SrcPort() != dst.Port() || !u.ChecksumOK(reply.Src(), reply.Dst()) {
		c.t.Fatalf("came back: %q", u.Payload())
	}
}
