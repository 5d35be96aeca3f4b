package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// ReplayProtection is the style of replay protection between a mobile node and its home agent. It is part of their security
// association (RFC 5944 §5.7), and both must have the same.
type ReplayProtection uint8

const (
	// Timestamps is protection by the time of day (RFC 5944 §5.7.1), the default.
	Timestamps ReplayProtection = iota
	// Nonces is protection by numbers that the home agent gives out in its replies (RFC 5944 §5.7.2): nobody needs a clock that
	// is right.
	Nonces
	numReplayProtections
)

var replayProtectionNames = [numReplayProtections]string{"timestamps", "nonces"}

// String returns the name as ParseReplayProtection takes it.
func (p ReplayProtection) String() string {
	if p < numReplayProtections {
		return replayProtectionNames[p]
	}
	return fmt.Sprintf("replay protection %d", uint8(p))
}

// ReplayProtectionNames returns the names that ParseReplayProtection takes.
func ReplayProtectionNames() []string { return replayProtectionNames[:] }

// ParseReplayProtection returns the style of that name: timestamps or nonces.
func ParseReplayProtection(name string) (ReplayProtection, error) {
	for i, n := range replayProtectionNames {
		if n == name {
			return ReplayProtection(i), nil
		}
	}
	return 0, fmt.Errorf("mipv4/auth: unknown replay protection %q, expected one of %v", name, replayProtectionNames)
}

// ReplayProtection returns the association's style of replay protection.
func (s *SecurityAssociation) ReplayProtection() ReplayProtection { return s.replay }

// nextNonce issues the Identification for a new request: the home agent's nonce of the last reply in the high half, a random
// number in the low half (RFC 5944 §5.7.2). Before the first reply the high half is random too: the home agent's denial gives
// the nonce.
func (s *source) nextNonce(random io.Reader) (Stamp, error) {
	var r [8]byte
	if _, err := io.ReadFull(random, r[:]); err != nil {
		return Stamp{}, fmt.Errorf("mipv4/auth: random bits for an Identification: %w", err)
	}
	drawn := wire.Identification(binary.BigEndian.Uint64(r[:]))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.told {
		s.nonce, s.told = drawn, true
	}
	if drawn.Low() == s.last.Low() {
		drawn++ // two requests in a row must differ (RFC 5944 §5.7)
	}
	s.last = drawn.WithHigh(s.nonce)
	s.generation++
	return Stamp{Identification: s.last, generation: s.generation}, nil
}

// Learn takes the nonce of an authenticated reply to the request that sent was issued for (RFC 5944 §5.7.2), whatever its code: the
// next request has it. A reply to an older request than one already heard of changes nothing. With Timestamps it does nothing.
func (s *SecurityAssociation) Learn(sent Stamp, reply wire.Identification) {
	src := &s.identification
	src.mu.Lock()
	defer src.mu.Unlock()
	if s.replay != Nonces || sent.generation < src.heard {
		return
	}
	src.heard, src.nonce = sent.generation, reply
}

// Repeatable reports whether a request with that Identification may be sent again as it is: with nonces, and while no other nonce
// has become known (RFC 5944 §3.6.3). With timestamps each transmission has a new Identification.
func (s *SecurityAssociation) Repeatable(sent Stamp) bool {
	src := &s.identification
	src.mu.Lock()
	defer src.mu.Unlock()
	return s.replay == Nonces && sent.Identification.High() == src.nonce.High()
}

// The home agent's nonces are a keyed permutation of a counter that follows the seconds of its clock. So they look random to whoever
// has no key, none comes twice in 136 years, and a home agent that has lost its state goes on with ones that it has not used, as
// long as its clock has not gone back: an old request never fits again.

// NextNonceCounter returns the counter behind last, or the first one when last is 0, at the home agent: it is never 0.
func NextNonceCounter(last uint32, now link.Instant) uint32 {
	next := uint32(max(now.Wall.Unix(), 1)) // wraps in 2106
	if ahead := int32(last - next); last != 0 && ahead >= 0 {
		next = last + 1
	}
	return max(next, 1)
}

// Nonce returns the nonce for a counter of NextNonceCounter.
func (s *SecurityAssociation) Nonce(counter uint32) uint32 {
	left, right := uint16(counter>>16), uint16(counter)
	for round := range byte(4) { // a Feistel network: a permutation, whatever its round function
		h := hmac.New(sha256.New, s.key)
		_, _ = h.Write([]byte{'n', 'o', 'n', 'c', 'e', round, byte(right >> 8), byte(right)})
		left, right = right, left^binary.BigEndian.Uint16(h.Sum(nil))
	}
	return uint32(left)<<16 | uint32(right)
}

// WithNonce returns the Identification of a reply to a request that had id: the nonce in the high half (RFC 5944 §5.7.2).
func WithNonce(id wire.Identification, nonce uint32) wire.Identification {
	return id.WithHigh(wire.Identification(uint64(nonce) << 32))
}
