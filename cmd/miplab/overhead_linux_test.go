package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"testing"

	octets "mipvpn/cmd/miplab/internal/overhead"
)

// TestOverhead counts the octets of every composition on the lab's wires, with each box running the real program, and holds each
// cell of the draft's table.
// Shows: MEC-OVH (measured in namespaces, over all lengths modulo 4 and 16, both ways)
func TestOverhead(t *testing.T) {
	needRoot(t)
	t.Parallel()
	cmd := miplab(t, "overhead", "--json")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	t.Log(errOut.String())
	var r octets.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("the report: %v\n%s", err, out.String())
	}
	if code := cmd.ProcessState.ExitCode(); !r.Passed || code != 0 {
		t.Errorf("exit code %d, failures:\n%s", code, strings.Join(r.Failures, "\n"))
	}
	if want := 2 * len(octets.Compositions()); len(r.Figures) != want {
		t.Errorf("%d figures, want %d: each composition by itself and in UDP", len(r.Figures), want)
	}
	for _, c := range r.Cells {
		if c.Measured != nil && *c.Measured != c.Draft {
			t.Errorf("%s, %s: %d octets, the draft says %d", c.Row, c.Column, *c.Measured, c.Draft)
		}
		if c.Measured == nil && c.Draft != octets.NotMobile {
			t.Errorf("%s, %s: not measured", c.Row, c.Column)
		}
	}
}
