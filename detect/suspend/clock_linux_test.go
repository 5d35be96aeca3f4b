package suspend

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// script is a timer that is read as often as it has errors; nil is an expiry.
type script struct {
	results []error
	steps   []string
}

func (s *script) Read(p []byte) (int, error) {
	s.steps = append(s.steps, "read")
	err := s.results[0]
	s.results = s.results[1:]
	if err != nil {
		return 0, &os.PathError{Op: "read", Path: "timer", Err: err}
	}
	return len(p), nil
}

// Shows: HST-6 (each time that the clock was set or the system resumed is told, with the timer armed before the next wait)
func TestClockIsSet(t *testing.T) {
	s := &script{results: []error{unix.ECANCELED, nil, unix.ECANCELED, os.ErrClosed}}
	note := func(what string) { s.steps = append(s.steps, what) }
	err := cancellations(s, func() error { note("arm"); return nil }, func() { note("set") })
	if !errors.Is(err, os.ErrClosed) {
		t.Errorf("ended with %v, want %v", err, os.ErrClosed)
	}
	want := []string{"arm", "read", "set", "arm", "read", "set", "arm", "read", "set", "arm", "read"}
	if !slices.Equal(s.steps, want) {
		t.Errorf("did %q, want %q", s.steps, want)
	}
}

// The clock of the machine that runs the tests is not set; that the kernel takes the timer and lets go of it is shown.
func TestClockTimerOfTheKernel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- followClock(ctx, func() {}) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v, want %v", err, context.Canceled)
	}
}
