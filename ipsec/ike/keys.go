package ike

import (
	"encoding/binary"
	"slices"

	"mipvpn/ipsec/suite"
)

// keys are those of one IKE SA (RFC 7296 §2.14). SK_ei, SK_er, SK_ai and SK_ar live in the ciphers only; the latter two are empty
// with combined-mode ciphers (RFC 5282 §6).
type keys struct {
	suite ikeSuite
	// d makes the keys of child SAs and successors; pi and pr are for AUTH.
	d, pi, pr []byte
	// fromInitiator and fromResponder protect the messages of the original initiator and responder.
	fromInitiator, fromResponder suite.Cipher
}

// skeyseed returns SKEYSEED of an IKE SA made by IKE_SA_INIT (RFC 7296 §2.14).
func skeyseed(prf suite.PRF, ni, nr, shared []byte) []byte {
	key := append(append([]byte(nil), ni...), nr...)
	defer clear(key)
	return prf.Sum(key, shared)
}

// deriveKeys expands SKEYSEED (RFC 7296 §2.14) and wipes it.
func deriveKeys(s ikeSuite, seed, ni, nr []byte, spiI, spiR uint64) (*keys, error) {
	defer clear(seed)
	var spis [16]byte
	binary.BigEndian.PutUint64(spis[:], spiI)
	binary.BigEndian.PutUint64(spis[8:], spiR)
	np, na := s.prf.Size(), s.encryption.Integrity.KeyLen()
	ne := s.encryption.KeyLen() - na
	out := s.prf.Expand(seed, 3*np+2*na+2*ne, ni, nr, spis[:])
	take := func(n int) []byte {
		k := out[:n:n]
		out = out[n:]
		return k
	}
	k := &keys{suite: s, d: take(np)}
	ai, ar := take(na), take(na)
	ei, er := slices.Concat(take(ne), ai), slices.Concat(take(ne), ar)
	k.pi, k.pr = take(np), take(np)
	for _, key := range [][]byte{ai, ar, ei, er} {
		defer clear(key)
	}
	var err error
	if k.fromInitiator, err = s.encryption.NewCipher(ei); err != nil {
		return nil, err
	}
	if k.fromResponder, err = s.encryption.NewCipher(er); err != nil {
		return nil, err
	}
	return k, nil
}

// successorSeed returns SKEYSEED of the IKE SA that rekeys this one, by this one's PRF (RFC 7296 §2.18), or of this one after an
// additional key exchange (RFC 9370 §2.2.2). more are the secrets of the additional key exchanges of a rekeying (§2.2.4).
func (k *keys) successorSeed(shared, ni, nr []byte, more ...[]byte) []byte {
	return k.suite.prf.Sum(k.d, append([][]byte{shared, ni, nr}, more...)...)
}

// childKeys returns the keys of a child SA for the directions from and to the exchange's initiator (RFC 7296 §2.17).
// shared is empty without a key exchange; more are the secrets of the additional ones (RFC 9370 §2.2.4).
func (k *keys) childKeys(e suite.Encryption, shared, ni, nr []byte, more ...[]byte) (fromInitiator, fromResponder []byte) {
	n := e.KeyLen()
	out := k.suite.prf.Expand(k.d, 2*n, append([][]byte{shared, ni, nr}, more...)...)
	return out[:n:n], out[n:]
}

// sharedKeyAuth returns AUTH by a shared secret for the octets that the signer has to cover (RFC 7296 §2.15).
func (k *keys) sharedKeyAuth(secret, octets []byte) []byte {
	key := k.suite.prf.Sum(secret, []byte("Key Pad for IKEv2"))
	defer clear(key)
	return k.suite.prf.Sum(key, octets)
}

// wipe forgets the keys. The ciphers' own key schedules are left to the garbage collector.
func (k *keys) wipe() {
	clear(k.d)
	clear(k.pi)
	clear(k.pr)
	k.fromInitiator, k.fromResponder = nil, nil
}
