package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestChecksumOfEveryLength(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 1500)
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	ones := bytes.Repeat([]byte{0xff}, len(noise)) // every addition carries
	for _, p := range [][]byte{noise, ones, make([]byte, len(noise))} {
		for n := range p {
			for _, initial := range []uint32{0, 1, 0xffff, 0x12345, 0xffffffff} {
				whole := append(binary.BigEndian.AppendUint32(nil, initial), p[:n]...)
				if got, want := Checksum(p[:n], initial), naive(whole); got != want {
					t.Fatalf("%d octets %x... from %#x: %#04x, want %#04x", n, p[:min(n, 4)], initial, got, want)
				}
			}
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, n := range []int{20, 128, 1440} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				Checksum(p, 0)
			}
		})
	}
}
