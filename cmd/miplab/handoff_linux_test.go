package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"mipvpn/cmd/miplab/internal/handoff"
	"mipvpn/ipsec/interop/charon"
)

// benchHandoff runs `miplab bench --handoff` and returns the report of its document.
func benchHandoff(t *testing.T, args ...string) handoff.Report {
	t.Helper()
	cmd := miplab(t, append([]string{"bench", "--handoff", "--json"}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	t.Log(errOut.String())
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Schema  int
		Handoff handoff.Report
	}
	if err := json.Unmarshal(out.Bytes(), &document); err != nil || document.Schema == 0 {
		t.Fatalf("the document: %v\n%s", err, out.String())
	}
	return document.Handoff
}

// TestBenchHandoff shows each kind of change once with each program, in namespaces with the real programs: after each of them
// traffic flows again, and each program moves to the preferred interface before the other one goes.
func TestBenchHandoff(t *testing.T) {
	needRoot(t)
	t.Parallel()
	r := benchHandoff(t, "--handoffs", "1", "--simulated", "0", "--places", "outside")
	programs := 3
	if err := charon.Available(); err != nil {
		t.Log(err)
		if programs--; len(r.Missing) != 1 || r.Missing[0].Program != handoff.StrongSwan {
			t.Errorf("missing: %+v", r.Missing)
		}
	}
	if len(r.Rows) != programs*len(handoff.Kinds) {
		t.Errorf("%d rows, want %d of each of %d programs", len(r.Rows), len(handoff.Kinds), programs)
	}
	for _, row := range r.Rows {
		if row.Stuck != 0 || row.Sent == 0 || row.Gap.Least <= 0 {
			t.Errorf("%+v", row)
		}
		if (row.Kind == handoff.MakeBeforeBreak) != (row.Moved == 1) {
			t.Errorf("%s, %s: moved before the first interface went: %d", row.Program, row.Kind, row.Moved)
		}
		if charon.Available() == nil && row.Ratio == nil {
			t.Errorf("%s, %s: no ratio to %s", row.Program, row.Kind, r.Reference)
		}
	}
}

// TestBenchHandoffSimulated shows that simulated changes are made in virtual time by the built program, and that they lose
// nothing.
//
// Shows: MOD-prefer, MOD-keep
func TestBenchHandoffSimulated(t *testing.T) {
	t.Parallel()
	r := benchHandoff(t, "--handoffs", "0", "--simulated", "60")
	if s := r.Simulated; s == nil || s.Changes != 60 || s.Lost != 0 || s.Virtual < 60 {
		t.Errorf("%+v", s)
	}
	if len(r.Goals) != 1 || !r.Goals[0].Met {
		t.Errorf("goals %+v", r.Goals)
	}
}
