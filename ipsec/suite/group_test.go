package suite

import (
	"bytes"
	"crypto/mlkem"
	"crypto/rand"
	"errors"
	"math/big"
	"testing"
)

// modpGroups are the numbers of all MODP groups.
var modpGroups = []Group{GroupMODP2048, GroupMODP3072, GroupMODP4096}

// Shows: IKE-3 (groups 14, 15, 16). math/big is the other implementation.
func TestMODPAgreesWithBig(t *testing.T) {
	for _, id := range modpGroups {
		g := modpOf(id)
		p := new(big.Int).SetBytes(g.prime.bytes())
		if p.BitLen() != 8*g.octets || !p.ProbablyPrime(2) || !new(big.Int).Rsh(p, 1).ProbablyPrime(2) {
			t.Fatalf("%v: the modulus is no safe prime", id)
		}
		for range 2 {
			a, err := NewKeyExchange(id, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			x := new(big.Int).SetBytes(a.secret)
			public := new(big.Int).Exp(big.NewInt(2), x, p).FillBytes(make([]byte, g.octets))
			if !bytes.Equal(a.Public(), public) {
				t.Fatalf("%v: public value %x, want %x", id, a.Public(), public)
			}
			peer, other, err := Answer(id, rand.Reader, a.Public())
			if err != nil {
				t.Fatal(err)
			}
			shared, err := a.SharedSecret(peer)
			if err != nil {
				t.Fatal(err)
			}
			want := new(big.Int).Exp(new(big.Int).SetBytes(peer), x, p).FillBytes(make([]byte, g.octets))
			if !bytes.Equal(shared, want) || !bytes.Equal(shared, other) {
				t.Fatalf("%v: shared secrets %x and %x, want %x", id, shared, other, want)
			}
		}
	}
}

// Montgomery multiplication at the ends of its range, where carries run through.
func TestMontgomeryAtTheEdges(t *testing.T) {
	for _, id := range modpGroups {
		g := modpOf(id)
		bits := uint(8 * g.octets)
		p := new(big.Int).SetBytes(g.prime.bytes())
		inverse := new(big.Int).ModInverse(new(big.Int).Lsh(big.NewInt(1), bits), p)
		edge := []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(2), new(big.Int).Sub(p, big.NewInt(1)), new(big.Int).Sub(p, big.NewInt(2)),
			new(big.Int).Rsh(p, 1), new(big.Int).Lsh(big.NewInt(1), bits-64), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), bits-1), big.NewInt(1))}
		s := g.scratch()
		for _, a := range edge {
			for _, b := range edge {
				x, y := g.fromBytes(a.FillBytes(make([]byte, g.octets))), g.fromBytes(b.FillBytes(make([]byte, g.octets)))
				got := g.nat()
				g.montgomery(s, got, x, y)
				want := new(big.Int).Mul(a, b)
				want.Mul(want, inverse).Mod(want, p)
				if !bytes.Equal(got.bytes(), want.FillBytes(make([]byte, g.octets))) {
					t.Errorf("%v: %x times %x is %x, want %x", id, a, b, got.bytes(), want)
				}
			}
		}
	}
}

// Both ends of each method come to the same secret, with public values of the lengths that the method says.
func TestBothEndsAgree(t *testing.T) {
	for _, g := range Groups() {
		k, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		answer, theirs, err := Answer(g, rand.Reader, k.Public())
		if err != nil {
			t.Fatal(err)
		}
		ours, err := k.SharedSecret(answer)
		if err != nil || !bytes.Equal(ours, theirs) || bytes.Equal(ours, make([]byte, len(ours))) {
			t.Errorf("%v: %x and %x, %v", g, ours, theirs, err)
		}
		if len(k.Public()) != g.PublicLen() || len(answer) != g.AnswerLen() {
			t.Errorf("%v: public values of %d and %d octets, want %d and %d", g, len(k.Public()), len(answer), g.PublicLen(), g.AnswerLen())
		}
		k.Wipe()
		if k.secret != nil || k.curve != nil || k.kem != nil {
			t.Errorf("%v: a secret is left after Wipe", g)
		}
	}
}

