package stack

import (
	"fmt"
	"testing"

	"mipvpn/ipsec/suite"
)

// benchmarkSizes are the host's packets: one that fits every mode's MTU, and a small one.
var benchmarkSizes = []int{1280, 128}

// What a packet costs on the laptop from TUN device to underlay, both left out: Engine, gate or ESP, every header but the
// kernel's.
func BenchmarkOutbound(b *testing.B) {
	benchmarkCompositions(b, func(b *testing.B, l *laptop, size int) {
		p := from(home.String(), size)
		for n := 0; n < b.N; n += batchOf {
			l.send(b, p, 1)
		}
		if l.wire.packets < b.N {
			b.Fatalf("%d packets of %d left; drops %v", l.wire.packets, b.N, l.drops.Snapshot())
		}
	})
}

// What a packet costs on the laptop from underlay to TUN device, both left out. Replay windows are made anew off the clock.
func BenchmarkInbound(b *testing.B) {
	benchmarkCompositions(b, func(b *testing.B, l *laptop, size int) {
		sealed := l.sealed(toHome(home.String(), size), 64*batchOf)
		b.ResetTimer()
		at := 0
		for n := 0; n < b.N; n += batchOf {
			if at == len(sealed) {
				b.StopTimer()
				l.rekey(b)
				at = 0
				b.StartTimer()
			}
			l.arrive(sealed[at : at+batchOf])
			at += batchOf
		}
		if l.device.written < b.N {
			b.Fatalf("%d packets of %d arrived; drops %v", l.device.written, b.N, l.drops.Snapshot())
		}
	})
}

// What a segment of a TCP superpacket costs on the laptop from TUN device to underlay, both left out: the superpacket is
// copied into its buffer, and where it gets to the underlay whole each segment's head is written as the kernel's sockets want it.
func BenchmarkOutboundSuper(b *testing.B) {
	p := superTCP(superSegments*superPayload, true)
	benchmarkSegments(b, func(b *testing.B, l *laptop) {
		l.device.segment = superPayload
		for n := 0; n < b.N; n += superSegments {
			l.send(b, p, 1)
		}
		if l.wire.packets < b.N {
			b.Fatalf("%d packets of %d left; drops %v", l.wire.packets, b.N, l.drops.Snapshot())
		}
	})
}

// What a packet of a train costs on the laptop from underlay to TUN device, both left out. The train is copied into its slab.
// Replay windows are made anew off the clock.
func BenchmarkInboundTrain(b *testing.B) {
	benchmarkSegments(b, func(b *testing.B, l *laptop) {
		sealed := l.sealed(toHome(home.String(), 52+superPayload), 64*superSegments)
		b.ResetTimer()
		at := 0
		for n := 0; n < b.N; n += superSegments {
			if at == len(sealed) {
				b.StopTimer()
				l.rekey(b)
				at = 0
				b.StartTimer()
			}
			l.arriveTrain(sealed[at : at+superSegments])
			at += superSegments
		}
		if l.device.written < b.N {
			b.Fatalf("%d packets of %d arrived; drops %v", l.device.written, b.N, l.drops.Snapshot())
		}
	})
}

// benchmarkSegments runs f for every composition with AES-GCM-128; one operation is one segment.
func benchmarkSegments(b *testing.B, f func(*testing.B, *laptop)) {
	for _, c := range everyComposition() {
		b.Run(c.String(), func(b *testing.B) {
			l := compose(b, c, suite.AESGCM128)
			b.SetBytes(int64(superPayload))
			b.ReportAllocs()
			b.ResetTimer()
			f(b, l)
		})
	}
}

// benchmarkCompositions runs f for every composition with AES-GCM-128, and for the deepest with the other ciphers; one
// operation is one packet.
func benchmarkCompositions(b *testing.B, f func(*testing.B, *laptop, int)) {
	run := func(c composition, e suite.Encryption, name string) {
		for _, size := range benchmarkSizes {
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				l := compose(b, c, e)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				b.ResetTimer()
				f(b, l, size)
			})
		}
	}
	for _, c := range everyComposition() {
		run(c, suite.AESGCM128, c.String())
	}
	for _, e := range suite.Encryptions() {
		if e != suite.AESGCM128 {
			run(composition{ModeCVC, true}, e, fmt.Sprintf("cvc/udp/%v", e))
		}
	}
}
