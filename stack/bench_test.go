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
