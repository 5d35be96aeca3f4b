package foreignagent

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"mipvpn/mipv4/discovery"
)

func parse(t *testing.T, x Transmit) *discovery.Advertisement {
	t.Helper()
	if x.To != Advertise || x.Local.Addr() != visited || x.Remote.Addr() != discovery.AllSystems {
		t.Fatalf("transmit %+v", x)
	}
	ad, err := discovery.ParseAdvertisement(x.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return ad
}

// Shows: AGT-4 (RFC 5944 §2.1: content, interval at most a third of the lifetime, slightly randomised).
func TestAdvertisePeriodically(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Interval, c.RegistrationRequired = time.Second, true })
	var last time.Duration
	for i := range 5 {
		at, ok := f.m.Deadline()
		if !ok {
			t.Fatal("no advertisement is due")
		}
		if gap := at - last; i > 0 && (gap > time.Second || gap < 800*time.Millisecond) {
			t.Errorf("advertisement %d comes after %v", i, gap)
		}
		last = at
		f.now.Boot = at
		f.m.HandleTimeout(f.now)
		out := f.transmits()
		if len(out) != 1 || out[0].Station.Hardware != allSystemsHardware {
			t.Fatalf("sent %+v", out)
		}
		ad := parse(t, out[0])
		want := discovery.FlagForeignAgent | discovery.FlagReverseTunnel | discovery.FlagRegistrationRequired
		if ad.Sequence != uint16(i) || ad.Flags != want || ad.Lifetime != 3*time.Second || ad.RegistrationLifetime != 1800 ||
			len(ad.CareOfAddresses) != 1 || ad.CareOfAddresses[0] != careOf ||
			len(ad.Networks()) != 1 || ad.Networks()[0] != netip.MustParsePrefix("172.16.5.0/24") {
			t.Errorf("advertisement %+v", ad)
		}
		f.m.HandleTimeout(f.now)
		if len(f.transmits()) != 0 {
			t.Error("advertised twice at one time")
		}
	}
}

// Shows: AGT-4 (solicited advertisements, whatever the source address, at once and to the frame's source; rate limit).
func TestSolicitation(t *testing.T) {
	f := newFixture(t, nil)
	if _, ok := f.m.Deadline(); ok {
		t.Fatal("an agent that advertises only when asked has a deadline")
	}
	solicit := discovery.AppendSolicitation(nil)
	for i, source := range []netip.Addr{netip.IPv4Unspecified(), homeIn, netip.MustParseAddr("203.0.113.5")} {
		if err := f.m.HandleSolicitation(f.now, laptop.Hardware, source, solicit); err != nil {
			t.Fatal(err)
		}
		out := f.transmits()
		if len(out) != 1 || out[0].Station != laptop || parse(t, out[0]).Sequence != uint16(i) {
			t.Fatalf("from %v: sent %+v", source, out)
		}
	}
	if err := f.m.HandleSolicitation(f.now, laptop.Hardware, homeIn, solicit[:7]); !errors.Is(err, discovery.ErrMalformed) {
		t.Errorf("a solicitation cut short: %v", err)
	}
	if err := f.m.HandleSolicitation(f.now, allSystemsHardware, homeIn, solicit); !errors.Is(err, ErrSource) {
		t.Errorf("a frame from a group: %v", err)
	}
	var err error
	for range solicitedBurst {
		err = f.m.HandleSolicitation(f.now, laptop.Hardware, homeIn, solicit)
	}
	if !errors.Is(err, ErrRateLimited) {
		t.Errorf("a flood: %v", err)
	}
	f.advance(solicitedInterval)
	if err := f.m.HandleSolicitation(f.now, laptop.Hardware, homeIn, solicit); err != nil {
		t.Errorf("after a while: %v", err)
	}
}

// Shows: AGT-4 (RFC 5944 §2.3.2: 0 first, 256 after 0xffff).
func TestSequenceRollover(t *testing.T) {
	f := newFixture(t, nil)
	f.m.advertiser.sequence = 0xffff
	for _, want := range []uint16{0xffff, 256, 257} {
		if err := f.m.HandleSolicitation(f.now, laptop.Hardware, homeIn, discovery.AppendSolicitation(nil)); err != nil {
			t.Fatal(err)
		}
		if got := parse(t, f.transmits()[0]).Sequence; got != want {
			t.Errorf("sequence %d, want %d", got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Address: visited, CareOfAddress: careOf}
	if _, err := New(good, newFixture(t, nil).now, nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"address":           func(c *Config) { c.Address = netip.Addr{} },
		"care-of address":   func(c *Config) { c.CareOfAddress = netip.MustParseAddr("2001:db8::1") },
		"prefix":            func(c *Config) { c.Prefix = 33 },
		"interval":          func(c *Config) { c.Interval = 2 * time.Second },
		"fast":              func(c *Config) { c.Interval = time.Millisecond },
		"advertised":        func(c *Config) { c.AdvertisementLifetime = time.Millisecond },
		"lifetime":          func(c *Config) { c.MaxLifetime = time.Millisecond },
		"visitors":          func(c *Config) { c.MaxVisitors = -1 },
		"peer":              func(c *Config) { c.HomeAgents = []Peer{{Address: external}} },
		"NAT":               func(c *Config) { c.BehindNAT = true },
		"permitted invalid": func(c *Config) { c.PermittedHomeAgents = []netip.Prefix{{}} },
	} {
		c := good
		change(&c)
		if _, err := New(c, newFixture(t, nil).now, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, want %v", name, err, ErrConfig)
		}
	}
}

func TestLookupsDoNotAllocate(t *testing.T) {
	f := newFixture(t, nil)
	f.register(f.request(), nil)
	table := f.m.Table()
	n := testing.AllocsPerRun(100, func() {
		if table.Deliver(homeOut, external) == nil || table.Reverse(f.now.Boot, homeOut, laptop) == nil || table.Reverse(f.now.Boot, homeIn, laptop) != nil {
			t.Fatal("lookup")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a packet, want 0", n)
	}
	if mtu := table.State(external); mtu == nil || mtu != table.Deliver(homeOut, external).State || table.State(internal) != nil {
		t.Error("the tunnel's soft state is not the visitor's, or there is one without a visitor")
	}
}
