package location

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// hinted begins an epoch with a hint.
func hinted(t *testing.T, h Hint, change ...func(*Config)) *bench {
	t.Helper()
	b := detecting(t, change...)
	if err := b.m.HandleHint(b.now, epoch, h); err != nil {
		t.Fatal(err)
	}
	b.want()
	return b
}

// Shows: DET-11 (a hint of outside shortens the wait before IKE; the i-HA is asked for the whole period and wins)
func TestHintOfOutside(t *testing.T) {
	b := hinted(t, HintOutside)
	b.external()
	b.want(TentativelyOutside{epoch}, Outside{Epoch: epoch, Trying: true})
	b.state(StateOutside)
	b.unanswered()
	b.want(StartRegistrations{Epoch: epoch, Internal: true})
	b.advance(DefaultPeriod)
	b.want(GiveUpInternal{epoch})
	b.unanswered()
	b.want(ProbeUnanswered{epoch}) // the i-HA is not asked again
	b.advance(DefaultProbe)
	b.want(ProbeInternal{epoch})

	b = hinted(t, HintOutside)
	b.external()
	b.events()
	if err := b.m.internalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
	p, _ := b.m.Proof()
	b.want(Inside{Proof: p}, DeregisterExternal{epoch})
	b.advance(DefaultPeriod)
	b.want()

	// It may come when the x-HA has answered.
	b = detecting(t)
	b.external()
	b.events()
	if err := b.m.HandleHint(b.now, epoch, HintOutside); err != nil {
		t.Fatal(err)
	}
	b.want(Outside{Epoch: epoch, Trying: true})

	// Nobody asks an i-HA that must not be asked.
	b = detecting(t, func(c *Config) { c.ExternalHomeAgent = iHA })
	if err := b.m.HandleHint(b.now, epoch, HintOutside); err != nil {
		t.Fatal(err)
	}
	b.external2(t)
	b.want(TentativelyOutside{epoch}, Outside{Epoch: epoch})

	if err := b.m.HandleHint(b.now, epoch+1, HintOutside); !errors.Is(err, ErrStaleEpoch) {
		t.Errorf("a hint for another epoch: %v", err)
	}
}

// external2 is external where both home agents have one address.
func (b *bench) external2(t *testing.T) {
	t.Helper()
	if err := b.m.externalEvidence(b.now, b.evidence()); err != nil {
		t.Fatal(err)
	}
}

// Shows: DET-11 (whatever the hints say, the proofs and the losses of proof are the same)
func TestHintsAreNoProofs(t *testing.T) {
	type record struct {
		proof  Proof
		losses int
	}
	run := func(seed uint64, hint func(*rand.Rand) Hint) []record {
		r, h := rand.New(rand.NewPCG(seed, 11)), rand.New(rand.NewPCG(seed, 12))
		b := detecting(t)
		var out []record
		losses := 0
		for range 200 {
			b.now = b.now.Add(time.Duration(r.Int64N(int64(10 * time.Second))))
			if x := hint(h); x != HintNone {
				_ = b.m.HandleHint(b.now, b.m.Epoch(), x)
			}
			e := b.evidence()
			e.sentAt -= time.Duration(r.Int64N(int64(7 * time.Second)))
			switch r.IntN(6) {
			case 0:
				_ = b.m.HandleEpoch(b.now, Attachment{Epoch: b.m.Epoch() + uint64(r.IntN(2)), Usable: r.IntN(4) > 0, Address: careO})
			case 1:
				_ = b.m.internalEvidence(b.now, e)
			case 2:
				e.trustedNetwork = false
				_ = b.m.internalEvidence(b.now, e)
			case 3, 4:
				e.agent = xHA
				_ = b.m.externalEvidence(b.now, e)
			case 5:
				_ = b.m.HandleInternalUnanswered(b.now, b.m.Epoch())
			}
			b.m.HandleTimeout(b.now)
			for _, e := range b.events() {
				if _, lost := e.(ProofLost); lost {
					losses++
				}
			}
			p, _ := b.m.Proof()
			out = append(out, record{p, losses})
		}
		return out
	}
	proofs := 0
	for seed := range uint64(200) {
		plain := run(seed, func(*rand.Rand) Hint { return HintNone })
		lied := run(seed, func(r *rand.Rand) Hint { return Hint(r.IntN(3)) })
		if !reflect.DeepEqual(plain, lied) {
			t.Fatalf("seed %d: hints change what is proven", seed)
		}
		if plain[len(plain)-1].losses > 0 {
			proofs++
		}
	}
	if proofs < 100 {
		t.Errorf("proofs in %d of 200 runs only", proofs)
	}
}
