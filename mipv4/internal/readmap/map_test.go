package readmap

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// Whatever is done to it, the map holds what Go's own does.
func TestMapAgainstMap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var m Map[int]
	want := make(map[uint64]int)
	for i := range 60_000 {
		key := random.Uint64N(5000) << (random.Uint64N(2) * 40)
		if random.Uint64N(3) == 0 {
			_, there := want[key]
			if m.Delete(key) != there {
				t.Fatalf("step %d: Delete(%d) does not say %t", i, key, there)
			}
			delete(want, key)
		} else {
			m.Put(key, i)
			want[key] = i
		}
		probe := random.Uint64N(5000)
		if v, ok := m.Get(probe); v != want[probe] {
			t.Fatalf("step %d: Get(%d) = %d, %t, want %d", i, probe, v, ok, want[probe])
		}
		if m.Len() != len(want) {
			t.Fatalf("step %d: %d entries, want %d", i, m.Len(), len(want))
		}
	}
	for key, v := range want {
		if got, ok := m.Get(key); !ok || got != v {
			t.Fatalf("Get(%d) = %d, %t, want %d", key, got, ok, v)
		}
	}
}

func TestMapEmpty(t *testing.T) {
	var m Map[string]
	if v, ok := m.Get(1); ok || v != "" || m.Delete(1) || m.Len() != 0 {
		t.Error("an empty map holds something")
	}
}

// No change costs more the more entries there are: neither the longest chain nor the work of a split does.
//
// Shows: GDL-6
func TestMapChains(t *testing.T) {
	var m Map[struct{}]
	for n := range uint64(100_000) {
		m.Put(10<<24|n, struct{}{}) // addresses of one network, as home addresses are
	}
	longest, held := 0, 0
	for i := range minBuckets + m.grown.Load() {
		n := 0
		for e := m.bucket(i).Load(); e != nil; e = e.next {
			n++
		}
		longest, held = max(longest, n), held+n
	}
	if held != m.Len() || m.Len() != 100_000 || longest > 20 {
		t.Errorf("%d of %d entries are in buckets, %d in the longest chain", held, m.Len(), longest)
	}
}

// Readers find what is there throughout, while others come and go around it and the map grows.
func TestMapConcurrent(t *testing.T) {
	const steady, rounds = 500, 15
	for range rounds { // a new one each time: it is growth that moves entries
		var m Map[uint64]
		for k := range uint64(steady) {
			m.Put(k, k)
		}
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					for k := range uint64(steady) {
						if v, ok := m.Get(k); !ok || v != k {
							panic(fmt.Sprintf("Get(%d) = %d, %t", k, v, ok))
						}
					}
				}
			})
		}
		for k := uint64(steady); k < 8000; k++ {
			m.Put(k, k)
		}
		for k := uint64(steady); k < 8000; k++ {
			m.Delete(k)
		}
		close(stop)
		wg.Wait()
		if m.Len() != steady {
			t.Errorf("%d entries, want %d", m.Len(), steady)
		}
	}
}

func TestGetDoesNotAllocate(t *testing.T) {
	var m Map[*int]
	m.Put(1, new(int))
	if n := testing.AllocsPerRun(100, func() { m.Get(1); m.Get(2) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

// What it costs to set one of so many entries anew, and to look one up.
func BenchmarkMap(b *testing.B) {
	for _, n := range []uint64{1000, 100_000, 1_000_000} {
		var m Map[*int]
		v := new(int)
		for k := range n {
			m.Put(k, v)
		}
		b.Run(fmt.Sprintf("put/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for k := uint64(0); b.Loop(); k++ {
				m.Put(k*7919%n, v)
			}
		})
		b.Run(fmt.Sprintf("get/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for k := uint64(0); b.Loop(); k++ {
				if _, ok := m.Get(k * 7919 % n); !ok {
					b.Fatal("missing")
				}
			}
		})
	}
}
