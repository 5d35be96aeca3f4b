package e2e

import (
	"context"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/detect/hint"
	"mipvpn/detect/location"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/link"
	"mipvpn/tun/packet"
)

// shelf is a hint.Store in memory.
type shelf struct {
	mu    sync.Mutex
	state []byte
	aside []byte
	saves int
}

func (s *shelf) Load() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil, os.ErrNotExist
	}
	return s.state, nil
}

func (s *shelf) Save(state []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
	s.saves++
	return nil
}

func (s *shelf) SetAside() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside, s.state = s.state, nil
	return "aside", nil
}

// gateways reads what is kept.
func (s *shelf) gateways(t *testing.T) *hint.Gateways {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := hint.ParseGateways(s.state)
	if err != nil {
		t.Fatalf("%s: %v", s.state, err)
	}
	return g
}

// leases gives every interface one domain, or hangs.
type leases struct {
	domain string
	hang   bool
}

func (l leases) Domain(ctx context.Context, _ link.Interface) (string, error) {
	if l.hang {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return l.domain, nil
}

// hintWorld starts a world that takes hints.
func hintWorld(t *testing.T, seed uint64, s *shelf, l leases, change func(*config.Config)) *World {
	t.Helper()
	return world(t, Options{
		Seed: seed, Start: []client.Option{client.WithLeases(l), client.WithGateways(s)},
		Client: func(c *config.Config) {
			c.Detection.LearnGateways, c.Detection.InsideDomains, c.Detection.InsideNAIs = true, []string{"corp.example"}, []string{"corp.example"}
			if change != nil {
				change(c)
			}
		},
	})
}

// gatewayOf returns the hardware address of the gateway of an interface of the laptop.
func gatewayOf(t *testing.T, w *World, name string) packet.HardwareAddr {
	t.Helper()
	all, err := w.Laptop.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Name == name && !i.GatewayHardware.IsZero() {
			return i.GatewayHardware
		}
	}
	t.Fatalf("%s has no gateway", name)
	return packet.HardwareAddr{}
}

