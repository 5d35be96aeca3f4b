package suite

import (
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"
)

const (
	modpLen   = 256         // octets of the 2048-bit modulus
	modpLimbs = modpLen / 8 // limbs of 64 bits
	// modpExponentLen is the length of a secret exponent in octets. RFC 3526 §8 puts the group's strength at up to 160
	// bits, for which an exponent of twice that length is asked.
	modpExponentLen = 48
)

// modpNat is a number below 2^2048 in limbs of 64 bits, the least first. What is computed with it takes the same steps
// whatever its value, since math/big, whose time depends on its operands, would let the secret exponent be timed.
type modpNat [modpLimbs]uint64

var (
	modpPrime = parseModp(
		"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
			"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
			"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F" +
			"83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
			"E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510" +
			"15728E5A8AACAA68FFFFFFFFFFFFFFFF") // RFC 3526 §3
	// modpInverse is -p^-1 mod 2^64. The lowest limb of p is 2^64 - 1, that is -1, whose negative inverse is 1.
	modpInverse uint64 = 1
	// modpR2 is 2^4096 mod p, which brings a number into Montgomery form.
	modpR2 = modpSquareOfR()
)

func parseModp(s string) modpNat {
	p, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return modpFromBytes(p)
}

// modpFromBytes reads 256 octets, big endian.
func modpFromBytes(p []byte) (n modpNat) {
	for i := range n {
		n[i] = binary.BigEndian.Uint64(p[modpLen-8*(i+1):])
	}
	return n
}

func (n *modpNat) bytes() []byte {
	p := make([]byte, modpLen)
	for i, limb := range n {
		binary.BigEndian.PutUint64(p[modpLen-8*(i+1):], limb)
	}
	return p
}

// reduceOnce subtracts p from the number high * 2^2048 + n when it is p or more. It must be below 2p.
func (n *modpNat) reduceOnce(high uint64) {
	var d modpNat
	var borrow uint64
	for i := range n {
		d[i], borrow = bits.Sub64(n[i], modpPrime[i], borrow)
	}
	_, borrow = bits.Sub64(high, 0, borrow)
	keep := -borrow // all ones when n was below p
	for i := range n {
		n[i] = n[i]&keep | d[i]&^keep
	}
}

// modpSquareOfR doubles 1 modulo p 4096 times.
func modpSquareOfR() modpNat {
	n := modpNat{1}
	for range 2 * 2048 {
		var carry uint64
		for i := range n {
			next := n[i] >> 63
			n[i] = n[i]<<1 | carry
			carry = next
		}
		n.reduceOnce(carry)
	}
	return n
}

// montgomery sets n to a * b / 2^2048 mod p, for a and b below p (Montgomery multiplication, operand scanning form).
func (n *modpNat) montgomery(a, b *modpNat) {
	var t [modpLimbs + 1]uint64
	for i := range a {
		// t += a[i] * b; the sum needs one limb more for the time of this round.
		var carry uint64
		for j := range b {
			hi, lo := bits.Mul64(a[i], b[j])
			var c uint64
			lo, c = bits.Add64(lo, t[j], 0)
			hi += c
			lo, c = bits.Add64(lo, carry, 0)
			t[j], carry = lo, hi+c
		}
		var top uint64
		t[modpLimbs], top = bits.Add64(t[modpLimbs], carry, 0)
		// t = (t + m * p) / 2^64 with m such that the lowest limb becomes 0.
		m := t[0] * modpInverse
		hi, lo := bits.Mul64(m, modpPrime[0])
		_, c := bits.Add64(lo, t[0], 0)
		carry = hi + c
		for j := 1; j < modpLimbs; j++ {
			hi, lo := bits.Mul64(m, modpPrime[j])
			lo, c = bits.Add64(lo, t[j], 0)
			hi += c
			lo, c = bits.Add64(lo, carry, 0)
			t[j-1], carry = lo, hi+c
		}
		t[modpLimbs-1], c = bits.Add64(t[modpLimbs], carry, 0)
		t[modpLimbs] = top + c
	}
	copy(n[:], t[:modpLimbs])
	n.reduceOnce(t[modpLimbs])
	clear(t[:])
}

// modpPower returns base^exponent mod p, for base below p and an exponent in octets, big endian. It goes through the
// exponent four bits at a time and reads the whole table at each, so that time and memory accesses do not depend on it.
func modpPower(base *modpNat, exponent []byte) modpNat {
	one := modpNat{1}
	var table [16]modpNat // base^i in Montgomery form
	table[0].montgomery(&one, &modpR2)
	table[1].montgomery(base, &modpR2)
	for i := 2; i < len(table); i++ {
		table[i].montgomery(&table[i-1], &table[1])
	}
	acc := table[0]
	var chosen modpNat
	for _, octet := range exponent {
		for _, digit := range [2]byte{octet >> 4, octet & 15} {
			for range 4 {
				acc.montgomery(&acc, &acc)
			}
			chosen = modpNat{}
			for i := range table {
				mask := -uint64(subtle.ConstantTimeByteEq(digit, byte(i)))
				for j := range chosen {
					chosen[j] |= table[i][j] & mask
				}
			}
			acc.montgomery(&acc, &chosen)
		}
	}
	var result modpNat
	result.montgomery(&acc, &one)
	clear(acc[:])
	clear(chosen[:])
	return result
}

// newMODP makes the key pair of the exponent secret, which it keeps. The generator is 2 (RFC 3526 §3).
func newMODP(secret []byte) *KeyExchange {
	public := modpPower(&modpNat{2}, secret)
	return &KeyExchange{group: GroupMODP2048, secret: secret, public: public.bytes()}
}

// modpShared returns peer^secret. RFC 6989 §2.1: p is a safe prime, so it is enough that 1 < peer < p-1.
func modpShared(secret, peer []byte) ([]byte, error) {
	n := modpFromBytes(peer)
	if !modpInRange(&n) {
		return nil, fmt.Errorf("%w: %v: not between 1 and p-1", ErrPublicValue, GroupMODP2048)
	}
	shared := modpPower(&n, secret)
	out := shared.bytes()
	clear(shared[:])
	return out, nil
}

// modpInRange reports 1 < n < p-1. Public values are no secret, so the comparison may stop early.
func modpInRange(n *modpNat) bool {
	limit := modpPrime
	limit[0]-- // p is odd
	return modpLess(&modpNat{1}, n) && modpLess(n, &limit)
}

func modpLess(a, b *modpNat) bool {
	for i := modpLimbs - 1; i >= 0; i-- {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
