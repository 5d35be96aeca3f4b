package handoff

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// fake is a bed whose changes cost what the test says.
type fake struct {
	program string
	cost    func(Place, Kind, int) Sample
	fails   Kind

	at     Place
	n      map[Kind]int
	log    *[]string
	inside bool
}

func (f *fake) Program() string  { return f.program }
func (f *fake) Can(p Place) bool { return p != Between || f.program == Mipvpn }

func (f *fake) Enter(_ context.Context, p Place) error {
	if f.inside {
		return errors.New("entered twice")
	}
	f.at, f.n, f.inside = p, map[Kind]int{}, true
	return nil
}

func (f *fake) Change(_ context.Context, k Kind) (Sample, error) {
	if k == f.fails {
		return Sample{}, errors.New("no cable")
	}
	*f.log = append(*f.log, f.program)
	f.n[k]++
	return f.cost(f.at, k, f.n[k]), nil
}

func (f *fake) Leave() error {
	f.inside = false
	return nil
}

// beds returns one bed for each program: mipvpn has a gap of n times 10 ms in its n-th change, strongSwan of n times 100.
func beds(log *[]string) (all []Bed) {
	for program, gap := range map[string]time.Duration{Mipvpn: 10 * time.Millisecond, StrongSwan: 100 * time.Millisecond} {
		all = append(all, &fake{program: program, log: log, cost: func(p Place, k Kind, n int) Sample {
			return Sample{Gap: time.Duration(n) * gap, Sent: 100, Lost: n - 1, Moved: k == MakeBeforeBreak && n%2 == 0}
		}})
	}
	return all
}

// find returns the row.
func find(t *testing.T, r *Report, p Place, k Kind, program string) Row {
	t.Helper()
	for _, row := range r.Rows {
		if row.Place == p && row.Kind == k && row.Program == program {
			return row
		}
	}
	t.Fatalf("there is no row of %s, %s, %s", p, k, program)
	return Row{}
}

// TestRun shows that the changes of the programs are interleaved, that medians and ratios of pairs are what they are, and that
// goals are judged by the worst loss and the median ratio.
func TestRun(t *testing.T) {
	var order []string
	r := NewReport(3)
	if err := Run(t.Context(), Config{Repetitions: 3, Log: io.Discard}, beds(&order), r); err != nil {
		t.Fatal(err)
	}
	r.Close(time.Second)
	for i := 0; i+1 < 18; i += 2 { // the first place
		if order[i] == order[i+1] {
			t.Fatalf("%s twice in a row: %v", order[i], order)
		}
	}
	row := find(t, r, Outside, Cut, Mipvpn)
	if row.Gap.Median != 20 || row.Gap.Most != 30 || row.Lost.Median != 1 || row.Lost.Least != 0 || row.Lost.Most != 2 || row.Sent != 300 || row.Modes != "cvc to cvc" {
		t.Errorf("%+v", row)
	}
	if row.Ratio == nil || row.Ratio.Median != 0.1 || len(row.Ratio.Values) != 3 {
		t.Errorf("ratio %+v, want 0.1", row.Ratio)
	}
	if row := find(t, r, Inside, MakeBeforeBreak, StrongSwan); row.Moved != 1 || row.Modes != "" || row.Ratio.Median != 1 {
		t.Errorf("%+v", row)
	}
	if row := find(t, r, Between, FirstCut, Mipvpn); len(row.Gap.Values) != 1 || row.Ratio != nil || row.Modes != "c to cvc" {
		t.Errorf("%+v", row)
	}
	met := map[bool]int{}
	for _, g := range r.Goals {
		if g.Kind == NewNetwork {
			t.Errorf("a goal of a change without a second interface: %+v", g)
		}
		met[g.Met]++
	}
	// Outside and inside: two kinds, each with a ratio that is met and a loss of 2 that is not; between: two losses that are not
	// met, and the first cut, which lost nothing.
	if met[true] != 5 || met[false] != 6 {
		t.Errorf("%d goals met, %d missed: %+v", met[true], met[false], r.Goals)
	}
	for _, want := range []Row{find(t, r, Between, MakeBeforeBreak, Mipvpn)} {
		if want.Modes != "cvc to c" {
			t.Errorf("%+v", want)
		}
	}
}

// TestRunSome shows that places and kinds can be chosen, and that a change that cannot be made is an error that tells which,
// after which every bed has been left.
func TestRunSome(t *testing.T) {
	var order []string
	all := beds(&order)
	r := NewReport(1)
	err := Run(t.Context(), Config{Repetitions: 1, Places: []Place{Inside}, Kinds: []Kind{NewNetwork}, Log: io.Discard}, all, r)
	if err != nil || len(r.Rows) != 2 || r.Rows[0].Place != Inside || r.Rows[0].Kind != NewNetwork {
		t.Errorf("%+v, %v", r, err)
	}
	all[1].(*fake).fails = MakeBeforeBreak
	err = Run(t.Context(), Config{Repetitions: 1, Log: io.Discard}, all, NewReport(1))
	if err == nil || !strings.Contains(err.Error(), all[1].Program()+", outside, make before break: no cable") {
		t.Errorf("error %v", err)
	}
	for _, b := range all {
		if b.(*fake).inside {
			t.Errorf("%s was not left", b.Program())
		}
	}
}

// TestReport shows the report in both forms.
func TestReport(t *testing.T) {
	var order []string
	r := NewReport(2)
	if err := Run(t.Context(), Config{Repetitions: 2, Log: io.Discard}, beds(&order), r); err != nil {
		t.Fatal(err)
	}
	r.Rows[0].Stuck = 1
	r.Missing = []Missing{{WireGuard, "not here"}}
	r.Simulated = &Simulated{}
	for range 30 {
		r.Simulated.Add(Simulated{Changes: 2, Modes: map[string]int{"cvc to c": 2}, Sent: 50, Lost: 1, LostUp: 1, Losses: []string{"seed 1, change 4"}, Virtual: 60})
	}
	r.Close(time.Minute)
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"of strongswan", "outside  interface cut", "not measured: wireguard-go: not here", "simulated: 60 changes", "30 of 1500 datagrams lost (30 on the way up)",
		"goal MISSED:  make before break: datagrams lost in 60 simulated changes: 30.00, at most 0 wanted", "goal met: inside interface cut", "came back for as long as was waited in 1 of 2", "took 1m0s"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, table.String())
		}
	}
	if n := strings.Count(table.String(), "  lost: seed 1, change 4"); n != keptLosses {
		t.Errorf("%d losses are told of, want %d", n, keptLosses)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(text, &back); err != nil || len(back.Rows) != len(r.Rows) || back.Rows[0].Gap.Median != r.Rows[0].Gap.Median || back.Simulated.Lost != 30 {
		t.Errorf("%+v, %v", back, err)
	}
}
