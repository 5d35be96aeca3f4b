package program

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mipvpn/cmd/miplab/internal/space"
)

func newSpace(t *testing.T) *space.Space {
	t.Helper()
	s, err := space.New("box")
	if err != nil {
		t.Skipf("needs network namespaces (root): %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestStop shows that a program that listens is ended without an error, and that what it wrote is kept.
func TestStop(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	ready := filepath.Join(filepath.Dir(log), "ready")
	p, err := Start(newSpace(t), "sleeper", log, "/bin/sh", "-c", `trap 'echo asked; exit 0' TERM; echo begun; mkfifo `+ready+`; read x < `+ready)
	if err != nil {
		t.Fatal(err)
	}
	// The fifo exists once the trap is set; opening it to write waits for the reader.
	for {
		if _, err := os.Stat(ready); err == nil || p.Err() != nil {
			break
		}
	}
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if got := p.Tail(5); !strings.HasPrefix(got, "begun") || !strings.HasSuffix(got, "asked") {
		t.Errorf("the log has %q", got)
	}
}

// TestEnded shows that a program that ends by itself is noticed, with its last words.
func TestEnded(t *testing.T) {
	p, err := Start(newSpace(t), "failing", filepath.Join(t.TempDir(), "log"), "/bin/sh", "-c", "echo the key is wrong >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), "the key is wrong") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("the end is told as %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// TestNoProgram shows that a program that is not there is an error.
func TestNoProgram(t *testing.T) {
	if _, err := Start(newSpace(t), "nothing", filepath.Join(t.TempDir(), "log"), "/nonexistent/program"); err == nil {
		t.Error("a program that is not there was started")
	}
}
