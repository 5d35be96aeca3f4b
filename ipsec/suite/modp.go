package suite

import (
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
	"sync"
)

// modpGroup is a group of integers modulo a safe prime p with the generator 2 (RFC 3526). The lowest limb of each p is 2^64 - 1,
// that is -1, so that -p^-1 mod 2^64, which Montgomery multiplication needs, is 1.
type modpGroup struct {
	id Group
	// octets is the length of p, and so of a public value.
	octets int
	// exponentLen is the length of a secret exponent in octets. RFC 3526 §8 puts the groups' strength at up to 160, 210 and
	// 240 bits, for which an exponent of twice that length is asked.
	exponentLen int
	prime       modpNat
	// r2 is R^2 mod p with R = 2^(8*octets), which brings a number into Montgomery form.
	r2 modpNat
}

// modpNat is a number below R in limbs of 64 bits, the least first. What is computed with it takes the same steps
// whatever its value, since math/big, whose time depends on its operands, would let the secret exponent be timed.
type modpNat []uint64

// The groups are made when they are used first: to square R takes some milliseconds.
var (
	modp2048 = sync.OnceValue(func() *modpGroup { return newMODPGroup(GroupMODP2048, 48, prime2048) })
	modp3072 = sync.OnceValue(func() *modpGroup { return newMODPGroup(GroupMODP3072, 56, prime3072) })
	modp4096 = sync.OnceValue(func() *modpGroup { return newMODPGroup(GroupMODP4096, 64, prime4096) })
)

// modpOf returns the MODP group with this number, nil when it is another kind of method.
func modpOf(g Group) *modpGroup {
	switch g {
	case GroupMODP2048:
		return modp2048()
	case GroupMODP3072:
		return modp3072()
	case GroupMODP4096:
		return modp4096()
	}
	return nil
}

func newMODPGroup(id Group, exponentLen int, prime string) *modpGroup {
	p, err := hex.DecodeString(prime)
	if err != nil {
		panic(err)
	}
	g := &modpGroup{id: id, octets: len(p), exponentLen: exponentLen}
	g.prime = g.fromBytes(p)
	g.r2 = g.squareOfR()
	return g
}

func (g *modpGroup) nat() modpNat { return make(modpNat, g.octets/8) }

func (g *modpGroup) small(v uint64) modpNat {
	n := g.nat()
	n[0] = v
	return n
}

// fromBytes reads octets, big endian.
func (g *modpGroup) fromBytes(p []byte) modpNat {
	n := g.nat()
	for i := range n {
		n[i] = binary.BigEndian.Uint64(p[g.octets-8*(i+1):])
	}
	return n
}

func (n modpNat) bytes() []byte {
	p := make([]byte, 8*len(n))
	for i, limb := range n {
		binary.BigEndian.PutUint64(p[len(p)-8*(i+1):], limb)
	}
	return p
}

// reduceOnce subtracts p from the number high * R + n when it is p or more. It must be below 2p. d is scratch memory.
func (g *modpGroup) reduceOnce(n, d modpNat, high uint64) {
	var borrow uint64
	for i := range n {
		d[i], borrow = bits.Sub64(n[i], g.prime[i], borrow)
	}
	_, borrow = bits.Sub64(high, 0, borrow)
	keep := -borrow // all ones when n was below p
	for i := range n {
		n[i] = n[i]&keep | d[i]&^keep
	}
}

// squareOfR doubles 1 modulo p as often as R^2 has bits.
func (g *modpGroup) squareOfR() modpNat {
	n, d := g.small(1), g.nat()
	for range 2 * 8 * g.octets {
		var carry uint64
		for i := range n {
			next := n[i] >> 63
			n[i] = n[i]<<1 | carry
			carry = next
		}
		g.reduceOnce(n, d, carry)
	}
	return n
}

// modpScratch is what a multiplication needs beside its operands.
type modpScratch struct{ t, d modpNat }

func (g *modpGroup) scratch() *modpScratch {
	return &modpScratch{t: make(modpNat, g.octets/8+1), d: g.nat()}
}

func (s *modpScratch) wipe() {
	clear(s.t)
	clear(s.d)
}

