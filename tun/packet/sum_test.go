package packet

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// same reports whether two ones' complement sums stand for the same: 0 has two forms.
func same(a, b uint16) bool { return a == b || a == 0 && b == 0xffff || a == 0xffff && b == 0 }

// A sum that is known is the sum of what is there, whatever is taken off and put on.
func TestSumIsThatOfThePacket(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 14))
	known := 0
	for range 2000 {
		p := make([]byte, rng.IntN(300))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		if rng.IntN(10) == 0 {
			clear(p)
		}
		b := From(p)
		if _, ok := b.Sum(); ok {
			t.Fatal("the sum of a packet is known that nobody has summed")
		}
		b.SetSum(uint16(PartialSum(p, 0)))
		for range rng.IntN(4) {
			switch n := rng.IntN(20); rng.IntN(6) {
			case 0:
				copy(b.Push(n), bytes.Repeat([]byte{7}, n))
			case 1:
				copy(b.Extend(n), bytes.Repeat([]byte{9}, n))
			case 2:
				b.Trim(b.Len() - n)
			case 3:
				b.Trim(b.Len())
			default:
				b.Pull(n)
			}
		}
		if sum, ok := b.Sum(); ok {
			known++
			if want := uint16(PartialSum(b.Bytes(), 0)); !same(sum, want) {
				t.Fatalf("the sum of %x is %#04x, %#04x is said", b.Bytes(), want, sum)
			}
		}
		b.ForgetSum()
		if _, ok := b.Sum(); ok {
			t.Fatal("a forgotten sum is known")
		}
		b.Release()
	}
	if known < 500 {
		t.Errorf("the sum was known %d times of 2000", known)
	}
}

// What changes in a header and is mended there leaves the sum as it is.
func TestSumOfWhatIsMended(t *testing.T) {
	b := From(make([]byte, 40))
	PushIPv4(b, IPv4Fields{TTL: 9, TOS: 2, Protocol: ProtocolTCP, Src: netip.AddrFrom4([4]byte{10, 1, 2, 3}), Dst: netip.AddrFrom4([4]byte{10, 9})})
	sum := uint16(PartialSum(b.Bytes(), 0))
	b.SetSum(sum)
	ip := IPv4(b.Bytes())
	ip.SetTOS(0xb9)
	ip.DecrementTTL()
	if got := uint16(PartialSum(b.Bytes(), 0)); !same(got, sum) {
		t.Errorf("the sum went from %#04x to %#04x", sum, got)
	}
}
