package esp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// rawPing returns an ESP packet of the SA of p with the sequence number seq, which need not be one that an Outbound would
// take next.
func rawPing(t testing.TB, p Parameters, seq uint64) *packet.Buf {
	t.Helper()
	b := ping(client, server, 12)
	defer b.Release()
	copy(b.Bytes()[packet.IPv4Len:], binary.BigEndian.AppendUint64(nil, seq))
	return sealRaw(t, p, seq, append(bytes.Clone(b.Bytes()), 1, 2, 2, 4))
}

// Shows: IKE-9 (replay window). A batch with packets twice, forged, late, and cut comes out as the single packets do.
func TestOpenBatchByItsReasons(t *testing.T) {
	_, pi := parameters(suite.AESGCM128, false)
	in, err := NewInbound(pi)
	if err != nil {
		t.Fatal(err)
	}
	var table Table
	var drops packet.Drops
	table.Add(in)
	b := packet.GetBatch()
	for _, seq := range []uint64{1, 2, 2, 3, 1, WindowSize + 2, 2, 3, 4} { // 2 is below the window then, 3 in it and seen
		b.Append(rawPing(t, pi, seq))
	}
	forged := rawPing(t, pi, 1<<31)
	forged.Bytes()[forged.Len()-1] ^= 1
	b.Append(forged)
	b.Append(rawPing(t, pi, WindowSize+3))
	b.Append(packet.From(rawPing(t, pi, 9).Bytes()[:20]))
	b.Append(rawPing(t, pi, 0))
	b.Append(rawPing(t, pi, 5))
	table.Open(b, &drops)
	var got []uint64
	for _, p := range b.Bufs {
		got = append(got, binary.BigEndian.Uint64(p.Bytes()[packet.IPv4Len:]))
		if p.SA != pi.SPI {
			t.Errorf("SA %08x", p.SA)
		}
	}
	b.Release()
	if want := []uint64{1, 2, 3, WindowSize + 2, 4, WindowSize + 3, 5}; !slices.Equal(got, want) {
		t.Errorf("passed: %v, want %v", got, want)
	}
	if drops.Of(packet.DropReplayed) != 5 || drops.Of(packet.DropAuthFailed) != 1 || drops.Of(packet.DropMalformed) != 1 {
		t.Errorf("drops %v", drops.Snapshot())
	}
	if u := in.Usage(); u.Packets != 7 || u.Bytes != 7*34 {
		t.Errorf("%+v", u)
	}
	if in.window.top != WindowSize+3 {
		t.Errorf("top %d", in.window.top)
	}
}

// Shows: IKE-9 (replay window, ESN). Whatever the order, the losses, the repetitions, the forgeries and the jumps, batches
// let through what single packets do, one after the other.
func TestOpenBatchAgreesWithSinglePackets(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for round := range 60 {
		esn := round%2 == 0
		_, pi := parameters(suite.AESGCM128, esn)
		other := pi
		other.SPI++
		var batched, single [2]*Inbound
		var table Table
		for i, p := range []Parameters{pi, other} {
			for _, in := range []**Inbound{&batched[i], &single[i]} {
				var err error
				if *in, err = NewInbound(p); err != nil {
					t.Fatal(err)
				}
				(*in).limits.hard.Bytes = 34 * 700
				if esn {
					(*in).window.top = 1<<32 - 200
				}
			}
			table.Add(batched[i])
		}
		next := [2]uint64{1, 1}
		if esn {
			next = [2]uint64{1<<32 - 199, 1<<32 - 199}
		}
		for range 12 {
			b := packet.GetBatch()
			var want []string
			for range 1 + r.IntN(2*maxRun) {
				which := min(1, r.IntN(40))
				seq := next[which]
				switch n := r.IntN(100); {
				case n < 50:
					next[which]++
				case n < 70:
					seq -= min(seq, r.Uint64N(20))
				case n < 80:
					seq -= min(seq, r.Uint64N(2*WindowSize))
				case n < 90:
					seq += r.Uint64N(50)
					next[which] = seq
				case n < 92:
					seq += r.Uint64N(2 * WindowSize)
					next[which] = seq
				case n < 93 && esn:
					seq += 1<<32 - r.Uint64N(3*WindowSize)
					next[which] = seq
				}
				if !esn {
					seq = min(seq, 1<<32-1)
				}
				p := rawPing(t, []Parameters{pi, other}[which], seq)
				if r.IntN(12) == 0 {
					p.Bytes()[r.IntN(p.Len())] ^= 1
				}
				one := packet.From(p.Bytes())
				if single[which].Open(one) == packet.NotDropped {
					want = append(want, string(one.Bytes()))
				}
				one.Release()
				b.Append(p)
			}
			table.Open(b, nil)
			if b.Len() != len(want) {
				t.Fatalf("round %d: %d packets pass, want %d", round, b.Len(), len(want))
			}
			for i, p := range b.Bufs {
				if string(p.Bytes()) != want[i] {
					t.Fatalf("round %d: packet %d is %x, want %x", round, i, p.Bytes(), want[i])
				}
			}
			b.Release()
			for i := range batched {
				if !reflect.DeepEqual(batched[i].window, single[i].window) || batched[i].Usage() != single[i].Usage() {
					t.Fatalf("round %d: the windows differ, or usage %+v and %+v", round, batched[i].Usage(), single[i].Usage())
				}
			}
		}
	}
}

