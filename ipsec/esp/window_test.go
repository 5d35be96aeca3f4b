package esp

import (
	"math/rand/v2"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Shows: IKE-9 (replay window).
func TestWindowTable(t *testing.T) {
	const w = WindowSize
	if w < 4096 {
		t.Fatalf("the window has %d numbers", w)
	}
	type step struct {
		seq  uint64
		want bool
	}
	for _, c := range []struct {
		name  string
		steps []step
	}{
		{"zero is never accepted", []step{{0, false}, {1, true}, {0, false}}},
		{"in order", []step{{1, true}, {2, true}, {3, true}, {3, false}, {2, false}, {1, false}}},
		{"out of order", []step{{5, true}, {3, true}, {4, true}, {3, false}, {1, true}, {2, true}, {5, false}}},
		{"lower edge", []step{{w + 10, true}, {10, false}, {11, true}, {11, false}, {12, true}}},
		{"jump by less than the window", []step{{100, true}, {w, true}, {99, true}, {100, false}, {101, true}}},
		{"jump by the ring", []step{{77, true}, {77 + windowBits, true}, {77, false}, {77 + windowBits - 1, true}, {78 + 64, true}}},
		{"jump far beyond", []step{{77, true}, {1 << 40, true}, {1<<40 - 1, true}, {1<<40 - w, false}, {1<<40 - w + 1, true}, {77, false}}},
		{"word boundaries", []step{{63, true}, {64, true}, {65, true}, {128, true}, {127, true}, {64, false}, {63, false}, {1, true}}},
		{"to the end", []step{{1<<64 - 2, true}, {1<<64 - 1, true}, {1<<64 - 1, false}, {1<<64 - 2, false}, {1<<64 - 3, true}}},
	} {
		win := newWindow(0)
		for i, s := range c.steps {
			if f := win.fresh(s.seq); f != s.want {
				t.Errorf("%s, step %d: %d fresh: %v", c.name, i, s.seq, f)
			}
			if got := win.mark(s.seq); got != s.want {
				t.Errorf("%s, step %d: %d accepted: %v", c.name, i, s.seq, got)
			}
		}
	}
}

// A window by its definition, with a set of all numbers seen, is the other implementation.
func TestWindowAgreesWithASet(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for round := range 18 {
		// The default, one word's worth, the largest, and what is rounded up.
		win := newWindow([]int{0, 1, MaxWindow, 4096, 32, 100000}[round%6])
		size, ring := win.size, uint64(len(win.seen))*64
		if want := []uint64{WindowSize, 64, MaxWindow, 8192 - 64, 64, 1<<17 - 64}[round%6]; size != want {
			t.Fatalf("round %d: %d numbers, want %d", round, size, want)
		}
		seen := make(map[uint64]bool)
		var top uint64
		for range 5000 {
			var seq uint64
			switch r.IntN(10) {
			case 0:
				seq = top + r.Uint64N(3*ring)
			case 1, 2, 3:
				seq = top + r.Uint64N(4)
			default:
				seq = top - min(top, r.Uint64N(size+200))
			}
			want := seq != 0 && !seen[seq] && (seq > top || top-seq < size)
			if got := win.mark(seq); got != want {
				t.Fatalf("round %d: top %d, %d accepted: %v, want %v", round, top, seq, got, want)
			}
			if want {
				seen[seq] = true
				top = max(top, seq)
			}
		}
	}
}

// Shows: IKE-9 (ESN). RFC 4303 appendix A2.2: the cases A and B, at and beside their borders.
func TestExtendedSequenceNumbers(t *testing.T) {
	const w = WindowSize
	win := newWindow(0)
	for _, c := range []struct {
		name string
		top  uint64
		low  uint32
		want uint64
	}{
		{"A, above", 5<<32 | 100000, 100001, 5<<32 | 100001},
		{"A, far above", 5<<32 | 100000, 0xffffffff, 5<<32 | 0xffffffff},
		{"A, lower edge", 5<<32 | 100000, 100000 - w + 1, 5<<32 | 100000 - w + 1},
		{"A, below the window", 5<<32 | 100000, 100000 - w, 6<<32 | 100000 - w},
		{"A, at the end", 5<<32 | 0xffffffff, 0, 6 << 32},
		{"B, above", 5<<32 | 10, 11, 5<<32 | 11},
		{"B, the subspace before", 5<<32 | 10, 0xffffffff, 4<<32 | 0xffffffff},
		{"B, lower edge", 5<<32 | 10, 0xffffffff - (w - 1 - 11), 4<<32 | (0xffffffff - (w - 1 - 11))},
		{"B, below the window", 5<<32 | 10, 0xffffffff - (w - 1 - 10), 5<<32 | (0xffffffff - (w - 1 - 10))},
		{"the first subspace", 10, 0xffffffff, 0xffffffff},
		{"fresh", 0, 1, 1},
		{"the border of A and B", 5<<32 | w - 1, 0, 5 << 32},
	} {
		if got := win.extend(c.top, c.low); got != c.want {
			t.Errorf("%s: top %#x, %#x means %#x, want %#x", c.name, c.top, c.low, got, c.want)
		}
	}
}

// Shows: IKE-9 (ESN). A stream goes over the border of 32 bits, with neighbours exchanged and each packet repeated.
func TestESNOverTheBorder(t *testing.T) {
	o, in := pair(t, suite.AESGCM128, true, nil)
	const start = 1<<32 - 20
	o.sequence.Store(start)
	in.window.top = start
	var last *packet.Buf
	for i := range 40 {
		p := seal(o, ping(client, server, 4))
		if i%2 == 0 {
			last = p
			continue
		}
		for _, q := range []*packet.Buf{p, last} {
			again := packet.From(q.Bytes())
			if r := in.Open(q); r != packet.NotDropped {
				t.Fatalf("packet about %d: %v", i, r)
			}
			if r := in.Open(again); r == packet.NotDropped {
				t.Fatalf("packet about %d passes twice", i)
			}
		}
	}
	if in.window.top != start+40 || in.Usage().Packets != 40 {
		t.Errorf("top %d, %+v", in.window.top, in.Usage())
	}
}
