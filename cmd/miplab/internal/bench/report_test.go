package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mipvpn/cmd/miplab/internal/verdict"
)

// samples are two pairs of c beside W and N, and memory.
func samples() []Sample {
	s := func(tunnel string, q Quantity, pair int, group string, v float64) Sample {
		return Sample{Tunnel: tunnel, Wire: "offload", Direction: Up, Quantity: q, Pair: pair, Group: group, Value: v}
	}
	memory := s(ModeC, NearRSS, 0, "", 50*MiB)
	memory.Direction = None
	return []Sample{
		s(Reference, Rate, 0, ModeC, 1e9), s(ModeC, Rate, 0, ModeC, 3e9), s(Null, Rate, 0, ModeC, 6e9),
		s(Reference, Rate, 1, ModeC, 2e9), s(ModeC, Rate, 1, ModeC, 4e9), s(Null, Rate, 1, ModeC, 8e9),
		s(Reference, Rate, 1, ModeVC, 100e9), // of another group: not what c is compared with
		s(Reference, NearCPU, 0, ModeC, 3), s(ModeC, NearCPU, 0, ModeC, 1.5), s(Null, NearCPU, 0, ModeC, 1.4),
		memory,
	}
}

func filled() *Report {
	r := &Report{Schema: Schema, Cores: 2, System: "a <system>", Pairs: 2, Seconds: 1,
		Tunnels: []Tunnel{{Name: Reference, Title: "wireguard-go"}, {Name: StrongSwan, Title: "strongSwan", Missing: "not installed: x"},
			{Name: Null, Title: "null"}, {Name: ModeC, Title: "mode c"}}}
	r.Fill(samples())
	return r
}

// TestFill shows that ratios are those of the same pair and group, and what the goals make of them.
func TestFill(t *testing.T) {
	r := filled()
	i := slices.IndexFunc(r.Ratios, func(x Ratio) bool { return x.Tunnel == ModeC && x.Quantity == Rate && x.Reference == Reference })
	if i < 0 || !slices.Equal(r.Ratios[i].Values, []float64{3, 2}) || r.Ratios[i].Median != 2.5 {
		t.Errorf("ratios %+v, want 3 and 2", r.Ratios)
	}
	met := map[Goal]bool{}
	for _, v := range r.Verdicts {
		met[v.Goal] = v.Met
	}
	want := map[Goal]bool{
		{ModeC, NearCPU, Reference, 0.4, 0}: false, // 0.5
		{ModeC, NearCPU, Null, 1.25, 0}:     true,  // 1.07
		{ModeC, Rate, Reference, 0, 2.5}:    true,  // 2.5
		{ModeC, NearRSS, "", 40 * MiB, 0}:   false, // 50 MiB
	}
	if !reflect.DeepEqual(met, want) {
		t.Errorf("verdicts %v, want %v", met, want)
	}
	for _, f := range r.Figures {
		if f.Tunnel == Reference && f.Quantity == Rate && f.Most != 100e9 {
			t.Errorf("the reference's figure %+v is not of all its runs", f)
		}
	}
}

// TestMemoryCountsWithTheMost shows that one run with too much memory misses the goal.
func TestMemoryCountsWithTheMost(t *testing.T) {
	var r Report
	for i, v := range []float64{10 * MiB, 10 * MiB, 41 * MiB} {
		r.Fill(append(samples()[:0], Sample{Tunnel: ModeVC, Wire: "frames", Quantity: NearRSS, Pair: i, Value: v}))
		if want := v <= 40*MiB; len(r.Verdicts) != 1 || r.Verdicts[0].Met != want {
			t.Errorf("%v octets: %+v, want met %v", v, r.Verdicts, want)
		}
	}
}

// TestJSON shows that the document is read back as it was.
func TestJSON(t *testing.T) {
	r := filled()
	r.Failures = []string{"a run"}
	var b bytes.Buffer
	if err := verdict.WriteJSON(&b, r); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(b.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*r, back) {
		t.Errorf("read back %+v, want %+v", back, *r)
	}
	for _, want := range []string{`"schema": 2`, `"at_most": 0.4`, `"near_cpu_seconds_per_gb"`, `"met": false`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the document has no %s:\n%s", want, b.String())
		}
	}
}

// TestTable shows what a person reads: verdicts, medians, and what is missing.
func TestTable(t *testing.T) {
	r := filled()
	r.Failures = []string{"a run"}
	var b bytes.Buffer
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{
		{"c", "CPU s/GB, near", "offload", "up", "0.50", "<= 0.40 W", "MISSED"},
		{"c", "one TCP flow", "2.50", "2.00", "3.00", ">= 2.50 W", "met"},
		{"c", "near RSS MiB", "50.0", "<= 40.0", "MISSED"},
		{"N", "7000", "1.40"},
		{"L (strongSwan): not installed: x"},
		{"FAILED: a run"},
		{"2 pairs", "2 cores"},
	} {
		found := slices.ContainsFunc(strings.Split(b.String(), "\n"), func(line string) bool {
			return !slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(line, part) })
		})
		if !found {
			t.Errorf("no line has %q:\n%s", want, b.String())
		}
	}
}

// TestSVG shows that the picture is well formed and has a bar for each ratio with a goal, in its colour.
func TestSVG(t *testing.T) {
	r := filled()
	d := xml.NewDecoder(bytes.NewReader(r.SVG()))
	colours := map[string]int{}
	var text strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			for _, a := range e.Attr {
				if e.Name.Local == "rect" && a.Name.Local == "fill" {
					colours[a.Value]++
				}
			}
		case xml.CharData:
			text.Write(e)
		}
	}
	if want := (map[string]int{"#ffffff": 1, "#2e7d32": 2, "#c62828": 1}); !reflect.DeepEqual(colours, want) {
		t.Errorf("rectangles %v, want %v", colours, want)
	}
	for _, want := range []string{"c CPU s/GB, near, up", "0.50 (0.50 to 0.50), ≤ 0.4 W", "a <system>"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the picture does not say %q:\n%s", want, text.String())
		}
	}
	if empty := (&Report{}).SVG(); xml.Unmarshal(empty, new(struct{})) != nil {
		t.Errorf("the picture of nothing: %s", empty)
	}
}
