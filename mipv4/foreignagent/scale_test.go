package foreignagent

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
)

// visitFrom has mobile node i register for the lifetime, and its home agent accept; it returns how many octets the agent allocated.
func (f *fixture) visitFrom(i int, lifetime uint16) uint64 {
	f.t.Helper()
	r := f.request()
	r.HomeAddress, r.Lifetime = netip.AddrFrom4([4]byte{20, byte(i >> 16), byte(i >> 8), byte(i)}), lifetime
	q := f.arrive(r, nil)
	reply := f.reply(r, wire.CodeAccepted, lifetime, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := f.m.HandleRequest(f.now, q); err != nil {
		f.t.Fatal(err)
	}
	if err := f.m.HandleReply(f.now, netip.AddrPortFrom(external, wire.Port), reply); err != nil {
		f.t.Fatal(err)
	}
	f.transmits()
	f.events()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// What a visitor costs does not grow with their number, and each expires at its time.
//
// Shows: GDL-6, AGT-4 (visitor list)
func TestManyVisitors(t *testing.T) {
	const n, sample = 5000, 100
	f := newFixture(t, func(c *Config) { c.MaxVisitors = 2 * n })
	cost := func(from int) float64 {
		var sum uint64
		for i := from; i < from+sample; i++ {
			sum += f.visitFrom(i, 600)
		}
		return float64(sum) / sample
	}
	few := cost(0)
	for i := sample; i < n; i++ {
		f.visitFrom(i, 300) // these go first
	}
	many := cost(n)
	t.Logf("%.0f octets a visitor with few, %.0f with %d", few, many, n)
	if many > 2*few+512 {
		t.Errorf("a visitor costs %.0f octets with few others and %.0f with %d", few, many, n)
	}
	if got := f.m.Table().Len(); got != n+sample {
		t.Fatalf("%d visitors, want %d", got, n+sample)
	}
	for _, left := range []int{2 * sample, 0} {
		f.advance(300 * time.Second)
		f.m.HandleTimeout(f.now)
		if got := f.m.Table().Len(); got != left {
			t.Fatalf("%d visitors are left, want %d", got, left)
		}
	}
	if _, ok := f.m.Deadline(); ok || len(f.m.registrations) != 0 || f.m.visiting != 0 {
		t.Errorf("%d registrations and a timer are left", len(f.m.registrations))
	}
}
