package location

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"mipvpn/mipv4/mobilenode"
	"mipvpn/tun/link"
)

// lossEachWay is the loss that DET-5 names.
const lossEachWay = 0.3

// falseClosure returns the probability that n exchanges of a request and a reply all fail.
func falseClosure(n int) float64 {
	return math.Pow(1-(1-lossEachWay)*(1-lossEachWay), float64(n))
}

// Shows: DET-5 (by arithmetic)
func TestDefaultScheduleSurvivesLoss(t *testing.T) {
	r := DefaultRetransmission
	all := r.Offsets(DefaultGrace)
	for i := 1; i < len(all); i++ {
		if gap := all[i] - all[i-1]; gap < time.Second {
			t.Errorf("requests %v and %v are closer than one second (RFC 5944 §3.6.3)", all[i-1], all[i])
		}
	}
	if want := 16; len(all) != want || len(all) > r.Count {
		t.Errorf("%d requests in the grace period, want %d of at most %d a series", len(all), want, r.Count)
	}
	// Even when every reply takes the whole ReplyLimit, these are answered before the proof expires.
	slow := r.Offsets(DefaultGrace - ReplyLimit + time.Nanosecond)
	if p := falseClosure(len(slow)); len(slow) != 14 || p >= 1e-4 {
		t.Errorf("with slow replies %d requests count: false closure with probability %.2g, want under 1e-4", len(slow), p)
	}
	if p := falseClosure(13); p < 1e-4 {
		t.Errorf("13 requests would do: %.2g", p)
	}
}

func TestOffsets(t *testing.T) {
	s := time.Second
	tests := []struct {
		name   string
		r      Retransmission
		within time.Duration
		want   []time.Duration
	}{
		{"doubling to a maximum", Retransmission{Initial: s, Factor: 2, Max: 4 * s}, 16 * s, []time.Duration{0, s, 3 * s, 7 * s, 11 * s, 15 * s}},
		{"a series begun anew", Retransmission{Initial: s, Factor: 2, Max: 4 * s, Count: 3}, 12 * s, []time.Duration{0, s, 3 * s, 7 * s, 8 * s, 10 * s}},
		{"constant", Retransmission{Initial: s, Factor: 1, Max: s}, 3 * s, []time.Duration{0, s, 2 * s}},
		{"the end is not within", Retransmission{Initial: s, Factor: 1, Max: s}, s, []time.Duration{0}},
		{"no time", DefaultRetransmission, 0, nil},
		{"zero intervals end", Retransmission{}, 3 * time.Millisecond, []time.Duration{0, time.Millisecond, 2 * time.Millisecond}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.r.Offsets(tc.within)
			if !slices.Equal(got, tc.want) {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

// Shows: DET-5 (by simulation: the detector with the registration machine it drives, on virtual time)
func TestSimulatedLossRarelyClosesTheGate(t *testing.T) {
	const cycles = 60_000
	m, err := New(config())
	if err != nil {
		t.Fatal(err)
	}
	p := newPath(t, mobilenode.Retransmission{Initial: DefaultRetransmission.Initial, Factor: float64(DefaultRetransmission.Factor),
		Max: DefaultRetransmission.Max, Count: DefaultRetransmission.Count})
	p.random = rand.New(rand.NewPCG(5, 265))
	now := link.Instant{Boot: time.Hour, Wall: time.Unix(1_700_000_000, 0)}
	if err := m.HandleEpoch(now, Attachment{Epoch: epoch, Usable: true, Address: careO}); err != nil {
		t.Fatal(err)
	}
	asked, closed, requests := 0, 0, 0
	for asked < cycles {
		for {
			e, ok := m.PollEvent()
			if !ok {
				break
			}
			switch e := e.(type) {
			case StartRegistrations:
				p.machine.Register(now)
			case Reregister:
				asked++
				p.machine.Register(now)
			case ProofLost:
				closed++
			case Inside:
				if e.Proof.SentAt() > now.Boot {
					t.Fatalf("a proof of the future: %+v at %v", e.Proof, now.Boot)
				}
			}
		}
		requests += p.exchange(now)
		next, ok := p.next(m)
		if !ok {
			t.Fatal("nothing more happens")
		}
		now = now.Add(next - now.Boot)
		p.deliver(now, m)
		p.machine.HandleTimeout(now)
		p.drain(now, m)
		m.HandleTimeout(now)
	}
	t.Logf("%d re-registrations took %d requests; %d false closures, %.1f expected", cycles, requests, closed, cycles*falseClosure(16))
	if float64(closed) > cycles*1e-4 {
		t.Errorf("%d false closures in %d cycles, at most one in 10000 is allowed", closed, cycles)
	}
	if requests < cycles*3/2 {
		t.Errorf("only %d requests for %d cycles: the path loses nothing", requests, cycles)
	}
}