// badPublicValues are public values of an initiator that must be refused.
func badPublicValues(t *testing.T) map[Group][][]byte {
	order8 := unhex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800") // RFC 7748 curve, order 8
	bad := map[Group][][]byte{
		GroupP256:       {make([]byte, 64), bytes.Repeat([]byte{1}, 64), bytes.Repeat([]byte{0xff}, 64)},
		GroupP384:       {make([]byte, 96), bytes.Repeat([]byte{1}, 96)},
		GroupP521:       {make([]byte, 132), bytes.Repeat([]byte{1}, 132), bytes.Repeat([]byte{0xff}, 132)},
		GroupCurve25519: {make([]byte, 32), order8},
	}
	for _, id := range modpGroups {
		g := modpOf(id)
		minusOne := append(modpNat(nil), g.prime...)
		minusOne[0]--
		bad[id] = [][]byte{make([]byte, g.octets), g.small(1).bytes(), minusOne.bytes(), g.prime.bytes(), bytes.Repeat([]byte{0xff}, g.octets)}
	}
	for _, g := range []Group{GroupMLKEM768, GroupMLKEM1024} {
		key, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		zero, over := bytes.Clone(key.Public()), bytes.Clone(key.Public())
		clear(zero[:len(zero)-kemRho])
		over[0], over[1] = 0x01, over[1]&0xf0|0x0d // the first coefficient becomes q = 3329 (FIPS 203 §7.2)
		bad[g] = [][]byte{make([]byte, g.PublicLen()), zero, over, bytes.Repeat([]byte{0xff}, g.PublicLen())}
	}
	return bad
}

// Shows: IKE-3 (tests of RFC 6989 §2 and FIPS 203 §7.2).
func TestBadPublicValuesAreRefused(t *testing.T) {
	bad := badPublicValues(t)
	for _, g := range Groups() {
		k, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if len(bad[g]) == 0 {
			t.Errorf("%v: no bad public values to try", g)
		}
		for _, peer := range append(bad[g], nil, k.Public()[1:], append(bytes.Clone(k.Public()), 0)) {
			if _, s, err := Answer(g, rand.Reader, peer); !errors.Is(err, ErrPublicValue) {
				t.Errorf("%v: public value %x is answered with %x, %v", g, peer, s, err)
			}
			if g.KEM() && len(peer) == g.AnswerLen() {
				continue // any octets of that length are a ciphertext
			}
			if s, err := k.SharedSecret(peer); !errors.Is(err, ErrPublicValue) {
				t.Errorf("%v: public value %x gives %x, %v", g, peer, s, err)
			}
		}
	}
	if _, err := NewKeyExchange(2, rand.Reader); !errors.Is(err, ErrUnsupported) {
		t.Errorf("group 2: %v", err)
	}
	if _, _, err := Answer(2, rand.Reader, make([]byte, 128)); !errors.Is(err, ErrUnsupported) {
		t.Errorf("group 2: %v", err)
	}
}

// Shows: IKE-3 (ML-KEM). A ciphertext that was changed gives another secret and no error (FIPS 203 §6.3, implicit rejection).
func TestChangedCiphertextGivesAnotherSecret(t *testing.T) {
	for _, g := range []Group{GroupMLKEM768, GroupMLKEM1024} {
		k, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		ciphertext, theirs, err := Answer(g, rand.Reader, k.Public())
		if err != nil {
			t.Fatal(err)
		}
		ciphertext[7] ^= 1
		ours, err := k.SharedSecret(ciphertext)
		if err != nil || len(ours) != mlkem.SharedKeySize || bytes.Equal(ours, theirs) {
			t.Errorf("%v: %x, %v", g, ours, err)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	for _, g := range Groups() {
		k, err := NewKeyExchange(g, rand.Reader)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint16(g), k.Public())
	}
	f.Fuzz(func(t *testing.T, id uint16, peer []byte) {
		g := Group(id)
		public, shared, err := Answer(g, rand.Reader, peer)
		switch {
		case err == nil && (len(public) != g.AnswerLen() || len(shared) == 0):
			t.Fatalf("%v: %d octets and a secret of %d", g, len(public), len(shared))
		case err != nil && !errors.Is(err, ErrPublicValue) && !errors.Is(err, ErrUnsupported):
			t.Fatalf("%v: %v", g, err)
		}
	})
}
