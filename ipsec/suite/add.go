package suite

import (
	"fmt"
	"hash"
	"io"
)

// minPrivate is the least number of transforms for private use, of each type (RFC 7296 §3.3.2).
const minPrivate = 1024

// What Add functions have added, by number. They are filled before anything else is used and only read then.
var (
	addedPRFs    = map[PRF]AddedPRF{}
	addedGroups  = map[Group]AddedGroup{}
	addedCiphers = map[Encryption]AddedEncryption{}
)

// AddedPRF is a pseudorandom function of one's own: HMAC with a hash function.
type AddedPRF struct {
	// Name is what it is called in logs and status.
	Name string
	// Hash makes the hash function, whose output has at most 64 octets.
	Hash func() hash.Hash
}

// KeyPair is one ephemeral key pair of an AddedGroup.
type KeyPair interface {
	// Public returns the public value as it stands in the KE payload.
	Public() []byte
	// SharedSecret returns the secret that is shared with the end that has answered with this public value, which belongs to the
	// caller. An error refuses the value.
	SharedSecret(answer []byte) ([]byte, error)
	// Wipe forgets the secret.
	Wipe()
}

// AddedGroup is a key exchange method of one's own, classical or a KEM.
type AddedGroup struct {
	// Name is what it is called in logs and status.
	Name string
	// PublicLen and AnswerLen are the lengths of the public values of the end that begins and of the other, in octets.
	PublicLen, AnswerLen int
	// Generate makes a key pair for the end that begins.
	Generate func(rand io.Reader) (KeyPair, error)
	// Answer does the other end's half, see the function Answer. peer has PublicLen octets. An error refuses the value.
	Answer func(rand io.Reader, peer []byte) (public, shared []byte, err error)
}

// AddedEncryption is a combined-mode cipher of one's own.
type AddedEncryption struct {
	// Name is what it is called in logs and status.
	Name string
	// KeyLen is the length of the keying material, IVLen and ICVLen are those of IV (at most 16) and ICV (at most 32), in octets.
	// Align is what the plaintext must be a multiple of (1 to 16).
	KeyLen, IVLen, ICVLen, Align int
	// New returns the cipher under a key of KeyLen octets, to which it must keep no reference, with these lengths.
	New func(key []byte) (Cipher, error)
}

// AddPRF adds a pseudorandom function under a number for private use, 1024 to 65535. Like AddGroup and AddEncryption it is
// called before anything else of this package is used, best in an init function, and panics when the number is not for private
// use or taken, or when something is missing, which are errors of the program. What is added is offered and accepted where it
// is named (ike.Proposals), never by default; in FIPS 140-3 mode not at all.
func AddPRF(p PRF, a AddedPRF) {
	_, taken := addedPRFs[p]
	mustAdd(uint16(p), taken, a.Name != "" && a.Hash != nil && a.Hash().Size() >= 16 && a.Hash().Size() <= 64)
	addedPRFs[p] = a
}

// AddGroup adds a key exchange method, see AddPRF.
func AddGroup(g Group, a AddedGroup) {
	_, taken := addedGroups[g]
	mustAdd(uint16(g), taken, a.Name != "" && a.PublicLen > 0 && a.AnswerLen > 0 && a.Generate != nil && a.Answer != nil)
	addedGroups[g] = a
}

// AddEncryption adds a combined-mode cipher, with or without a Key Length attribute, see AddPRF.
func AddEncryption(e Encryption, a AddedEncryption) {
	_, taken := addedCiphers[e]
	mustAdd(uint16(e.ID), taken, a.Name != "" && e.Integrity == IntegrityNone && a.KeyLen > 0 && a.IVLen >= 0 && a.IVLen <= 16 &&
		a.ICVLen > 0 && a.ICVLen <= 32 && a.Align >= 1 && a.Align <= 16 && a.New != nil)
	addedCiphers[e] = a
}

func mustAdd(number uint16, taken, complete bool) {
	if number < minPrivate || taken || !complete {
		panic(fmt.Sprintf("suite: transform %d cannot be added: want a free number from %d on (taken: %t) and all that it needs (there: %t)",
			number, minPrivate, taken, complete))
	}
}

// newAdded makes a key pair of an added method.
func newAdded(g Group, a AddedGroup, rand io.Reader) (*KeyExchange, error) {
	k, err := a.Generate(rand)
	if err != nil {
		return nil, fmt.Errorf("suite: key of %v: %w", g, err)
	}
	return &KeyExchange{group: g, added: k, public: k.Public()}, nil
}

// answerAdded is Answer for an added method.
func answerAdded(g Group, a AddedGroup, rand io.Reader, peer []byte) (public, shared []byte, err error) {
	if len(peer) != a.PublicLen {
		return nil, nil, fmt.Errorf("%w: %v has %d octets, found %d", ErrPublicValue, g, a.PublicLen, len(peer))
	}
	if public, shared, err = a.Answer(rand, peer); err != nil {
		return nil, nil, fmt.Errorf("%w: %v: %w", ErrPublicValue, g, err)
	}
	return public, shared, nil
}
