package e2e

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/mipv4/tunnel"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// pseudoNAT rewrites the laptop's registration requests on a wire so that they come from an address of its own, as a NAT
// would, and gives the laptop the replies; what the home agent tunnels to that address it keeps (draft §7.2). It takes part
// in nothing else, and when it stops no request is rewritten any more.
type pseudoNAT struct {
	mu        sync.Mutex
	on        bool
	requests  map[netip.Addr]simnet.Frame // the laptop's last, by where it went
	rewritten int
	diverted  int // tunnelled packets that came to it
	canaries  int // of these, with readable user data
}

// pseudoNATPort is where it has the tunnels end.
const pseudoNATPort = 40434

// impersonate puts a pseudo-NAT with the address own on the wire; agents are the home agents that it is after. own is
// without a prefix length where the address is of another network.
func impersonate(w *World, on *simnet.Wire, own netip.Prefix, agents ...netip.Addr) *pseudoNAT {
	a := &pseudoNAT{on: true, requests: make(map[netip.Addr]simnet.Frame)}
	if !own.IsSingleIP() {
		nic := w.NewHost("pseudo-nat").AddNIC(simnet.NICConfig{Name: "eth0", Address: own})
		nic.Attach(on)
	}
	on.Intercept(func(f simnet.Frame) []simnet.Relay {
		a.mu.Lock()
		defer a.mu.Unlock()
		ip, request, reply := registrationOf(f.Packet)
		r := f.Relay()
		switch {
		case request != nil && strings.HasPrefix(f.Sender, "laptop/") && a.on && contains(agents, ip.Dst()):
			a.requests[ip.Dst()] = f
			a.rewritten++
			u := packet.UDP(ip.Payload())
			r.Packet = datagramOf(netip.AddrPortFrom(own.Addr(), pseudoNATPort), netip.AddrPortFrom(ip.Dst(), u.DstPort()), u.Payload())
		case ip.Valid() && ip.Dst() == own.Addr():
			q, asked := a.requests[ip.Src()]
			if reply == nil || !asked {
				a.diverted++
				if readable(f.Packet) {
					a.canaries++
				}
				return nil
			}
			laptop, u := packet.IPv4(q.Packet), packet.UDP(ip.Payload())
			r.Destination = q.Source
			r.Packet = datagramOf(netip.AddrPortFrom(ip.Src(), u.SrcPort()),
				netip.AddrPortFrom(laptop.Src(), packet.UDP(laptop.Payload()).SrcPort()), u.Payload())
		}
		return []simnet.Relay{r}
	})
	return a
}

func contains(list []netip.Addr, a netip.Addr) bool {
	for _, b := range list {
		if a == b {
			return true
		}
	}
	return false
}

func (a *pseudoNAT) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on = false
}

func (a *pseudoNAT) counts() (rewritten, diverted, canaries int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rewritten, a.diverted, a.canaries
}

// withinKeepalive is what DET-19 allows: one keepalive, and the tries until it counts as unanswered.
const withinKeepalive = tunnel.DefaultKeepaliveInterval + (tunnel.KeepaliveTries+1)*tunnel.KeepaliveRetry

// Shows: DET-19 (draft §7.2: the tunnel from the x-HA goes elsewhere; nothing in it can be read, and service comes back)
func TestPseudoNATOutside(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		first    bool          // it is there when the laptop comes, or else begins when the laptop is connected
		lasts    time.Duration // the shortest: one registration alone is rewritten
		interval time.Duration // of user data
		within   time.Duration // service is there again
	}{
		"one registration":                      {true, 100 * time.Millisecond, 200 * time.Millisecond, 20 * time.Second},
		"for five minutes":                      {true, 5 * time.Minute, 200 * time.Millisecond, withinKeepalive},
		"for five minutes, one packet an hour":  {true, 5 * time.Minute, time.Hour, withinKeepalive},
		"from a renewal on, for a quarter hour": {false, 15 * time.Minute, 200 * time.Millisecond, withinKeepalive},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := world(t, Options{Seed: 120})
				clear := watchClear(w)
				k := talk(t, w, c.interval)
				if !c.first {
					connected(t, w, cafePlace)
				}
				a := impersonate(w, w.Cafe, netip.MustParsePrefix("192.168.1.66/24"), simnet.LabExternalHA)
				if c.first {
					w.Plug(w.Wlan0, w.Cafe)
				}
				time.Sleep(c.lasts)
				a.stop()
				rewritten, diverted, canaries := a.counts()
				if rewritten == 0 || !c.first && diverted == 0 {
					t.Fatalf("%d registrations rewritten, %d packets diverted", rewritten, diverted)
				}
				t.Logf("%d requests rewritten, %d tunnelled packets diverted", rewritten, diverted)
				stopped := time.Now()
				if c.interval < time.Minute {
					if _, err := w.UntilMode(c.within, "cvc"); err != nil {
						t.Fatal(err)
					}
					for k.reset(); ; k.reset() { // until packets come back
						time.Sleep(time.Second)
						if _, answered, _ := k.counts(); answered > 0 {
							break
						}
						if time.Since(stopped) > c.within {
							t.Fatalf("no service %v after the attack", c.within)
						}
					}
					t.Logf("service %v after the attack", time.Since(stopped))
					k.works(t, time.Minute)
				} else {
					time.Sleep(c.within)
					m := pingThrough(t, w)
					if m > time.Second {
						t.Errorf("a packet took %v", m)
					}
				}
				clear.none(t)
				if canaries != 0 {
					t.Errorf("%d diverted packets could be read", canaries)
				}
				if s, err := w.Client.Status(context.Background()); err != nil || s.Proof.Verdict != control.VerdictOutside || len(s.Problems) != 0 {
					t.Errorf("verdict %s, problems %v, %v", s.Proof.Verdict, s.Problems, err)
				}
			})
		})
	}
}