// Shows: DET-11 (gateways learned from past proofs and verdicts; a place that was outside needs no wait before IKE)
func TestPlacesAreLearnt(t *testing.T) {
	t.Parallel()
	s := &shelf{}
	var took [2]time.Duration
	for visit := range 2 {
		synctest.Test(t, func(t *testing.T) {
			w := hintWorld(t, 130, s, leases{}, nil)
			clear, r := watchClear(w), watchRegistrations(w)
			events, stop := w.Client.Subscribe()
			defer stop()
			w.Plug(w.Wlan0, w.Cafe)
			began := time.Now()
			if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
				t.Fatal(err)
			}
			took[visit] = time.Since(began)
			time.Sleep(10 * time.Second)
			// The i-HA is asked for the whole detection period whatever is believed.
			if asked := r.requests(simnet.LabInternalHA); len(asked) != 2 {
				t.Errorf("visit %d: %d requests to the i-HA in the clear, want two within the period", visit, len(asked))
			}
			clear.none(t)
			cafe := gatewayOf(t, w, "wlan0")
			hinted := false
			for len(events) > 0 {
				e := <-events
				hinted = hinted || e.Kind == "hint" && strings.Contains(e.Message, "was outside before")
			}
			d, err := w.Client.Detect(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range d.Interfaces { // what was learnt in this epoch is a hint of the next one
				if shown := strings.Contains(i.Hint, "looks like outside"); i.Name == "wlan0" && shown != hinted {
					t.Errorf("visit %d: the hint %q is shown", visit, i.Hint)
				}
			}
			if hinted != (visit == 1) {
				t.Errorf("visit %d: a hint was told of: %v", visit, hinted)
			}
			w.Plug(w.Wlan0, w.Office)
			if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			g := s.gateways(t)
			if g.Hint(cafe) != location.HintOutside || g.Hint(gatewayOf(t, w, "wlan0")) != location.HintInside {
				t.Errorf("visit %d: the café is %v, the office %v", visit, g.Hint(cafe), g.Hint(gatewayOf(t, w, "wlan0")))
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.saves != 2 {
				t.Errorf("visit %d: the state was written %d times", visit, s.saves)
			}
		})
	}
	if took[0] < 2*time.Second || took[1] > took[0]-1500*time.Millisecond {
		t.Errorf("connected after %v for the first time and after %v for the second", took[0], took[1])
	}
	t.Logf("connected after %v for the first time and after %v for the second", took[0], took[1])
}

// Every sign says inside, and is a lie: nothing comes of it.
//
// Shows: DET-11 (hints only order the work), DET-3
func TestLyingHintsOfInside(t *testing.T) {
	t.Parallel()
	for _, at := range []place{cafePlace, hotspotPlace} {
		t.Run(at.name, func(t *testing.T) {
			var connected [2]time.Duration
			for run, lies := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					s, l := &shelf{}, leases{}
					if lies {
						l.domain = "hq.corp.example"
						g := &hint.Gateways{}
						g.Learn(w0(t, at), true, time.Unix(1.7e9, 0))
						s.state = g.Append(nil)
					}
					w := hintWorld(t, 131, s, l, nil)
					if lies {
						if err := w.RestartExternalFA(func(c *agent.ForeignAgentConfig) { c.NAI = "agent1@corp.example" }); err != nil {
							t.Fatal(err)
						}
					}
					clear := watchClear(w)
					k := talk(t, w, time.Second)
					events, stop := w.Client.Subscribe()
					defer stop()
					w.Plug(w.Wlan0, at.wire(w))
					began := time.Now()
					if _, err := w.UntilMode(20*time.Second, at.mode); err != nil {
						t.Fatal(err)
					}
					connected[run] = time.Since(began)
					k.works(t, 11*time.Minute)
					clear.none(t)
					if s, err := w.Client.Status(context.Background()); err != nil || s.Proof.Verdict != control.VerdictOutside {
						t.Errorf("verdict %s, %v", s.Proof.Verdict, err)
					}
					told := false
					for len(events) > 0 {
						e := <-events
						told = told || e.Kind == "hint" && strings.Contains(e.Message, "looks like inside")
					}
					if told != lies {
						t.Errorf("a hint was told of: %v", told)
					}
				})
			}
			if connected[1] > connected[0]+200*time.Millisecond {
				t.Errorf("connected after %v without hints and after %v with lies", connected[0], connected[1])
			}
		})
	}
}

// w0 returns the hardware address of the gateway or foreign agent of a place, which depends on the lab alone.
func w0(t *testing.T, at place) packet.HardwareAddr {
	t.Helper()
	l := simnet.NewLab(131)
	w := &World{Lab: l}
	l.Plug(l.Wlan0, at.wire(w))
	time.Sleep(time.Second)
	hardware := l.ExternalFAVisited.Hardware()
	if at.mode == "cvc" {
		hardware = gatewayOf(t, w, "wlan0")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return hardware
}

// Shows: DET-11, DET-8 (an office that is taken for outside: the proof wins, and mends what was learnt)
func TestLyingHintOfOutside(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		w := hintWorld(t, 132, s, leases{}, nil)
		stop := withoutInternalHA(w)
		k := talk(t, w, time.Second)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		office := gatewayOf(t, w, "eth0")
		if g := s.gateways(t); g.Hint(office) != location.HintOutside {
			t.Fatalf("the office is %v", g.Hint(office))
		}
		stop()
		w.Unplug(w.Eth0)
		time.Sleep(time.Second)
		w.Plug(w.Eth0, w.Office)
		if _, err := w.UntilMode(2*time.Second, "c"); err != nil {
			t.Fatal(err)
		}
		k.works(t, time.Minute)
		if g := s.gateways(t); g.Hint(office) != location.HintInside {
			t.Errorf("the office is %v", g.Hint(office))
		}
	})
}

// withoutInternalHA takes registrations between the office and the i-HA away, until stop is called.
func withoutInternalHA(w *World) (stop func()) {
	return w.Core.Intercept(func(f simnet.Frame) []simnet.Relay {
		office := netip.MustParsePrefix("10.0.2.0/24")
		if ip, request, reply := registrationOf(f.Packet); (request != nil || reply != nil) && (office.Contains(ip.Dst()) || office.Contains(ip.Src())) {
			return nil
		}
		return []simnet.Relay{f.Relay()}
	})
}

