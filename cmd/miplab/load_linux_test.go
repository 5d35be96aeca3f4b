package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mipvpn/cmd/miplab/internal/load"
)

// TestLoad moves the laptop once through all modes under full load, in a build that poisons released buffers: every octet that
// arrives is the one that was sent, and datagrams overtake each other only where the path changes.
func TestLoad(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-tags", "packetdebug", "-o", dir+"/", "./cmd/miplab", "./cmd/mipagent", "./cmd/mipvpn")
	build.Dir = "../.."
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "miplab"), "soak", "--load", "--json", "--transitions", "4", "--megabytes", "2")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var r load.Report
	if jsonErr := json.Unmarshal(out.Bytes(), &r); jsonErr != nil {
		t.Fatalf("%v, %v\n%s", err, jsonErr, errOut.String())
	}
	if err != nil || !r.Passed || len(r.Modes) != 4 || r.Transitions != 4 {
		t.Errorf("%v, modes %v, %d transitions, failures:\n%s\nremarks:\n%s\n%s", err, r.Modes, r.Transitions, strings.Join(r.Failures, "\n"), strings.Join(r.Remarks, "\n"), errOut.String())
	}
	t.Logf("TCP up %+v, down %+v; datagrams up %+v, down %+v", r.Up, r.Down, r.DatagramsUp, r.DatagramsDown)
}
