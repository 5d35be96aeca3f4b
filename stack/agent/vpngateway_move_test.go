package agent

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// downlink sends a datagram from the correspondent to the client's inner address each interval, and counts those that arrive.
type downlink struct {
	sent, arrived int
	once          sync.Once
	stop          chan struct{}
	done          chan struct{}
}

func startDownlink(t *testing.T, l *simnet.Lab, inner netip.Addr, interval time.Duration) *downlink {
	t.Helper()
	from, err := l.Correspondent.ListenUDP(netip.AddrPortFrom(simnet.LabCorrespondent, 9000))
	if err != nil {
		t.Fatal(err)
	}
	to, err := l.Laptop.ListenUDP(netip.AddrPortFrom(inner, 9000))
	if err != nil {
		t.Fatal(err)
	}
	d := &downlink{stop: make(chan struct{}), done: make(chan struct{})}
	got := make(chan int, 1)
	go func() {
		n, buf := 0, make([]byte, 2000)
		for {
			if _, _, err := to.ReadFromAddrPort(buf); err != nil {
				got <- n
				return
			}
			n++
		}
	}()
	go func() {
		defer close(d.done)
		for tick := time.NewTicker(interval); ; {
			select {
			case <-d.stop:
				tick.Stop()
				time.Sleep(time.Second) // what is on its way
				_, _ = from.Close(), to.Close()
				d.arrived = <-got
				return
			case <-tick.C:
				d.sent++
				_, _ = from.WriteToAddrPort(make([]byte, 600), netip.AddrPortFrom(inner, 9000))
			}
		}
	}()
	t.Cleanup(func() { d.end() })
	return d
}

func (d *downlink) end() (sent, lost int) {
	d.once.Do(func() { close(d.stop) })
	<-d.done
	return d.sent, d.sent - d.arrived
}

func withMOBIKE(c *GatewayConfig) { c.IKE.MOBIKE = &ike.MOBIKE{} }

// Shows: IKE-7, IKE-8, MEC-C. A client moves from the Internet behind a NAT and back while packets come for it all the time:
// they follow within the time that the exchanges take, on the same child SA, and nothing is in the clear.
func TestGatewayFollowsMOBIKE(t *testing.T) {
	inside(t, func(t *testing.T, l *simnet.Lab) {
		cfg := gatewayConfig(t)
		withMOBIKE(&cfg)
		startGateway(t, l.Gateway, cfg)
		l.Eth0.SetAddress(netip.MustParsePrefix("192.0.2.77/24"), netip.MustParseAddr("192.0.2.1"))
		l.Plug(l.Eth0, l.Internet)
		l.Plug(l.Wlan0, l.Cafe)
		time.Sleep(100 * time.Millisecond)
		c := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, func(cfg *ike.InitiatorConfig) { cfg.MOBIKE = &ike.MOBIKE{} })
		inner := c.up()
		echo(t, l.Correspondent, service)
		var seen onWire
		l.Internet.Tap(seen.see)
		d := startDownlink(t, l, inner, 5*time.Millisecond)
		for range 4 {
			for _, nic := range []*simnet.NIC{l.Wlan0, l.Eth0} {
				c.moveTo(nic.Index(), nic.Address().Addr())
				for !next[ike.EndpointChanged](c).Update.Proven() {
				}
				if !exchange(t, l.Laptop, inner, service, 100) {
					t.Fatalf("nothing passes from %v", nic.Address())
				}
				time.Sleep(time.Second)
			}
		}
		sent, lost := d.end()
		t.Logf("%d of %d packets to the client lost in 8 moves", lost, sent)
		if lost > 8*12 || sent < 1600 { // of each move the 12 of 60 ms
			t.Errorf("%d of %d packets to the client are lost in 8 moves", lost, sent)
		}
		if _, _, unprotected := seen.counts(); unprotected != 0 {
			t.Errorf("%d packets in the clear", unprotected)
		}
	})
}