// Shows: DET-11 (what was learnt: a newer version is left alone, a corrupt one set aside; none of it matters for service)
func TestStateOfGateways(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		state string
		want  func(*testing.T, *shelf)
	}{
		"newer": {`{"version":7,"gateways":[]}`, func(t *testing.T, s *shelf) {
			if string(s.state) != `{"version":7,"gateways":[]}` || s.aside != nil || s.saves != 0 {
				t.Errorf("state %s, aside %s, %d saves", s.state, s.aside, s.saves)
			}
		}},
		"corrupt": {"\x00\x01", func(t *testing.T, s *shelf) {
			if string(s.aside) != "\x00\x01" || s.saves != 1 {
				t.Errorf("state %s, aside %q, %d saves", s.state, s.aside, s.saves)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{state: []byte(c.state)}
				w := hintWorld(t, 133, s, leases{}, nil)
				w.Plug(w.Eth0, w.Office)
				if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				s.mu.Lock()
				defer s.mu.Unlock()
				c.want(t, s)
			})
		})
	}
	t.Run("learning is off", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &shelf{}
			w := hintWorld(t, 134, s, leases{}, func(c *config.Config) { c.Detection.LearnGateways = false })
			w.Plug(w.Eth0, w.Office)
			if _, err := w.UntilMode(10*time.Second, "c"); err != nil {
				t.Fatal(err)
			}
			if s.state != nil {
				t.Errorf("state %s", s.state)
			}
		})
	})
}

// Shows: DET-11 (a source that hangs delays nothing, not the end either)
func TestHangingSourceOfHints(t *testing.T) {
	t.Parallel()
	for name, hang := range map[string]bool{"hangs": true, "answers": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := hintWorld(t, 135, &shelf{}, leases{domain: "CORP.example.", hang: hang}, nil)
				events, stop := w.Client.Subscribe()
				defer stop()
				w.Plug(w.Eth0, w.Office)
				if _, err := w.UntilMode(500*time.Millisecond, "c"); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				told := false
				for len(events) > 0 {
					e := <-events
					told = told || e.Kind == "hint" && strings.Contains(e.Message, `"CORP.example."`)
				}
				if told == hang {
					t.Errorf("a hint was told of: %v", told)
				}
			})
		})
	}
}

// Both interfaces are there when the client comes up: the one whose network proofs came from before is tried first, although
// the other is preferred; what carries the traffic in the end is as it would be without a hint.
//
// Shows: DET-11 (which interface is tried first)
func TestHintOrdersWhatIsTriedFirst(t *testing.T) {
	t.Parallel()
	for _, learnt := range []bool{false, true} {
		t.Run(map[bool]string{false: "nothing learnt", true: "learnt"}[learnt], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &shelf{}
				if learnt {
					g := &hint.Gateways{}
					g.Learn(officeGateway(t), true, time.Unix(1.7e9, 0))
					s.state = g.Append(nil)
				}
				w := hintWorld(t, 131, s, leases{}, func(c *config.Config) { c.UpAtStart = false })
				events, stop := w.Client.Subscribe()
				defer stop()
				w.Plug(w.Eth0, w.Cafe)
				w.Plug(w.Wlan0, w.Office)
				time.Sleep(time.Second)
				if err := w.Client.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := w.UntilMode(20*time.Second, "c"); err != nil {
					t.Fatal(err)
				}
				var tried []string
				for len(events) > 0 {
					if e := <-events; e.Kind == "detecting" {
						tried = append(tried, e.Interface)
					}
				}
				want := "eth0"
				if learnt {
					want = "wlan0"
				}
				if len(tried) == 0 || tried[0] != want {
					t.Errorf("tried %v, want %s first", tried, want)
				}
				if s, err := w.Client.Status(t.Context()); err != nil || s.Interface != "wlan0" {
					t.Errorf("interface %s, %v", s.Interface, err)
				}
			})
		})
	}
}

// officeGateway returns the hardware address of the office's router, which depends on the lab alone.
func officeGateway(t *testing.T) packet.HardwareAddr {
	t.Helper()
	l := simnet.NewLab(131)
	l.Plug(l.Eth0, l.Office)
	time.Sleep(time.Second)
	hardware := gatewayOf(t, &World{Lab: l}, "eth0")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return hardware
}
