package e2e

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/metrics"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// counted is a stream of numbered datagrams in each direction between the laptop and its correspondent.
type counted struct {
	mu   sync.Mutex
	sent [2]uint64
	got  [2]map[uint64]int
	late [2]int
}

const countedPort = 7100

// count sends a datagram in each direction every interval until stop, each of them with its number.
func count(t *testing.T, w *World, interval time.Duration) (c *counted, stop func()) {
	t.Helper()
	c = &counted{got: [2]map[uint64]int{{}, {}}}
	ends := [2]struct {
		host *simnet.Host
		at   netip.AddrPort
	}{{w.Laptop, netip.AddrPortFrom(simnet.LabHomeAddress, countedPort)}, {w.Correspondent, netip.AddrPortFrom(simnet.LabCorrespondent, countedPort)}}
	var work sync.WaitGroup
	quit := make(chan struct{})
	var conns [2]*simnet.UDPConn
	for i, e := range ends {
		conn, err := e.host.ListenUDP(e.at)
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = conn
		work.Go(func() {
			b := make([]byte, 2048)
			var last uint64
			for {
				n, _, err := conn.ReadFromAddrPort(b)
				if err != nil {
					return
				}
				if n < 8 {
					continue
				}
				number := binary.BigEndian.Uint64(b)
				c.mu.Lock()
				if c.got[i][number]++; number < last {
					c.late[i]++
				}
				last = number
				c.mu.Unlock()
			}
		})
	}
	for i := range ends {
		to := ends[1-i].at
		work.Go(func() {
			payload := make([]byte, 1000)
			tick := time.NewTicker(interval)
			defer tick.Stop()
			for {
				select {
				case <-quit:
					return
				case <-tick.C:
				}
				c.mu.Lock()
				c.sent[i]++
				binary.BigEndian.PutUint64(payload, c.sent[i])
				c.mu.Unlock()
				if _, err := conns[i].WriteToAddrPort(payload, to); err != nil {
					t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
	return c, func() {
		close(quit)
		time.Sleep(5 * time.Second) // what is on its way arrives
		for _, conn := range conns {
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
		}
		work.Wait()
	}
}

// whole asserts that each datagram has arrived once and in order.
func (c *counted) whole(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, direction := range []string{"down", "up"} {
		sent, lost, doubled := c.sent[1-i], 0, 0
		for n := uint64(1); n <= sent; n++ {
			switch c.got[i][n] {
			case 0:
				lost++
			case 1:
			default:
				doubled++
			}
		}
		t.Logf("%s: %d sent, %d lost, %d doubled, %d out of order", direction, sent, lost, doubled, c.late[i])
		if sent < 1000 || lost+doubled+c.late[i] != 0 {
			t.Errorf("%s: of %d datagrams %d were lost, %d came twice, %d out of order", direction, sent, lost, doubled, c.late[i])
		}
	}
}

// Shows: IKE-5, IKE-9 (seamless rekey under load, reauthentication make-before-break). Both ends rekey child SAs and IKE SAs, by time, by
// octets and by packets, and the client authenticates anew as the gateway wants: of numbered datagrams in both directions none is
// lost, doubled or out of order.
func TestNothingIsLostByRenewal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gateway func(*agent.GatewayConfig)
		client  func(*config.Config)
	}{
		"client rekeys": {func(*agent.GatewayConfig) {}, func(c *config.Config) {
			c.Gateway.ChildLifetime, c.Gateway.IKELifetime = 15*time.Second, 22*time.Second
		}},
		"both rekey": {func(g *agent.GatewayConfig) {
			g.IKE.Lifetimes.Child, g.IKE.Lifetimes.IKE = 15*time.Second, 22*time.Second
		}, func(c *config.Config) {
			c.Gateway.ChildLifetime, c.Gateway.IKELifetime = 15*time.Second, 22*time.Second
		}},
		"octets":  {func(g *agent.GatewayConfig) { g.IKE.Lifetimes.Bytes = 1e6 }, func(*config.Config) {}},
		"packets": {func(g *agent.GatewayConfig) { g.IKE.Lifetimes.Packets = 1000 }, func(*config.Config) {}},
		"reauthentication rekey": {func(g *agent.GatewayConfig) {
			g.IKE.Lifetimes.Authentication, g.IKE.Lifetimes.Child = time.Minute, 15*time.Second
		}, func(*config.Config) {}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 71, Gateway: c.gateway, Client: c.client})
				w.Plug(w.Eth0, w.Cafe)
				if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
					t.Fatal(err)
				}
				if counts, err := w.Client.Counts(t.Context()); err != nil || counts.VPN[metrics.VPNEstablished] != 1 || counts.VPN[metrics.VPNChildRekeyed]+counts.VPN[metrics.VPNRekeyed] != 0 {
					t.Errorf("the first keys are counted as %v, %v", counts.VPN, err)
				}
				spis := make(map[string]bool)
				n, stop := count(t, w, 16*time.Millisecond)
				seconds := 80
				if testing.Short() && !strings.Contains(name, "reauthentication") { // which is due after a minute
					seconds = 45
				}
				for range seconds {
					time.Sleep(time.Second)
					s, err := w.Client.Status(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					for _, l := range s.Layers {
						if l.Kind == "vpn" && len(l.SPIs) > 0 {
							spis[l.SPIs[0]] = true
						}
					}
				}
				stop()
				n.whole(t)
				if len(spis) < 2 {
					t.Errorf("only %d child SAs were used: nothing was renewed", len(spis))
				}
				counts, err := w.Client.Counts(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				fresh := counts.VPN[metrics.VPNRekeyed] + counts.VPN[metrics.VPNChildRekeyed]
				if counts.VPN[metrics.VPNChildRekeyed] == 0 || counts.Events["rekey"] != fresh || strings.HasSuffix(name, " rekeys") && counts.VPN[metrics.VPNRekeyed] == 0 {
					t.Errorf("counted %v, events %v", counts.VPN, counts.Events)
				}
				t.Logf("%d child SAs one after the other", len(spis))
			})
		})
	}
}

// Shows: IKE-9 (TFC padding, dummy packets). A client that is told to pads its packets and sends dummy packets, also when the user sends
// nothing; the gateway drops them unread, and none of the user's packets is lost.
func TestLengthsAndTimesAreHidden(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 72, Client: func(c *config.Config) {
			c.Gateway.TFCPadding, c.Gateway.DummyInterval, c.Gateway.ReplayWindow = 1300, 100*time.Millisecond, 65536
		}})
		w.Plug(w.Eth0, w.Cafe)
		if _, err := w.UntilMode(time.Minute, "cvc"); err != nil {
			t.Fatal(err)
		}
		n, stop := count(t, w, 16*time.Millisecond)
		time.Sleep(20 * time.Second)
		stop()
		n.whole(t)
		before := w.VPNGateway.Drops().Of(packet.DropDummy)
		time.Sleep(30 * time.Second) // nothing of the user's
		if dummies := w.VPNGateway.Drops().Of(packet.DropDummy) - before; dummies < 250 || dummies > 350 {
			t.Errorf("%d dummy packets in 30 s, want 300", dummies)
		}
	})
}
