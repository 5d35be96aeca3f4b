package ipsec

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/secret"
	"mipvpn/client/vpn"
	"mipvpn/ipsec/credential"
	"mipvpn/ipsec/gateway"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/ipsec/pki"
	"mipvpn/ipsec/pki/pkitest"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

var (
	psk     = []byte("a pre-shared key of this test alone")
	service = netip.AddrPortFrom(simnet.LabCorrespondent, 7)
)

// actor drives one tunnel as the client does.
type actor struct {
	t      *testing.T
	lab    *simnet.Lab
	access vpn.Access
	tunnel vpn.Tunnel
	tasks  chan func(link.Instant)
	events []vpn.Event
	link   link.Link
	drops  packet.Drops
	stop   chan struct{}
	// bearers are the ways by the interfaces, each for as long as it is in one network.
	bearers map[*simnet.NIC]vpn.Bearer

	mu       sync.Mutex
	dialled  int
	last     net.Conn
	refusing bool // connecting fails
}

// world is a lab with a gateway and a laptop in the café, whose access is straight from its interface.
func world(t *testing.T, change func(*config.Gateway)) *actor {
	t.Helper()
	return worldOf(t, func(c *config.Config) {
		if change != nil {
			change(&c.Gateway)
		}
	}, func(*agent.GatewayConfig) {})
}

