package location

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
)

// Shows: DET-5 (docs/detection.md says what the code does)
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/detection.md")
	if err != nil {
		t.Fatal(err)
	}
	plain := strings.Join(strings.Fields(string(text)), " ")
	r := DefaultRetransmission
	all, slow := r.Offsets(DefaultGrace), r.Offsets(DefaultGrace-ReplyLimit+1)
	power := func(p float64) string {
		exponent := math.Floor(math.Log10(p))
		digits := map[rune]rune{'0': '⁰', '1': '¹', '2': '²', '3': '³', '4': '⁴', '5': '⁵', '6': '⁶', '7': '⁷', '8': '⁸', '9': '⁹'}
		raised := strings.Map(func(c rune) rune { return digits[c] }, fmt.Sprint(-exponent))
		return fmt.Sprintf("%.1f·10⁻%s", p/math.Pow(10, exponent), raised)
	}
	for _, want := range []string{
		fmt.Sprintf("| `t_monitor` | %.0fs | %.0fs at least |", DefaultMonitor.Seconds(), MinMonitor.Seconds()),
		fmt.Sprintf("| `grace` | %.0fs |", DefaultGrace.Seconds()),
		fmt.Sprintf("| `retransmit_*` | %.0fs, %d, %.0fs, %d |", r.Initial.Seconds(), r.Factor, r.Max.Seconds(), r.Count),
		fmt.Sprintf("| `period` | %.0fs |", DefaultPeriod.Seconds()),
		fmt.Sprintf("| age at which a reply is no proof any more | | %.0fs | fixed |", ReplyLimit.Seconds()),
		fmt.Sprintf("| `probe`, `probe_time` | %.0fm, %.0fs |", DefaultProbe.Minutes(), DefaultProbeTime.Seconds()),
		fmt.Sprintf("%.0fs, %.0fs and so on up to | `silence_pause` | %.0fs |", firstPause.Seconds(), 2*firstPause.Seconds(), DefaultPause.Seconds()),
		fmt.Sprintf("After %.0f s (or `period`, if longer) the interface is unreachable", leastSilence.Seconds()),
		fmt.Sprintf("Requests leave %.0f, %.0f, %.0f, %.0f, ... %.0f s after T_MONITOR - N: %d of them in the grace period, %d early enough",
			all[0].Seconds(), all[1].Seconds(), all[2].Seconds(), all[3].Seconds(), all[len(all)-1].Seconds(), len(all), len(slow)),
		fmt.Sprintf("0.51^%d = %s", len(slow), power(falseClosure(len(slow)))),
		fmt.Sprintf("0.51^%d = %s", len(all), power(falseClosure(len(all)))),
		fmt.Sprintf("%s requests within `probe_time`", []string{"no", "one", "two", "three", "four"}[len(r.Offsets(DefaultProbeTime))]),
		"| `" + AlarmNoTNC.String() + "` |", "| `" + AlarmReachableOutside.String() + "` |", "| `" + AlarmNAT.String() + "` |",
		"`" + StatePaused.String() + "`",
	} {
		if !strings.Contains(plain, want) {
			t.Errorf("docs/detection.md does not say %q", want)
		}
	}
}
