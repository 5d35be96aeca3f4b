package e2e

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/homeagent"
	"mipvpn/stack/agent"
	"mipvpn/stack/simnet"
	"mipvpn/tun/packet"
)

// kept is a hint.Store in memory.
type kept struct {
	mu    sync.Mutex
	state []byte
}

func (k *kept) Load() ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state == nil {
		return nil, os.ErrNotExist
	}
	return slices.Clone(k.state), nil
}

func (k *kept) Save(state []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = slices.Clone(state)
	return nil
}

func (k *kept) SetAside() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.state = nil
	return "aside", nil
}

const laptopNAI = "laptop@corp.example"

// assigning has a home agent of the lab know the laptop by its NAI, and have one home address to assign.
func assigning(spi uint32, key []byte, home netip.Addr) func(*agent.HomeAgentConfig) {
	return func(c *agent.HomeAgentConfig) {
		c.MobileNodes = []homeagent.MobileNode{{NAI: laptopNAI, Associations: []*auth.SecurityAssociation{association(spi, key)}}}
		c.DynamicAddresses = []netip.Prefix{netip.PrefixFrom(home, 32)}
	}
}

// homeless is the options of a laptop that knows none of its home addresses.
func homeless(store *kept) Options {
	return Options{
		Seed:       41,
		InternalHA: assigning(InternalSPI, internalKey, simnet.LabHomeAddress),
		ExternalHA: assigning(ExternalSPI, externalKey, simnet.LabExternalHomeAddress),
		Client: func(c *config.Config) {
			c.Internal.HomeAddress, c.Internal.NAI = netip.Addr{}, laptopNAI
			c.External.HomeAddress, c.External.NAI = netip.Addr{}, laptopNAI
		},
		Start: []client.Option{client.WithHomes(store)},
	}
}

// assignments returns how often a home address was assigned since it was called.
func assignments(w *World) (count func() int) {
	events, stop := w.Client.Subscribe()
	var mu sync.Mutex
	n := 0
	var work sync.WaitGroup
	work.Go(func() {
		for e := range events {
			if e.Kind == "home_address" {
				mu.Lock()
				n++
				mu.Unlock()
			}
		}
	})
	return func() int {
		stop()
		work.Wait()
		return n
	}
}

// A laptop that knows nothing but its NAI is given both home addresses, outside and inside, keeps them for its next start, and takes
// others when the home agent has given them away.
//
// Shows: MIP-9 (NAI, dynamic home address)
func TestHomeAddressesAreAssigned(t *testing.T) {
	for _, at := range []place{cafePlace, officePlace} {
		t.Run(at.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &kept{}
				w := world(t, homeless(store))
				clear := watchClear(w)
				w.Plug(w.Wlan0, at.wire(w))
				s, err := w.UntilMode(20*time.Second, at.mode)
				if err != nil {
					t.Fatal(err)
				}
				if s.HomeAddress != simnet.LabHomeAddress || len(s.Problems) != 0 {
					t.Errorf("home address %v, problems %v", s.HomeAddress, s.Problems)
				}
				k := talk(t, w, 100*time.Millisecond)
				k.works(t, 10*time.Second)
				if at.mode != "c" {
					clear.none(t)
				}
				w.Plug(w.Wlan0, w.Office)
				mended(t, w, k, 20*time.Second, "c")
				w.Plug(w.Wlan0, w.Cafe)
				mended(t, w, k, 20*time.Second, "cvc")
				for _, a := range []netip.Addr{simnet.LabHomeAddress, simnet.LabExternalHomeAddress} {
					if state, _ := store.Load(); !strings.Contains(string(state), a.String()) {
						t.Errorf("state %s, want %v in it", state, a)
					}
				}
			})
		})
	}
}

// What was assigned before is used from the start; when the home agent gives it to nobody any more, the session is made anew with
// another one.
//
// Shows: MIP-9 (dynamic home address)
func TestAssignedHomeAddressIsKept(t *testing.T) {
	for name, c := range map[string]struct {
		kept  string
		again int
	}{
		"the same":       {simnet.LabHomeAddress.String(), 0},
		"another one":    {"10.0.8.77", 1},
		"not to be read": {"10.0.8.999", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &kept{state: []byte(`{"version":1,"homes":[{"home_agent":"10.0.1.10","nai":"` + laptopNAI + `","home_address":"` + c.kept + `"}]}`)}
				o := homeless(store)
				o.ExternalHA = nil
				inner := o.Client
				o.Client = func(c *config.Config) {
					inner(c)
					c.External.HomeAddress, c.External.NAI = simnet.LabExternalHomeAddress, ""
				}
				w := world(t, o)
				count := assignments(w)
				w.Plug(w.Wlan0, w.Office)
				s, err := w.UntilMode(20*time.Second, "c")
				if err != nil {
					t.Fatal(err)
				}
				k := talk(t, w, 100*time.Millisecond)
				k.works(t, 10*time.Second)
				if n := count(); n != c.again || s.HomeAddress != simnet.LabHomeAddress {
					t.Errorf("assigned %d times, want %d; home address %v", n, c.again, s.HomeAddress)
				}
			})
		})
	}
}