// Shows: IKE-9 (ESN). In one batch the numbers jump by nearly 2^32 and go on over the border: what the lower half of the
// later ones stands for follows from the packet before, which is opened first.
func TestESNJumpWithinABatch(t *testing.T) {
	_, pi := parameters(suite.AESGCM256, true)
	in, err := NewInbound(pi)
	if err != nil {
		t.Fatal(err)
	}
	var table Table
	table.Add(in)
	b := packet.GetBatch()
	seqs := []uint64{1, 2, 1<<32 - 3, 1<<32 - 1, 1 << 32, 1<<32 + 3, 2<<32 - 9000, 2<<32 + 20}
	for _, seq := range seqs {
		b.Append(rawPing(t, pi, seq))
	}
	var drops packet.Drops
	table.Open(b, &drops)
	if b.Len() != len(seqs) || in.window.top != seqs[len(seqs)-1] {
		t.Errorf("%d of %d packets pass, top %#x, drops %v", b.Len(), len(seqs), in.window.top, drops.Snapshot())
	}
	b.Release()
}

// extend never falls when the window moves up, which is what check relies on.
func TestExtendGrowsWithTheWindow(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	w := newWindow(0)
	near := func() uint64 {
		return r.Uint64N(4)<<32 + r.Uint64N(5*WindowSize) - min(2*WindowSize, r.Uint64N(3*WindowSize))
	}
	for range 200000 {
		a, b, low := near()&^(1<<63), near()&^(1<<63), uint32(near())
		if a > 1<<40 || b > 1<<40 {
			continue // it wrapped below zero
		}
		if a > b {
			a, b = b, a
		}
		if w.extend(a, low) > w.extend(b, low) {
			t.Fatalf("%#x means %#x with the window at %#x, %#x at %#x", low, w.extend(a, low), a, w.extend(b, low), b)
		}
	}
}

// A packet in two batches that two goroutines open at once passes once.
func TestManyGoroutinesOpenBatches(t *testing.T) {
	const packets, openers = 600, 4
	for _, esn := range []bool{false, true} {
		o, in := pair(t, suite.AESGCM128, esn, nil)
		var table Table
		table.Add(in)
		sealed := packet.GetBatch()
		for range packets {
			sealed.Append(ping(client, server, 8))
		}
		o.Apply(sealed)
		var passed atomic.Int64
		var wg sync.WaitGroup
		for range openers {
			copies := packet.GetBatch()
			for _, p := range sealed.Bufs {
				copies.Append(packet.From(p.Bytes()))
			}
			wg.Go(func() {
				table.Open(copies, nil)
				passed.Add(int64(copies.Len()))
				copies.Release()
			})
		}
		wg.Wait()
		sealed.Release()
		if passed.Load() != packets || in.Usage().Packets != packets {
			t.Errorf("ESN %v: %d packets passed, %+v, want %d", esn, passed.Load(), in.Usage(), packets)
		}
	}
}
