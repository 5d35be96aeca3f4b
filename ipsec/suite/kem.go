package suite

import (
	"crypto/mlkem"
	"fmt"
	"io"
)

// kem is a parameter set of ML-KEM (FIPS 203 §8). The initiator's public value is the encapsulation key, the responder's the
// ciphertext (draft-ietf-ipsecme-ikev2-mlkem).
type kem struct {
	publicLen, ciphertextLen int
}

// decapsulator is the secret key of a parameter set.
type decapsulator interface {
	Decapsulate(ciphertext []byte) ([]byte, error)
}

// encapsulator is the public key of a parameter set.
type encapsulator interface {
	Encapsulate() (sharedKey, ciphertext []byte)
}

// kemRho is the length of the seed at the end of an encapsulation key (FIPS 203 §5.1).
const kemRho = 32

// kemOf returns the parameter set of a method for which KEM is true.
func kemOf(g Group) kem {
	if g == GroupMLKEM768 {
		return kem{mlkem.EncapsulationKeySize768, mlkem.CiphertextSize768}
	}
	return kem{mlkem.EncapsulationKeySize1024, mlkem.CiphertextSize1024}
}

func newKEM(g Group, rand io.Reader) (*KeyExchange, error) {
	seed := make([]byte, mlkem.SeedSize)
	defer clear(seed)
	_, err := io.ReadFull(rand, seed)
	k := &KeyExchange{group: g}
	switch {
	case err != nil:
	case g == GroupMLKEM768:
		var own *mlkem.DecapsulationKey768
		if own, err = mlkem.NewDecapsulationKey768(seed); err == nil {
			k.kem, k.public = own, own.EncapsulationKey().Bytes()
		}
	default:
		var own *mlkem.DecapsulationKey1024
		if own, err = mlkem.NewDecapsulationKey1024(seed); err == nil {
			k.kem, k.public = own, own.EncapsulationKey().Bytes()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("suite: key of %v: %w", g, err)
	}
	return k, nil
}

// encapsulate is Answer for a KEM. The key is checked as FIPS 203 §7.2 asks for: its length, and that each coefficient is below
// the modulus. One whose coefficients are all zero passes that, but its secret can be read off the ciphertext, so that it is
// refused too.
func encapsulate(g Group, peer []byte) (ciphertext, shared []byte, err error) {
	if n := g.PublicLen(); len(peer) != n {
		return nil, nil, fmt.Errorf("%w: %v has %d octets, found %d", ErrPublicValue, g, n, len(peer))
	}
	var zero byte
	for _, octet := range peer[:len(peer)-kemRho] {
		zero |= octet
	}
	if zero == 0 {
		return nil, nil, fmt.Errorf("%w: %v: all coefficients are zero", ErrPublicValue, g)
	}
	var key encapsulator
	if g == GroupMLKEM768 {
		key, err = mlkem.NewEncapsulationKey768(peer)
	} else {
		key, err = mlkem.NewEncapsulationKey1024(peer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, g, err)
	}
	shared, ciphertext = key.Encapsulate()
	return ciphertext, shared, nil
}
