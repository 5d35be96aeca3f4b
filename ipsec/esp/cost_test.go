package esp

import (
	"encoding/binary"
	"testing"

	"mipvpn/ipsec/suite"
	"mipvpn/tun/packet"
)

// Nothing is allocated for a packet in either direction, for any cipher.
func TestDataPathDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	for _, e := range suite.Encryptions() {
		for _, esn := range []bool{false, true} {
			var drops packet.Drops
			var table Table
			o, in := pair(t, e, esn, &drops)
			table.Add(in)
			n := testing.AllocsPerRun(500, func() {
				b := packet.GetBatch()
				for range 16 {
					b.Append(ping(client, server, 1000))
				}
				o.Apply(b)
				table.Open(b, &drops)
				if b.Len() != 16 {
					t.Fatalf("%d packets came through: %v", b.Len(), drops.Snapshot())
				}
				b.Release()
			})
			if n != 0 {
				t.Errorf("%v, ESN %v: %v allocations for 16 packets", e, esn, n)
			}
		}
	}
}

// Nothing is allocated for a superpacket or for one of its segments, nor for opening what comes out, views of a slab.
func TestSuperpacketsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's sync.Pool drops buffers at random, so allocations say nothing")
	}
	template := superpacket(t, benchmarkForm, 1)
	defer template.Release()
	for _, e := range suite.Encryptions() {
		for _, esn := range []bool{false, true} {
			var drops packet.Drops
			var table Table
			o, in := pair(t, e, esn, &drops)
			table.Add(in)
			n := testing.AllocsPerRun(200, func() {
				b := packet.GetBatch()
				b.Append(copySuper(t, template))
				b.Append(ping(client, server, 100))
				b.Append(copySuper(t, template))
				o.Apply(b)
				for _, p := range b.Bufs {
					p.TOS = 0
				}
				table.Open(b, &drops)
				if b.Len() != 91 {
					t.Fatalf("%d packets came through: %v", b.Len(), drops.Snapshot())
				}
				b.Release()
			})
			if n != 0 {
				t.Errorf("%v, ESN %v: %v allocations for 2 superpackets and a packet", e, esn, n)
			}
		}
	}
}

// benchmarkForm is what a TCP flow gives with a TUN device of 1390 octets: 45 full segments.
var benchmarkForm = form{payload: 45 * 1338, size: 1338, options: 3}

// copySuper returns a copy of a superpacket in front of which nothing has been pushed.
func copySuper(t testing.TB, template *packet.Buf) *packet.Buf {
	p := packet.GetLarge()
	copy(p.Extend(template.Len()), template.Bytes())
	if err := p.MakeSuper(template.SegmentSize()); err != nil {
		t.Fatal(err)
	}
	return p
}

// perSegment reports the time and the throughput of a run that handles n segments an operation.
func perSegment(b *testing.B, n int) {
	b.Helper()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/segment")
}

// BenchmarkSuperpacketOut seals superpackets of 45 segments: whole, and the way that it goes without superpackets, cut into
// copies first and each sealed in place. "fill" is what both have in them beside: putting the superpacket together.
func BenchmarkSuperpacketOut(b *testing.B) {
	template := superpacket(b, benchmarkForm, 1)
	defer template.Release()
	run := func(name string, f func(*packet.Batch)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(template.Len()))
			b.ReportAllocs()
			for b.Loop() {
				batch := packet.One(copySuper(b, template))
				f(batch)
				batch.Release()
			}
			perSegment(b, template.Segments())
		})
	}
	run("fill", func(*packet.Batch) {})
	run("cut", func(batch *packet.Batch) { batch.Cut() })
	for _, e := range suite.Encryptions() {
		po, _ := parameters(e, false)
		o, err := NewOutbound(po, nil)
		if err != nil {
			b.Fatal(err)
		}
		run(e.String()+"/whole", func(batch *packet.Batch) {
			o.sequence.Store(0)
			o.Apply(batch)
		})
		run(e.String()+"/cut", func(batch *packet.Batch) {
			o.sequence.Store(0)
			batch.Cut()
			o.Apply(batch)
		})
	}
}

// BenchmarkBatchIn opens a train of 45 packets that lie in one slab, the way that UDP_GRO delivers it: as a batch through
// the table, and packet by packet. "fill" is what both have in them beside: copying the train into the slab.
func BenchmarkBatchIn(b *testing.B) {
	for _, e := range suite.Encryptions() {
		o, in := pair(b, e, false, nil)
		train := packet.One(superpacket(b, benchmarkForm, 1))
		o.Apply(train)
		run := func(name string, f func(*packet.Batch)) {
			b.Run(e.String()+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(train.Bytes() - train.Len()*(headerLen+e.IVLen()+e.ICVLen())))
				b.ReportAllocs()
				for b.Loop() {
					in.window = newWindow(0)
					batch, slab := packet.GetBatch(), packet.GetSlab()
					at := 0
					for _, p := range train.Bufs {
						copy(slab.Bytes()[at:], p.Bytes())
						batch.Append(slab.View(at, at, at+p.Len(), at+p.Len()))
						at += p.Len()
					}
					slab.Release()
					if f(batch); batch.Len() != train.Len() {
						b.Fatal("packets got lost")
					}
					batch.Release()
				}
				perSegment(b, train.Len())
			})
		}
		var table Table
		table.Add(in)
		run("fill", func(*packet.Batch) {})
		run("batch", func(batch *packet.Batch) { table.Open(batch, nil) })
		run("single", func(batch *packet.Batch) {
			for _, p := range batch.Bufs {
				if table.Lookup(binary.BigEndian.Uint32(p.Bytes())).Open(p) != packet.NotDropped {
					b.Fatal("a packet does not open")
				}
			}
		})
		train.Release()
	}
}

const benchmarkSize = 1380

func BenchmarkOutbound(b *testing.B) {
	for _, e := range suite.Encryptions() {
		b.Run(e.String(), func(b *testing.B) {
			o, _ := pair(b, e, false, nil)
			b.SetBytes(benchmarkSize)
			b.ReportAllocs()
			for b.Loop() {
				batch := packet.One(ping(client, server, benchmarkSize-packet.IPv4Len))
				o.Apply(batch)
				batch.Release()
			}
		})
	}
}

func BenchmarkOutboundThenInbound(b *testing.B) {
	for _, e := range suite.Encryptions() {
		b.Run(e.String(), func(b *testing.B) {
			o, in := pair(b, e, false, nil)
			b.SetBytes(benchmarkSize)
			b.ReportAllocs()
			for b.Loop() {
				batch := packet.One(ping(client, server, benchmarkSize-packet.IPv4Len))
				o.Apply(batch)
				if r := in.Open(batch.Bufs[0]); r != packet.NotDropped {
					b.Fatal(r)
				}
				batch.Release()
			}
		})
	}
}
