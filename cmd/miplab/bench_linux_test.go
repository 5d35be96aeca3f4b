package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
)

// TestBench goes through the whole command once with runs of a moment: every tunnel that can be started has its figures, every
// goal about them has a verdict, and the picture is drawn. Large datagrams take the way of small ones and are left out; package
// tunnel looks at the other kind of wires.
func TestBench(t *testing.T) {
	needRoot(t)
	picture := filepath.Join(t.TempDir(), "bench.svg")
	cmd := miplab(t, "bench", "--json", "--svg", picture, "--pairs", "1", "--duration", "50ms",
		"--wires", "offload", "--measures", "tcp,udp64,rtt,idle")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	var r bench.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	if r.Schema != bench.Schema {
		t.Errorf("schema %d, want %d", r.Schema, bench.Schema)
	}
	has := func(k bench.Key) bool {
		return slices.ContainsFunc(r.Figures, func(f bench.Figure) bool { return f.Key == k && f.Median >= 0 })
	}
	for _, at := range r.Tunnels {
		if at.Missing != "" {
			t.Logf("%s: %s", at.Name, at.Missing)
			continue
		}
		const wire = tunnel.Offload
		for _, way := range []bench.Direction{bench.Up, bench.Down} {
			for _, q := range []bench.Quantity{bench.Rate, bench.Small} {
				if k := (bench.Key{Tunnel: at.Name, Wire: wire, Direction: way, Quantity: q}); !has(k) {
					t.Errorf("there is no figure for %+v", k)
				}
			}
		}
		if k := (bench.Key{Tunnel: at.Name, Wire: wire, Quantity: bench.IdleRTT}); !has(k) {
			t.Errorf("there is no figure for %+v", k)
		}
	}
	for _, g := range bench.Goals {
		here := func(name string) bool {
			return name == "" || slices.ContainsFunc(r.Tunnels, func(t bench.Tunnel) bool { return t.Name == name && t.Missing == "" })
		}
		if g.Quantity == bench.Large || g.Quantity == bench.Small {
			continue // not measured; 0 where the machine is so busy that a moment's datagrams are lost
		}
		if here(g.Tunnel) && here(g.Reference) && !slices.ContainsFunc(r.Verdicts, func(v bench.Verdict) bool { return v.Goal == g }) {
			t.Errorf("nothing is said of the goal %+v", g)
		}
	}
	if b, err := os.ReadFile(picture); err != nil || !bytes.Contains(b, []byte("<svg")) {
		t.Errorf("the picture: %d octets, %v", len(b), err)
	}
}

// TestBenchUsage shows that a wrong flag is an error of usage, with what would be right.
func TestBenchUsage(t *testing.T) {
	for _, args := range [][]string{
		{"bench", "--tunnels", "X"}, {"bench", "--wires", "X"}, {"bench", "--measures", "X"}, {"bench", "--pairs", "0"},
		{"bench", "--duration", "1ms"}, {"bench", "--encapsulation", "X"},
	} {
		var out, errOut bytes.Buffer
		if code := run(t.Context(), args, &out, &errOut); code != exitUsage {
			t.Errorf("%v: exit code %d and %q, want %d", args, code, errOut.String(), exitUsage)
		}
	}
}
