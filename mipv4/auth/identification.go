package auth

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

// Stamp is an Identification as it was issued: the value for the request, and what Resynchronize needs to know of it.
type Stamp struct {
	// Identification for the request's field.
	Identification wire.Identification
	generation     uint64
	lifted         bool // above the clock, to be greater than what the home agent has accepted
}

// source issues strictly increasing timestamps. offset is what resynchronisation has found the wall clock to lack;
// generation counts resynchronisations, because values may go down across one.
type source struct {
	mu         sync.Mutex
	last       wire.Identification
	offset     time.Duration
	generation uint64
	// accepted is the greatest value that the home agent has accepted: it takes none that is not greater.
	accepted wire.Identification

	// With nonces: the home agent's nonce in the high half, whether there is one, the generation of the newest request whose reply
	// has been heard; last and generation are of the newest request.
	nonce wire.Identification
	told  bool
	heard uint64
}

// randomBits is the number of low bits of an Identification that are random. It leaves 2^-8 s of resolution: a timestamp
// needs no more, and whoever wants to forge an unauthenticated refusal must guess the rest.
const randomBits = 24

// keepAhead is how far, as an NTP interval, a value already issued may be ahead of the home agent's clock without being
// given up on resynchronisation: every home agent should tolerate 3 s (RFC 5944 §5.7.1), and values that went down
// might be below one that it has accepted.
const keepAhead = 3 << 32

// NextIdentification issues the Identification for a new request: the time of day of now, by the home agent's clock as
// far as it is known, with random low bits (RFC 5944 §5.7.1). It is greater than every one issued before, except across
// a resynchronisation. With Nonces it is a nonce and a random number instead (RFC 5944 §5.7.2). It fails only when random does.
func (s *SecurityAssociation) NextIdentification(now link.Instant, random io.Reader) (Stamp, error) {
	if s.replay == Nonces {
		return s.identification.nextNonce(random)
	}
	var r [4]byte
	if _, err := io.ReadFull(random, r[:]); err != nil {
		return Stamp{}, fmt.Errorf("mipv4/auth: random bits for an Identification: %w", err)
	}
	noise := wire.Identification(binary.BigEndian.Uint32(r[:]) >> (32 - randomBits))
	src := &s.identification
	src.mu.Lock()
	defer src.mu.Unlock()
	next := wire.IdentificationAt(now.Wall.Add(src.offset))&^(1<<randomBits-1) | noise
	lifted := next <= src.accepted
	if least := max(src.last, src.accepted); next <= least {
		// The same slot again, or a wall clock that was set back: go on from the last one by a random step.
		next = least + 1 + noise>>8
	}
	src.last = next
	return Stamp{Identification: next, generation: src.generation, lifted: lifted}, nil
}

// Resynchronize sets the source by the reply to the request that sent was issued for: a reply that has been
// authenticated and has code 133, whose upper half is the home agent's time of day (RFC 5944 §3.6.2.3, §5.7.1). It
// reports false and changes nothing when the source has been resynchronised since sent was issued; a new request is
// worth a try then too, and with Nonces, which need none. The caller has checked that the lower halves agree.
func (s *SecurityAssociation) Resynchronize(now link.Instant, sent Stamp, reply wire.Identification) bool {
	if s.replay != Timestamps {
		return false // Learn has taken the nonce
	}
	src := &s.identification
	src.mu.Lock()
	defer src.mu.Unlock()
	if sent.generation != src.generation {
		return false
	}
	// The reply tells whole seconds; the middle of the second is nearest on the average.
	peer := reply.WithHigh(reply)&^0xffffffff | 1<<31
	src.offset = peer.Time().Sub(now.Wall)
	src.generation++
	if src.last > peer+keepAhead {
		src.last = 0
	}
	// What the home agent has accepted was in time for it, and so is what is a little greater; unless it is the home agent whose
	// clock was set back since, which then refuses a value for being above that.
	if sent.lifted && sent.Identification > peer+keepAhead {
		src.accepted = 0
	}
	return true
}

// Accepted notes that the home agent has accepted the request that sent was issued for, by a reply that has been
// authenticated: what is issued after a resynchronisation stays above it, as the home agent wants (RFC 5944 §5.7.1).
func (s *SecurityAssociation) Accepted(sent Stamp) {
	src := &s.identification
	src.mu.Lock()
	defer src.mu.Unlock()
	if s.replay == Timestamps {
		src.accepted = max(src.accepted, sent.Identification)
	}
}

// ClockOffset returns what Resynchronize has found the home agent's clock to be ahead of the wall clock, 0 before.
func (s *SecurityAssociation) ClockOffset() time.Duration {
	s.identification.mu.Lock()
	defer s.identification.mu.Unlock()
	return s.identification.offset
}