// Where the gateway is the foreign agent and the home address is not known, an ordinary tunnel comes first, the home agent assigns the
// home address through it, and the tunnel through the agent follows, even where nothing else is to be used.
//
// Shows: MEC-B (B.6), MIP-9 (dynamic home address)
func TestHomeAddressForTheGatewaysAgent(t *testing.T) {
	for _, m := range []config.Mechanism{config.MechanismAuto, config.MechanismAlways} {
		t.Run(string(m), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := homeless(&kept{})
				inner := o.Client
				o.Client = func(c *config.Config) {
					inner(c)
					c.Mechanisms.GatewayAgent = m
				}
				o.Gateway = withAgent
				w := world(t, o)
				clear := watchClear(w)
				count := assignments(w)
				w.Plug(w.Wlan0, w.Cafe)
				s, err := w.UntilMode(30*time.Second, "cvf")
				if err != nil {
					t.Fatal(err)
				}
				if s.HomeAddress != simnet.LabHomeAddress || len(s.Problems) != 0 {
					t.Errorf("home address %v, problems %v", s.HomeAddress, s.Problems)
				}
				k := talk(t, w, 100*time.Millisecond)
				k.works(t, 10*time.Second)
				clear.none(t)
				if n := count(); n != 2 {
					t.Errorf("%d addresses assigned, want those of both home agents", n)
				}
			})
		})
	}
}

// The x-HA that is configured names another one, and the laptop goes there, keeps to it, and turns back when it is silent.
//
// Shows: MIP-9 (dynamic home agent)
func TestAnotherExternalHomeAgentIsNamed(t *testing.T) {
	for _, silent := range []bool{false, true} {
		name := map[bool]string{false: "serves", true: "silent"}[silent]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := netip.MustParseAddr("192.0.2.21")
				w := world(t, Options{
					Seed:       43,
					ExternalHA: assigning(ExternalSPI, externalKey, simnet.LabExternalHomeAddress),
					Client: func(c *config.Config) {
						c.External.Address, c.External.NAI, c.External.HomeAddress, c.External.Dynamic = first, laptopNAI, netip.Addr{}, true
					},
				})
				h := w.NewHost("x-ha-first")
				h.AddNIC(simnet.NICConfig{Name: "eth0", Address: netip.PrefixFrom(first, 24), Gateway: netip.MustParseAddr("192.0.2.1")}).Attach(w.Internet)
				cfg := externalConfig()
				assigning(ExternalSPI, externalKey, netip.MustParseAddr("198.51.100.120"))(&cfg)
				cfg.Address, cfg.RedirectTo = first, simnet.LabExternalHA
				a, err := agent.StartHomeAgent(h, cfg, zap.NewNop())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := a.Close(); err != nil {
						t.Error(err)
					}
				})
				if silent {
					if err := w.ExternalAgent.Close(); err != nil {
						t.Fatal(err)
					}
					w.ExternalAgent = nil
				}
				var asked atomic.Int64
				w.TapAll(func(f simnet.Frame) {
					if ip := packet.IPv4(f.Packet); f.Wire == w.Internet.Name() && isRegistration(ip) && ip.Dst() == first {
						asked.Add(1)
					}
				})
				w.Plug(w.Wlan0, w.Cafe)
				if silent {
					time.Sleep(3 * time.Minute)
					if n := asked.Load(); n < 2 {
						t.Errorf("the first x-HA was asked %d times, though the one that it names is silent", n)
					}
					return
				}
				if _, err := w.UntilMode(20*time.Second, "cvc"); err != nil {
					t.Fatal(err)
				}
				before := asked.Load()
				k := talk(t, w, 100*time.Millisecond)
				k.works(t, 10*time.Second)
				w.Plug(w.Wlan0, w.Office)
				mended(t, w, k, 20*time.Second, "c")
				w.Plug(w.Wlan0, w.Cafe)
				mended(t, w, k, 20*time.Second, "cvc")
				if after := asked.Load(); before == 0 || after != before {
					t.Errorf("the first x-HA was asked %d times, and %d times more afterwards", before, after-before)
				}
			})
		})
	}
}
