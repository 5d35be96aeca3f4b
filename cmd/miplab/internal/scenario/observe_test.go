package scenario

import (
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestObserve shows that a scenario that is observed tells each step from the cable to its end, in the order of time, with samples
// between in which its counts grow, and a leak is counted.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []netip.Addr{netip.MustParseAddr("10.0.8.100")}
		s := &stage{modes: map[string]string{"office": "c", "office-fa": "f", "cafe": "cvc", "hotspot": "fvc"}, leak: "hotspot"}
		s.out.Secret, s.in.Secret = secret, secret
		var told []Moment
		r, err := Scenario{Steps: Tour, Dwell: time.Second, Patience: 10 * time.Second, Log: io.Discard, Observe: func(m Moment) { told = append(told, m) }}.Run(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		counts := map[MomentKind]int{}
		var before Moment
		var last Sample
		modes := 0
		for _, m := range told {
			if m.At < before.At {
				t.Errorf("%s at %vs is told behind %s at %vs", m.Kind, m.At, before.Kind, before.At)
			}
			before = m
			counts[m.Kind]++
			switch m.Kind {
			case MomentSample:
				if m.Sample.TCP < last.TCP || m.Sample.Sent < last.Sent || m.Sample.Back < last.Back || m.Sample.Leaks < last.Leaks {
					t.Errorf("at %vs a count has gone down: %+v after %+v", m.At, *m.Sample, last)
				}
				last = *m.Sample
			case MomentStep:
				if *m.Cable != (Cable{Tour[counts[m.Kind]-1].Interface, Tour[counts[m.Kind]-1].Network}) {
					t.Errorf("step %d with the cable %+v", counts[m.Kind], *m.Cable)
				}
			case MomentResumed:
				if g := m.Gap; g.Touched > g.Offered || g.Offered > g.Resumed || g.First != (counts[m.Kind] == 1) {
					t.Errorf("gap %d is %+v", counts[m.Kind], *g)
				}
			case MomentClient:
				modes++
			}
		}
		if counts[MomentStep] != len(Tour) || counts[MomentResumed] != len(Tour) || counts[MomentChange] != len(Tour) || modes < len(Tour)-2 || counts[MomentLine] == 0 {
			t.Errorf("%v moments of %d steps", counts, len(Tour))
		}
		if last.Leaks == 0 || last.Leaks != r.PlaintextFrames || last.TCP == 0 || last.Back == 0 || last.Sent < last.Back {
			t.Errorf("the last sample is %+v, the report has %d plaintext frames", last, r.PlaintextFrames)
		}
	})
}
