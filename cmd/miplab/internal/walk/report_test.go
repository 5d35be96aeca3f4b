package walk

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"mipvpn/cmd/miplab/internal/judge"
	"mipvpn/cmd/miplab/internal/verdict"
)

// TestReport shows that a report says how many transitions there were, of which kinds, and what leaked, in both forms.
func TestReport(t *testing.T) {
	r := &Report{
		Schema: Schema, Seed: 7, Transitions: 3, Kinds: map[string]*Row{"kill -9": {}, "flapping": {}}, Modes: map[string]int{"c": 3},
		Verdict: verdict.Verdict{Failures: []string{"two frames"}}, PlaintextFrames: 2, Leaks: []string{"wire cafe: a canary"}, External: map[string]judge.Tally{"cafe": {Frames: 9, Leaks: 2}},
		Applications: map[string]*Count{"ICMP": {Sent: 5, Refused: 1, Answered: 3}},
	}
	r.Kinds["kill -9"].add(time.Second)
	r.Kinds["kill -9"].add(3 * time.Second)
	r.Kinds["flapping"].add(time.Second)
	if k := r.Kinds["kill -9"]; k.Count != 2 || k.Mean != 2000 || k.Longest != 3000 {
		t.Errorf("%+v", k)
	}
	var table, document strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 transitions in namespaces, seed 7", "\n2 LEAKS; ", "LEAK: wire cafe: a canary", "FAILED: two frames", "ICMP: 5 sent, 1 refused by the host, 3 answered", "FAILED after"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	if err := verdict.WriteJSON(&document, r); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal([]byte(document.String()), &back); err != nil || back.Transitions != 3 || back.PlaintextFrames != 2 || back.Kinds["kill -9"].Longest != 3000 {
		t.Errorf("%+v, %v", back, err)
	}
}