// pingThrough sends one packet to the correspondent and returns how long its answer took.
func pingThrough(t *testing.T, w *World) time.Duration {
	t.Helper()
	took, err := w.Laptop.Ping(simnet.LabCorrespondent, 100, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return took
}

// Inside, a pseudo-NAT that has its tunnels end outside gets no answer of the i-HA, which asks where a request comes from
// (RFC 5265 §4.3): there is no proof, and nothing leaves in the clear. One that has them end inside receives user data in
// the clear inside, as anybody on the path does who stands there: that is what inside means. What the laptop sends it
// cannot divert, and the tunnel comes back with the next re-registration that it does not rewrite.
//
// Shows: DET-19, DET-3
func TestPseudoNATInside(t *testing.T) {
	t.Parallel()
	t.Run("to the outside", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 121})
			clear := watchClear(w)
			k := talk(t, w, 500*time.Millisecond)
			a := impersonate(w, w.Office, netip.MustParsePrefix("203.0.113.66/32"), simnet.LabInternalHA)
			w.Plug(w.Eth0, w.Office)
			for range 120 {
				time.Sleep(time.Second)
				s, err := w.Client.Status(context.Background())
				if err != nil || s.Proof.Verdict == control.VerdictInside || s.Mode == "c" {
					t.Fatalf("mode %q, verdict %s, %v", s.Mode, s.Proof.Verdict, err)
				}
			}
			clear.none(t)
			if rewritten, _, _ := a.counts(); rewritten == 0 {
				t.Error("no registration was rewritten")
			}
			k.works(t, 10*time.Second) // through the VPN
			a.stop()
			mended(t, w, k, 11*time.Minute, "c") // the next probe
		})
	})
	t.Run("while inside", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 122})
			clear := watchClear(w)
			k := talk(t, w, 500*time.Millisecond)
			w.Plug(w.Eth0, w.Office)
			if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
			last := plaintextOn(w, w.Office)
			a := impersonate(w, w.Office, netip.MustParsePrefix("203.0.113.66/32"), simnet.LabInternalHA)
			began := w.Elapsed()
			time.Sleep(5 * time.Minute)
			if at := last(); at == 0 || at > began+time.Minute {
				t.Errorf("user data in the clear %v after no proof could be had any more", at-began)
			}
			a.stop()
			mended(t, w, k, 11*time.Minute, "c")
			if n := clear.on(w.External()...); n != 0 {
				t.Errorf("%d frames in the clear outside", n)
			}
		})
	})
	t.Run("to the inside", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := world(t, Options{Seed: 123})
			clear := watchClear(w)
			m := messages(t, w)
			a := impersonate(w, w.Office, netip.MustParsePrefix("10.0.2.66/24"), simnet.LabInternalHA)
			w.Plug(w.Eth0, w.Office)
			for range 60 {
				if _, ok := m.in(t, time.Second); ok {
					t.Error("the tunnel ends here")
				}
				if _, ok := m.out(t, time.Second); ok {
					t.Error("the i-HA takes packets from another address than it sends to")
				}
			}
			a.stop()
			if _, diverted, _ := a.counts(); diverted < 50 {
				t.Errorf("%d packets were diverted", diverted)
			}
			time.Sleep(35 * time.Second) // the next re-registration
			if _, ok := m.in(t, time.Second); !ok {
				t.Error("the tunnel ends elsewhere")
			}
			if _, ok := m.out(t, time.Second); !ok {
				t.Error("the i-HA takes nothing")
			}
			if n := clear.on(w.External()...); n != 0 {
				t.Errorf("%d frames in the clear outside", n)
			}
		})
	})
}

// Shows: DET-19 (with the shortest keepalive that the x-HA can ask for, RFC 3519 §4.10)
func TestPseudoNATAndShortKeepalive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := world(t, Options{Seed: 124, Client: func(c *config.Config) { c.Detection.Probe = 0 }})
		a := impersonate(w, w.Cafe, netip.MustParsePrefix("192.168.1.66/24"), simnet.LabExternalHA)
		w.Plug(w.Wlan0, w.Cafe)
		events, stop := w.Client.Subscribe()
		defer stop()
		time.Sleep(10 * time.Minute)
		a.stop()
		time.Sleep(withinKeepalive)
		lost := 0
		for len(events) > 0 {
			if e := <-events; e.Kind == "keepalive" {
				lost++
			}
		}
		if lost == 0 {
			t.Error("no keepalive was missed")
		}
		t.Logf("%d keepalives missed", lost)
		if took := pingThrough(t, w); took > time.Second {
			t.Errorf("a packet took %v", took)
		}
	})
}
