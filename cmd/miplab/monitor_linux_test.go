package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// seen is what a program has written so far.
type seen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

// last returns the last picture that a live view has drawn.
func (s *seen) last() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.text.String()
	return all[max(0, strings.LastIndex(all, "\x1b[H")):]
}

// watchTheMonitor looks at the live view of the laptop in the lab, on a pseudo terminal that script(1) makes, while the laptop is moved
// from outside to eth1 inside, and ends it by its key.
func watchTheMonitor(t *testing.T, dir string, move func()) {
	t.Helper()
	script, err := exec.LookPath("script")
	if err != nil {
		t.Logf("the live view is not looked at: %v", err)
		return
	}
	lab := miplab(t, "exec", "--dir", dir, "laptop", "--", "mipvpn", "monitor")
	view := exec.CommandContext(t.Context(), script, "-qec", strings.Join(lab.Args, " "), filepath.Join(t.TempDir(), "typescript"))
	var out seen
	view.Dir, view.Stdout, view.Stderr, view.Env = lab.Dir, &out, &out, append(view.Environ(), "NO_COLOR=1", "TERM=xterm")
	keys, err := view.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := view.Start(); err != nil {
		t.Fatal(err)
	}
	shows := func(words ...string) {
		t.Helper()
		deadline := time.Now().Add(time.Minute)
		for len(words) > 0 {
			if strings.Contains(out.last(), words[0]) {
				words = words[1:]
				continue
			}
			if time.Now().After(deadline) {
				t.Errorf("the live view does not show %q:\n%s", words[0], out.last())
				return
			}
			<-time.After(20 * time.Millisecond)
		}
	}
	shows("CONNECTED", "on eth0", "outside: nothing leaves without ESP", "esp-in-udp", "q ends")
	move()
	shows("mode c on eth1", "inside █", "i-mip")
	if _, err := keys.Write([]byte("q")); err != nil {
		t.Error(err)
	}
	if err := view.Wait(); err != nil {
		t.Errorf("the live view ended with %v:\n%s", err, out.last())
	}
}
