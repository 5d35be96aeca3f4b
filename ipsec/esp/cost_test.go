package esp

import (
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