// montgomery sets n to a * b / R mod p, for a and b below p (Montgomery multiplication, operand scanning form). n may be
// a or b.
func (g *modpGroup) montgomery(s *modpScratch, n, a, b modpNat) {
	limbs := len(g.prime)
	t, p := s.t[:limbs+1], g.prime[:limbs]
	a, b = a[:limbs], b[:limbs]
	clear(t)
	for _, ai := range a {
		// t += a[i] * b; the sum needs one limb more for the time of this round.
		var carry uint64
		for j, bj := range b {
			hi, lo := bits.Mul64(ai, bj)
			var c uint64
			lo, c = bits.Add64(lo, t[j], 0)
			hi += c
			lo, c = bits.Add64(lo, carry, 0)
			t[j], carry = lo, hi+c
		}
		var top uint64
		t[limbs], top = bits.Add64(t[limbs], carry, 0)
		// t = (t + m * p) / 2^64 with m such that the lowest limb becomes 0: m is t[0], for -p^-1 is 1.
		m := t[0]
		hi, lo := bits.Mul64(m, p[0])
		_, c := bits.Add64(lo, t[0], 0)
		carry = hi + c
		for j := 1; j < limbs; j++ {
			hi, lo := bits.Mul64(m, p[j])
			lo, c = bits.Add64(lo, t[j], 0)
			hi += c
			lo, c = bits.Add64(lo, carry, 0)
			t[j-1], carry = lo, hi+c
		}
		t[limbs-1], c = bits.Add64(t[limbs], carry, 0)
		t[limbs] = top + c
	}
	copy(n, t[:limbs])
	g.reduceOnce(n, s.d, t[limbs])
}

// power returns base^exponent mod p, for base below p and an exponent in octets, big endian. It goes through the
// exponent four bits at a time and reads the whole table at each, so that time and memory accesses do not depend on it.
func (g *modpGroup) power(base modpNat, exponent []byte) modpNat {
	s := g.scratch()
	defer s.wipe()
	one := g.small(1)
	var table [16]modpNat // base^i in Montgomery form
	for i := range table {
		table[i] = g.nat()
		switch i {
		case 0:
			g.montgomery(s, table[i], one, g.r2)
		case 1:
			g.montgomery(s, table[i], base, g.r2)
		default:
			g.montgomery(s, table[i], table[i-1], table[1])
		}
	}
	acc, chosen := append(modpNat(nil), table[0]...), g.nat()
	for _, octet := range exponent {
		for _, digit := range [2]byte{octet >> 4, octet & 15} {
			for range 4 {
				g.montgomery(s, acc, acc, acc)
			}
			clear(chosen)
			for i := range table {
				mask := -uint64(subtle.ConstantTimeByteEq(digit, byte(i)))
				for j, limb := range table[i] {
					chosen[j] |= limb & mask
				}
			}
			g.montgomery(s, acc, acc, chosen)
		}
	}
	result := g.nat()
	g.montgomery(s, result, acc, one)
	clear(acc)
	clear(chosen)
	return result
}

// key makes the key pair of the exponent secret, which it keeps.
func (g *modpGroup) key(secret []byte) *KeyExchange {
	return &KeyExchange{group: g.id, secret: secret, public: g.power(g.small(2), secret).bytes()}
}

// shared returns peer^secret. RFC 6989 §2.1: p is a safe prime, so it is enough that 1 < peer < p-1.
func (g *modpGroup) shared(secret, peer []byte) ([]byte, error) {
	n := g.fromBytes(peer)
	if !g.inRange(n) {
		return nil, fmt.Errorf("%w: %v: not between 1 and p-1", ErrPublicValue, g.id)
	}
	shared := g.power(n, secret)
	defer clear(shared)
	return shared.bytes(), nil
}

// inRange reports 1 < n < p-1. Public values are no secret, so the comparison may stop early.
func (g *modpGroup) inRange(n modpNat) bool {
	limit := append(modpNat(nil), g.prime...)
	limit[0]-- // p is odd
	return modpLess(g.small(1), n) && modpLess(n, limit)
}

func modpLess(a, b modpNat) bool {
	for i := len(a) - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