// worldOf is that with other changes of both ends.
func worldOf(t *testing.T, change func(*config.Config), server func(*agent.GatewayConfig)) *actor {
	t.Helper()
	l := simnet.NewLab(1)
	t.Cleanup(func() { _ = l.Close() })
	id := func(s string) ike.Identity {
		i, err := message.NewIdentity(s)
		if err != nil {
			t.Fatal(err)
		}
		return i
	}
	there := agent.GatewayConfig{Address: simnet.LabGateway, Config: gateway.Config{
		IKE:  ike.Config{LocalID: id("gateway.corp.example"), MOBIKE: &ike.MOBIKE{}},
		Pool: simnet.LabInnerPool, Networks: []netip.Prefix{simnet.LabEnterprise},
		Peers: []gateway.Peer{{Identity: id("laptop@corp.example"), PSK: psk}},
	}}
	server(&there)
	g, err := agent.StartGateway(l.Gateway, there, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	l.Plug(l.Eth0, l.Cafe)
	time.Sleep(100 * time.Millisecond)
	echo, err := l.Correspondent.ListenUDP(service)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := echo.ReadFromAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = echo.WriteToAddrPort(buf[:n], from)
		}
	}()

	cfg := &config.Config{Enterprise: config.Enterprise{Prefixes: []netip.Prefix{simnet.LabEnterprise}}}
	cfg.Gateway = config.Gateway{LocalIdentity: "laptop@corp.example", RemoteIdentity: "gateway.corp.example", PSK: psk,
		IKELifetime: time.Hour, ChildLifetime: time.Hour, Liveness: 10 * time.Second, KeepAlive: 20 * time.Second, TCP: config.TCPAuto, TCPPort: 4500}
	change(cfg)
	a := &actor{t: t, lab: l, tasks: make(chan func(link.Instant), 100), stop: make(chan struct{}), bearers: make(map[*simnet.NIC]vpn.Bearer)}
	protocol := New(cfg, secret.NewDesk(nil, nil))
	prepared := make(chan error, 1)
	if !protocol.Prepare(func(f func()) { f() }, func(err error) { prepared <- err }) {
		if err := <-prepared; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(protocol.Forget)
	a.access, err = protocol.Open(vpn.Ground{Gateway: simnet.LabGateway, Drops: &a.drops, Random: rand.Reader, Log: zap.NewNop(),
		Run:     func(f func(link.Instant)) { a.tasks <- f },
		Hand:    func(_ context.Context, f func(link.Instant)) { a.tasks <- f },
		Bearers: []vpn.Bearer{a.bearer(l.Eth0)}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); a.run() }()
	t.Cleanup(func() {
		a.do(func(now link.Instant) {
			if a.tunnel != nil {
				a.tunnel.Close(now, true)
			}
		})
		close(a.stop)
		<-done
		if err := a.access.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// bearer returns the way by an interface of the laptop, in the network that it is in now.
func (a *actor) bearer(c *simnet.NIC) vpn.Bearer {
	a.t.Helper()
	if b, ok := a.bearers[c]; ok {
		return b
	}
	below, err := a.lab.Laptop.Underlay(c.Index(), c.Address().Addr())
	if err != nil {
		a.t.Fatal(err)
	}
	a.bearers[c] = vpn.Bearer{Link: below, Direct: true, DialTCP: func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return a.dialTCP(ctx, c.Index(), to)
	}}
	return a.bearers[c]
}

// named gives the network that an interface is in a name.
func (a *actor) named(c *simnet.NIC, network string) {
	b := a.bearer(c)
	b.Network = network
	a.bearers[c] = b
}

func (a *actor) dialTCP(ctx context.Context, index int, to netip.AddrPort) (net.Conn, error) {
	a.mu.Lock()
	a.dialled++
	refusing := a.refusing
	a.mu.Unlock()
	if refusing {
		return nil, simnet.ErrRefused
	}
	c, err := a.lab.Laptop.DialThrough(ctx, index, to)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = c
	return c, err
}

func (a *actor) run() {
	timer := a.lab.Laptop.NewTimer()
	defer timer.Stop()
	for {
		timer.Stop()
		if a.tunnel != nil {
			if at, ok := a.tunnel.Deadline(); ok {
				timer.Reset(at)
			}
		}
		select {
		case f := <-a.tasks:
			f(a.lab.Laptop.Now())
		case <-timer.C():
			a.tunnel.HandleTimeout(a.lab.Laptop.Now())
		case <-a.stop:
			return
		}
		for busy := a.tunnel != nil; busy; {
			busy = false
			for e, ok := a.tunnel.PollEvent(a.lab.Laptop.Now()); ok; e, ok = a.tunnel.PollEvent(a.lab.Laptop.Now()) {
				busy = true
				a.events = append(a.events, e)
				if up, ok := e.(vpn.Up); ok {
					a.link = a.access.Link(up.Address)
					a.access.Use(a.tunnel)
				}
			}
			busy = a.tunnel.Flush() || busy
		}
	}
}

// do runs f on the actor and waits.
func (a *actor) do(f func(link.Instant)) {
	done := make(chan struct{})
	a.tasks <- func(now link.Instant) { f(now); close(done) }
	<-done
}

func (a *actor) dial() {
	a.t.Helper()
	var err error
	a.do(func(now link.Instant) { a.tunnel, err = a.access.Dial(now, true, nil) })
	if err != nil {
		a.t.Fatal(err)
	}
}

// encapsulation returns how the tunnel's packets travel, empty while it is not up.
func (a *actor) encapsulation() (how string) {
	a.do(func(link.Instant) {
		if a.tunnel.Carries() {
			how = a.tunnel.Describe().Encapsulation
		}
	})
	return how
}

// exchange sends a datagram through the tunnel and waits for the echo.
func (a *actor) exchange() bool {
	a.t.Helper()
	got := make(chan []byte, 10)
	var below link.Link
	a.do(func(link.Instant) { below = a.link })
	f, err := below.Open(link.FlowSpec{Protocol: packet.ProtocolUDP, Remote: service}, func(b *packet.Batch) {
		for _, p := range b.Bufs {
			got <- bytes.Clone(p.Bytes())
		}
		b.Release()
	})
	if err != nil {
		a.t.Fatal(err)
	}
	defer f.Close()
	sent := []byte("there and back")
	if err := f.Send(netip.AddrPort{}, sent); err != nil {
		return false
	}
	select {
	case back := <-got:
		return bytes.Equal(back, sent)
	case <-time.After(3 * time.Second):
		return false
	}
}

func (a *actor) dials() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.dialled
}

// onlyTCP has the café's network lose all but TCP until stop is called.
func (a *actor) onlyTCP() (stop func()) { return onlyTCP(a.lab.Cafe) }

// onlyTCP has a network lose all but TCP until stop is called.
func onlyTCP(w *simnet.Wire) (stop func()) {
	return w.Intercept(func(f simnet.Frame) []simnet.Relay {
		if ip := packet.IPv4(f.Packet); ip.Valid() && ip.Protocol() != packet.ProtocolTCP {
			return nil
		}
		return []simnet.Relay{f.Relay()}
	})
}

// Shows: IKE-6. Where UDP passes TCP costs nothing: no connection is made.
func TestUDPFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		a.dial()
		time.Sleep(time.Second)
		if how := a.encapsulation(); how != "esp-in-udp" || !a.exchange() {
			t.Errorf("%s; drops %v", how, a.drops.Snapshot())
		}
		time.Sleep(5 * time.Minute)
		if n := a.dials(); n != 0 || !a.exchange() {
			t.Errorf("%d TCP connections", n)
		}
	})
}

