package homeagent

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// crowd is a home agent with many mobile nodes, each with a key of its own.
type crowd struct {
	t            testing.TB
	m            *Machine
	now          link.Instant
	associations []*auth.SecurityAssociation
	serial       wire.Identification
}

// newCrowd returns a home agent with n mobile nodes that have not registered.
func newCrowd(t testing.TB, n int) *crowd {
	t.Helper()
	c := &crowd{t: t, now: link.Instant{Boot: time.Hour, Wall: time.Date(2026, 11, 21, 7, 0, 0, 0, time.UTC)}}
	cfg := Config{Address: agent, HomeNetworks: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/8")}}
	for i := range n {
		key := binary.BigEndian.AppendUint64([]byte("crowded "), uint64(i))
		a, err := auth.New(auth.Parameters{SPI: 1000, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		c.associations = append(c.associations, a)
		cfg.MobileNodes = append(cfg.MobileNodes, MobileNode{HomeAddress: crowdAddress(20, i), Associations: c.associations[i : i+1 : i+1]})
	}
	var err error
	if c.m, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return c
}

// crowdAddress returns the i-th address of a network of 2^24.
func crowdAddress(network byte, i int) netip.Addr {
	return netip.AddrFrom4([4]byte{network, byte(i >> 16), byte(i >> 8), byte(i)})
}

// request returns a registration request of mobile node i, signed, and where it comes from. Each place is another network of
// care-of addresses.
func (c *crowd) request(i, place int, lifetime uint16) Request {
	c.serial++
	careOf := crowdAddress(byte(30+place), i)
	r := wire.RegistrationRequest{
		Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: lifetime,
		HomeAddress: crowdAddress(20, i), HomeAgent: agent, CareOfAddress: careOf,
		Identification: wire.IdentificationAt(c.now.Wall) + c.serial,
	}
	p, err := r.Append(make([]byte, 0, 64))
	if err != nil {
		c.t.Fatal(err)
	}
	return Request{Source: netip.AddrPortFrom(careOf, wire.Port), Payload: c.associations[i].AppendExtension(p, wire.ExtMobileHomeAuthentication)}
}

// handle has a request accepted and takes what the machine has to say.
func (c *crowd) handle(r Request) {
	if err := c.m.HandleRequest(c.now, r); err != nil {
		c.t.Fatal(err)
	}
	if _, ok := c.m.PollTransmit(); !ok {
		c.t.Fatal("no reply")
	}
	c.events()
}

// events takes the machine's events and counts them by kind.
func (c *crowd) events() map[EventKind]int {
	var n map[EventKind]int
	for e, ok := c.m.PollEvent(); ok; e, ok = c.m.PollEvent() {
		if e.Kind == Expired {
			if n == nil {
				n = make(map[EventKind]int)
			}
			n[e.Kind]++
		}
	}
	return n
}

// register registers mobile nodes from to to-1 at a place.
func (c *crowd) register(from, to, place int, lifetime uint16) {
	for i := from; i < to; i++ {
		c.handle(c.request(i, place, lifetime))
	}
}

// inUse returns the octets that are in use.
func inUse() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// allocated returns the octets that have been allocated so far.
func allocated() uint64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.TotalAlloc
}

// A mobile node with its key, its binding, its tunnel and its entry in the tables costs less than 1 KiB.
//
// Shows: GDL-6
func TestMemoryPerBinding(t *testing.T) {
	const n = 10_000
	before := inUse()
	c := newCrowd(t, n)
	configured := inUse()
	c.register(0, n, 0, 600)
	if got := c.m.Table().Len(); got != n {
		t.Fatalf("%d bindings, want %d", got, n)
	}
	bound := inUse()
	node, binding := float64(configured-before)/n, float64(bound-configured)/n
	t.Logf("%.0f octets for a mobile node and its key, %.0f for its binding", node, binding)
	if node+binding >= 1024 {
		t.Errorf("%.0f octets for a mobile node with a binding, want less than 1024", node+binding)
	}
	runtime.KeepAlive(c)
}

// What a registration allocates does not grow with the number of bindings: neither a renewal, nor a new care-of address, nor a
// first registration.
//
// Shows: GDL-6
func TestRegistrationCostDoesNotGrow(t *testing.T) {
	const few, many, sample = 500, 16_000, 250 // a table that is copied in parts of 1/256 allocates more than twice as much at 16,000
	kinds := []string{"first registration", "renewal", "move"}
	cost := func(n int) (octets [3]float64) {
		c := newCrowd(t, n+sample)
		c.register(0, n, 0, 600)
		for kind := range kinds {
			var requests []Request
			for i := range sample {
				switch kind {
				case 0:
					requests = append(requests, c.request(n+i, 0, 600))
				default:
					requests = append(requests, c.request(i*n/sample, kind-1, 600))
				}
			}
			start := allocated()
			for _, r := range requests {
				c.handle(r)
			}
			octets[kind] = float64(allocated()-start) / sample
		}
		return octets
	}
	small, large := cost(few), cost(many)
	for i, kind := range kinds {
		t.Logf("%s: %.0f octets with %d bindings, %.0f with %d", kind, small[i], few, large[i], many)
		if large[i] > 1.5*small[i]+256 {
			t.Errorf("a %s allocates %.0f octets with %d bindings and %.0f with %d", kind, small[i], few, large[i], many)
		}
	}
}

// Bindings expire, each at its time and no other, and renewed ones live on, however many there are: virtual time.
//
// Shows: GDL-6, AGT-1 (lifetimes)
func TestManyBindingsExpireAndRenew(t *testing.T) {
	n := 100_000
	if raceEnabled {
		n = 5_000
	}
	c := newCrowd(t, n)
	c.register(0, n/2, 0, 300) // the first half for 300 s
	c.now = c.now.Add(100 * time.Second)
	c.register(n/2, n, 0, 300) // the others until 400 s
	c.now = c.now.Add(100 * time.Second)
	c.register(0, n/4, 0, 300) // a quarter renews at 200 s until 500 s
	run := func(until time.Duration) int {
		expired := 0
		for {
			at, ok := c.m.Deadline()
			if !ok || at > time.Hour+until {
				break
			}
			c.now = c.now.Add(at - c.now.Boot)
			c.m.HandleTimeout(c.now)
			expired += c.events()[Expired]
		}
		c.now = c.now.Add(time.Hour + until - c.now.Boot)
		return expired
	}
	for _, step := range []struct {
		until         time.Duration
		expired, left int
	}{
		{299 * time.Second, 0, n},
		{300 * time.Second, n / 4, n - n/4},
		{399 * time.Second, 0, n - n/4},
		{400 * time.Second, n / 2, n / 4},
		{499 * time.Second, 0, n / 4},
		{500 * time.Second, n / 4, 0},
	} {
		expired := run(step.until)
		if expired != step.expired || c.m.Table().Len() != step.left {
			t.Fatalf("until %v: %d expired, %d left, want %d and %d", step.until, expired, c.m.Table().Len(), step.expired, step.left)
		}
	}
	if _, ok := c.m.Deadline(); ok {
		t.Error("a timer is left")
	}
}
