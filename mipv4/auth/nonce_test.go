package auth

import (
	"errors"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"mipvpn/mipv4/wire"
	"mipvpn/tun/link"
)

func nonceAssociation(t *testing.T, key string) *SecurityAssociation {
	t.Helper()
	s, err := New(Parameters{SPI: 256, Key: Key(key), ReplayProtection: Nonces})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReplayProtectionNames(t *testing.T) {
	for _, p := range []ReplayProtection{Timestamps, Nonces} {
		if q, err := ParseReplayProtection(p.String()); err != nil || q != p {
			t.Errorf("%v: parsed as %v, %v", p, q, err)
		}
	}
	if _, err := ParseReplayProtection("nonce"); err == nil {
		t.Error("an unknown name was taken")
	}
	if _, err := New(Parameters{SPI: 256, Key: Key("k"), ReplayProtection: numReplayProtections}); !errors.Is(err, ErrParameters) {
		t.Errorf("an unknown style: %v", err)
	}
}

// The mobile node's end: the nonce of the last reply in the high half, a low half that is new each time.
//
// Shows: MIP-3 (nonces)
func TestNonceIsEchoed(t *testing.T) {
	s, random, now := nonceAssociation(t, "key"), mathrand.NewChaCha8([32]byte{}), link.Instant{}
	issue := func() Stamp {
		t.Helper()
		stamp, err := s.NextIdentification(now, random)
		if err != nil {
			t.Fatal(err)
		}
		return stamp
	}
	a := issue()
	b := issue()
	if a.Identification.High() != b.Identification.High() || a.Identification.Low() == b.Identification.Low() {
		t.Errorf("before any reply: %v and %v", a.Identification, b.Identification)
	}
	if !s.Repeatable(b) {
		t.Error("a request with the known nonce cannot be repeated")
	}
	s.Learn(b, WithNonce(b.Identification, 0xcafe))
	s.Learn(a, WithNonce(a.Identification, 0xbad)) // an older request's reply, overtaken
	if s.Repeatable(b) {
		t.Error("a request with a used nonce can be repeated")
	}
	if c := issue(); c.Identification.High() != 0xcafe {
		t.Errorf("after the reply: %v", c.Identification)
	}
	if s.Resynchronize(now, b, 1) || s.ClockOffset() != 0 {
		t.Error("nonces set the clock")
	}
	timestamps, err := New(Parameters{SPI: 256, Key: Key("key")})
	if err != nil {
		t.Fatal(err)
	}
	if stamp, err := timestamps.NextIdentification(now, random); err != nil || timestamps.Repeatable(stamp) {
		t.Errorf("a timestamp can be repeated; %v", err)
	}
}

// The home agent's end: no nonce comes twice, the counter never stands still and never is 0, and it follows the clock so that nothing
// need be remembered.
//
// Shows: MIP-3 (nonces)
func TestNoncesNeverRepeat(t *testing.T) {
	s, other := nonceAssociation(t, "key"), nonceAssociation(t, "another key")
	at := func(sec int64) link.Instant { return link.Instant{Wall: time.Unix(sec, 0)} }
	seen, counter, same := make(map[uint32]bool), uint32(0), 0
	for i := range 20000 {
		next := NextNonceCounter(counter, at(1_800_000_000+int64(i/10)))
		if next <= counter {
			t.Fatalf("counter %d behind %d", next, counter)
		}
		counter = next
		nonce := s.Nonce(counter)
		if seen[nonce] {
			t.Fatalf("nonce %08x came twice", nonce)
		}
		seen[nonce] = true
		if nonce == other.Nonce(counter) {
			same++
		}
	}
	if same > 1 {
		t.Errorf("%d nonces do not depend on the key", same)
	}
	if after := NextNonceCounter(0, at(1_800_100_000)); after <= counter {
		t.Errorf("after a restart: counter %d, %d was reached", after, counter)
	}
	if c := NextNonceCounter(0xffffffff, at(1<<32-1)); c != 1 {
		t.Errorf("behind the last counter: %d", c)
	}
	if c := NextNonceCounter(0, at(-5)); c != 1 {
		t.Errorf("before 1970: %d", c)
	}
	if id := WithNonce(0x1122334455667788, 0xaabbccdd); id != wire.Identification(0xaabbccdd55667788) {
		t.Errorf("reply: %v", id)
	}
}