// Shows: MEC-C, IKE-6, IKE-8. The café's NAT forgets its mappings. The client's next packet shows the gateway where the client
// is now, with MOBIKE and without, and the answers find it; a copy of an earlier packet from elsewhere moves nothing.
func TestGatewayFollowsNAT(t *testing.T) {
	for _, mobike := range []bool{false, true} {
		inside(t, func(t *testing.T, l *simnet.Lab) {
			cfg := gatewayConfig(t)
			if mobike {
				withMOBIKE(&cfg)
			}
			g := startGateway(t, l.Gateway, cfg)
			plug(l, l.Cafe)
			c := newVPNClient(t, l.Laptop, l.Eth0.Index(), l.Eth0.Address().Addr(), 0, func(cfg *ike.InitiatorConfig) {
				if mobike {
					cfg.MOBIKE = &ike.MOBIKE{}
				}
			})
			inner := c.up()
			echo(t, l.Correspondent, service)
			if !exchange(t, l.Laptop, inner, service, 100) {
				t.Fatal("nothing passes")
			}
			before := g.Sessions()[0].Remote
			l.CafeNAT.SetNAT(simnet.NATConfig{Outside: l.CafeOutside, Filtering: simnet.AddressAndPortDependent})
			if !exchange(t, l.Laptop, inner, service, 100) {
				t.Fatal("nothing passes through the new mapping")
			}
			after := g.Sessions()[0].Remote
			if after == before || after.Addr() != simnet.LabCafeNAT {
				t.Errorf("MOBIKE %t: the client is at %v, was at %v", mobike, after, before)
			}
			time.Sleep(time.Second)
			if n := g.Drops().Snapshot()["unproven"]; n > 1 {
				t.Errorf("%d packets to the client were held back", n)
			}
			if !exchange(t, l.Laptop, inner, service, 1000) {
				t.Error("nothing passes after that")
			}
		})
	}
}

// Shows: MEC-C. To an endpoint that has not answered no more than three times what has come from it is sent.
func TestUnprovenEndpoint(t *testing.T) {
	here := netip.MustParseAddrPort("198.51.100.1:4500")
	e := &endpoint{remote: here, encapsulated: true}
	send := func(n int) (passed int) {
		b := packet.GetBatch()
		for range n {
			p := packet.GetSmall()
			p.Extend(72) // 100 on the wire
			b.Append(p)
		}
		e.bound(b, nil)
		defer b.Release()
		return b.Len()
	}
	take := func(from netip.AddrPort, octets int) {
		if octets != 0 {
			e.take(from, 1, int64(octets)-28)
		}
	}
	for _, step := range []struct {
		from         netip.AddrPort
		octets       int
		send, passed int
	}{
		{here, 0, 5, 0},
		{here, 100, 5, 3},
		{here, 0, 5, 0},
		{netip.MustParseAddrPort("198.51.100.1:4501"), 1000, 5, 0},
		{here, 33, 5, 0}, // 399 octets: 300 are sent
		{here, 1, 5, 1},
	} {
		take(step.from, step.octets)
		if got := send(step.send); got != step.passed {
			t.Errorf("after %d octets from %v: %d of %d packets of 100 octets pass, want %d", step.octets, step.from, got, step.send, step.passed)
		}
	}
	// ESP that is not in UDP comes without a port, and counts for an SA that has it so.
	for encapsulated, passed := range map[bool]int{true: 0, false: 3} {
		e = &endpoint{remote: here, encapsulated: encapsulated}
		e.take(netip.AddrPortFrom(here.Addr(), 0), 1, 80)
		e.take(netip.MustParseAddrPort("198.51.100.2:0"), 1, 1000)
		if got := send(5); got != passed {
			t.Errorf("in UDP %v: %d of 5 packets pass after 100 octets of bare ESP, want %d", encapsulated, got, passed)
		}
	}
	e = e.updated(ike.EndpointUpdate{}) // to another endpoint: counted anew
	if e.received.Load() != 0 || e.sent.Load() != 0 {
		t.Errorf("%d received, %d sent", e.received.Load(), e.sent.Load())
	}
	e.proven = true
	if got := send(5); got != 5 {
		t.Errorf("%d of 5 pass to a proven endpoint", got)
	}
}

// An SA in UDP is the only one that is followed, and the IKE machine is told of each source once.
func TestElsewhere(t *testing.T) {
	g, _, _, out, _ := halfGateway(t)
	in := g.inbound.Lookup(1000)
	arrive := func(from string) esp.Source {
		b := innerBatch(1, netip.MustParseAddr("10.0.9.1"), simnet.LabCorrespondent)
		out.Apply(b)
		b.Bufs[0].Peer = netip.MustParseAddrPort(from)
		g.inbound.Open(b, nil)
		b.Release()
		return in.Source()
	}
	e := g.noted.of(1000).end.Load()
	for _, step := range []struct {
		from string
		want bool
	}{
		{"192.0.2.77:4500", false}, {"192.0.2.77:4501", true}, {"192.0.2.77:4501", false}, {"192.0.2.78:4500", true}, {"192.0.2.79:0", false},
	} {
		if got := e.elsewhere(arrive(step.from)); got != step.want {
			t.Errorf("from %s: %t", step.from, got)
		}
	}
	for _, e := range []*endpoint{{remote: e.remote}, {remote: e.remote, encapsulated: true, tcp: true}} {
		if e.elsewhere(arrive("192.0.2.80:4500")) {
			t.Errorf("%+v is followed", e)
		}
	}
}
