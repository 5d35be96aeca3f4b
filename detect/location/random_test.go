package location

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// Shows: DET-2, DET-3, DET-4 (random inputs: there is a proof exactly while a reply that is one is less than T_MONITOR old)
func TestRandomInputsKeepTheRules(t *testing.T) {
	for seed := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := detecting(t)
		for range 200 {
			b.now = b.now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
			var sentAt time.Duration // of the request of a proof that this step gives
			switch r.IntN(8) {
			case 0:
				_ = b.m.HandleEpoch(b.now, Attachment{Epoch: b.m.Epoch() + uint64(r.IntN(2)), Usable: r.IntN(4) > 0, Address: careO})
			case 1, 2, 3:
				e := b.evidence()
				age := time.Duration(r.Int64N(int64(7 * time.Second)))
				e.sentAt -= age
				good := age <= ReplyLimit && b.m.State() != StateIdle
				if r.IntN(2) == 0 {
					good = false
					[]func(){
						func() { e.iface++ }, func() { e.epoch-- }, func() { e.direct = false }, func() { e.agent = xHA },
						func() { e.code = 131 }, func() { e.strongKey = false }, func() { e.trustedNetwork = false },
						func() { e.sentAt -= time.Minute },
					}[r.IntN(8)]()
				}
				err := b.m.internalEvidence(b.now, e)
				if (err == nil) != good {
					t.Fatalf("seed %d: evidence %+v in state %v: %v", seed, e, b.m.State(), err)
				}
				if good {
					sentAt = e.sentAt
				}
			case 4:
				e := b.evidence()
				e.agent, e.lifetime = xHA, time.Duration(r.IntN(2))*time.Hour
				_ = b.m.externalEvidence(b.now, e)
			case 5:
				_ = b.m.HandleInternalUnanswered(b.now, b.m.Epoch())
			case 6:
				_ = b.m.HandleExternalUnanswered(b.now, b.m.Epoch())
			case 7:
				_ = b.m.HandleInternalRefusal(b.now, b.m.Epoch(), "128")
			}
			b.m.HandleTimeout(b.now)
			p, proven := b.m.Proof()
			if proven != (b.m.State() == StateInside) {
				t.Fatalf("seed %d: state %v with proof %+v", seed, b.m.State(), p)
			}
			if proven && (!p.Live(b.now.Boot) || p.Epoch() != b.m.Epoch() || p.Interface() != iface || p.Expires()-p.SentAt() != DefaultMonitor) {
				t.Fatalf("seed %d: proof %+v at %v", seed, p, b.now.Boot)
			}
			if sentAt != 0 && (!proven || p.SentAt() < sentAt) {
				t.Fatalf("seed %d: a proof sent at %v was lost: %+v", seed, sentAt, p)
			}
			for _, e := range b.events() {
				if in, ok := e.(Inside); ok && (sentAt == 0 || in.Proof.SentAt() != sentAt) {
					t.Fatalf("seed %d: inside without evidence: %+v", seed, in)
				}
			}
			at, armed := b.m.Deadline()
			if armed && at <= b.now.Boot || proven && (!armed || at > p.Expires()) {
				t.Fatalf("seed %d: deadline %v %v at %v in state %v", seed, at, armed, b.now.Boot, b.m.State())
			}
		}
	}
}

func FuzzInternalEvidence(f *testing.F) {
	f.Add(iface, uint64(epoch), true, uint32(0x0a00010a), uint8(0), int64(0), true, true)
	f.Add(iface, uint64(epoch), true, uint32(0x0a00010a), uint8(1), int64(ReplyLimit), true, true)
	f.Add(4, uint64(epoch), true, uint32(0x0a00010a), uint8(0), int64(-1), true, true)
	f.Add(iface, uint64(0), false, uint32(0), uint8(133), int64(1)<<62, false, false)
	f.Fuzz(func(t *testing.T, i int, n uint64, direct bool, agent uint32, code uint8, age int64, tnc, strong bool) {
		b := detecting(t)
		a := netip.AddrFrom4([4]byte{byte(agent >> 24), byte(agent >> 16), byte(agent >> 8), byte(agent)})
		e := evidence{iface: i, epoch: n, direct: direct, agent: a, careOf: careO, code: code, sentAt: b.now.Boot - time.Duration(age),
			receivedAt: b.now.Boot, trustedNetwork: tnc, strongKey: strong, lifetime: time.Hour}
		err := b.m.internalEvidence(b.now, e)
		good := i == iface && n == epoch && direct && a == iHA && code <= 1 && age >= 0 && age <= int64(ReplyLimit) && tnc && strong
		if _, proven := b.m.Proof(); proven != good || (err == nil) != good {
			t.Errorf("%+v: proof %v, error %v, want %v", e, proven, err, good)
		}
	})
}