// Shows: IKE-6, DET-18. Where UDP is blocked the tunnel comes up in TCP, goes on in another connection when that breaks, and
// leaves TCP under the same SAs when UDP passes.
func TestTCPWhereUDPIsBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		unblock := a.onlyTCP()
		a.dial()
		time.Sleep(3 * time.Second)
		if how := a.encapsulation(); how != "esp-in-tcp" || !a.exchange() {
			t.Fatalf("%q after 3 s, %d connections; drops %v", how, a.dials(), a.drops.Snapshot())
		}
		a.last.(*simnet.Stream).Abort()
		time.Sleep(time.Second)
		if a.dials() != 2 || !a.exchange() {
			t.Fatalf("%d connections after one has broken", a.dials())
		}
		unblock()
		time.Sleep(2 * time.Minute)
		if how := a.encapsulation(); how != "esp-in-udp" || !a.exchange() {
			t.Errorf("%q after UDP passes again; drops %v", how, a.drops.Snapshot())
		}
		if _, err := a.last.Write([]byte{0}); err == nil {
			t.Error("the connection is still open")
		}
		ups := 0
		a.do(func(link.Instant) {
			for _, e := range a.events {
				switch e := e.(type) {
				case vpn.Up:
					ups++
				case vpn.Closed:
					t.Errorf("closed: %v", e.Err)
				}
			}
		})
		if ups != 1 || a.dials() != 2 {
			t.Errorf("%d tunnels, %d connections", ups, a.dials())
		}
	})
}

// Shows: IKE-6, IKE-2. With certificates and one key exchange alone the machine asks for a signature before it says anything more:
// that is an answer too, in TCP as in UDP.
func TestTCPWithCertificates(t *testing.T) {
	for _, blocked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			root := pkitest.NewRoot("company", time.Now(), pkitest.P256)
			there, here := root.Issue(pkitest.P256, []string{"gateway.corp.example"}), root.Issue(pkitest.P256, []string{"laptop@corp.example"})
			anchors, err := pki.NewAnchors(root.Certificate)
			if err != nil {
				t.Fatal(err)
			}
			own, err := credential.New(there.Key, []*x509.Certificate{there.Certificate})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "laptop.pem")
			if err := os.WriteFile(file, append(pkitest.PEM(here.Certificate), pkitest.KeyPEM(here.Key)...), 0o600); err != nil {
				t.Fatal(err)
			}
			a := worldOf(t, func(c *config.Config) {
				c.Gateway.PSK = nil
				c.Authentication = config.Authentication{Rounds: []config.Round{config.RoundCertificate}, Certificate: file}
				c.Trust.Verifier = &pki.Verifier{Anchors: anchors, Purpose: pki.Gateway}
			}, func(g *agent.GatewayConfig) {
				g.IKE.Proposals.NoAdditional, g.Peers = true, nil
				g.Credential, g.Verifier = own, &pki.Verifier{Anchors: anchors, Purpose: pki.Client}
				g.Rules = []gateway.Rule{{Rounds: []gateway.Round{gateway.ByCertificate}}}
			})
			want := "esp-in-udp"
			if blocked {
				a.onlyTCP()
				want = "esp-in-tcp"
			}
			a.dial()
			time.Sleep(5 * time.Second)
			if how := a.encapsulation(); how != want || !a.exchange() {
				t.Errorf("%q after 5 s, want %q, %d connections", how, want, a.dials())
			}
		})
	}
}

// Shows: IKE-6. TCP alone by configuration, and not at all.
func TestTCPConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, func(g *config.Gateway) { g.TCP = config.TCPOnly })
		a.dial()
		time.Sleep(time.Second)
		if how := a.encapsulation(); how != "esp-in-tcp" || !a.exchange() {
			t.Errorf("only: %q", how)
		}
		time.Sleep(10 * time.Minute)
		if how := a.encapsulation(); how != "esp-in-tcp" {
			t.Errorf("only: %q after a while", how)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		a := world(t, func(g *config.Gateway) { g.TCP = config.TCPOff })
		stop := a.onlyTCP()
		defer stop()
		a.dial()
		time.Sleep(5 * time.Minute)
		if n := a.dials(); n != 0 {
			t.Errorf("off: %d connections", n)
		}
	})
}

// Shows: IKE-6, IKE-10. Neither UDP nor TCP: the tunnel ends for want of an answer, and nothing is left behind.
func TestNothingPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := world(t, nil)
		stop := a.onlyTCP()
		defer stop()
		a.refusing = true
		a.dial()
		time.Sleep(5 * time.Minute)
		var ended error
		a.do(func(link.Instant) {
			for _, e := range a.events {
				if e, ok := e.(vpn.Closed); ok {
					ended = e.Err
				}
			}
		})
		if ended == nil || a.dials() < 3 {
			t.Errorf("ended with %v after %d attempts", ended, a.dials())
		}
	})
}
