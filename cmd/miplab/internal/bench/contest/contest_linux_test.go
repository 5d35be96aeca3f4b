package contest

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
	"mipvpn/cmd/miplab/internal/space"
)

func needNamespaces(t *testing.T) {
	t.Helper()
	s, err := space.New("trial")
	if err != nil {
		t.Skipf("needs root: %v", err)
	}
	s.Close()
}

func options(t *testing.T) Options {
	return Options{Tunnels: []string{bench.Kernel, bench.ModeC}, Wires: tunnel.Wires, Measures: Measures, Pairs: 1,
		Duration: 20 * time.Millisecond, Programs: tunnel.Programs{Binaries: t.TempDir()}, Dir: t.TempDir(), Log: t.Output()}
}

// TestRun shows every figure of the kernel alone on both kinds of wires, and that a tunnel whose programs are not there is told
// of and left out.
func TestRun(t *testing.T) {
	needNamespaces(t)
	var r bench.Report
	if err := Run(t.Context(), options(t), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Tunnels) != 2 || r.Tunnels[0].Missing != "" || !strings.HasPrefix(r.Tunnels[1].Missing, "not installed: not built") {
		t.Errorf("tunnels %+v", r.Tunnels)
	}
	for _, wire := range tunnel.Wires {
		var seen []string
		for _, f := range r.Figures {
			if f.Wire == wire && f.Tunnel == bench.Kernel && (f.Median > 0 || f.Quantity == bench.Large || f.Quantity == bench.Small) {
				seen = append(seen, string(f.Quantity)+" "+string(f.Direction))
			}
		}
		slices.Sort(seen)
		want := []string{"idle_rtt_seconds ", "loaded_rtt_p99_seconds down", "loaded_rtt_p99_seconds up", "loaded_rtt_seconds down", "loaded_rtt_seconds up",
			"tcp_bits_per_second down", "tcp_bits_per_second up", "udp_1300_datagrams_per_second down", "udp_1300_datagrams_per_second up",
			"udp_64_packets_per_second down", "udp_64_packets_per_second up"}
		if !slices.Equal(seen, want) {
			t.Errorf("%s: figures of %q, want %q", wire, seen, want)
		}
	}
}

// TestRunNothing shows that there must be a tunnel, and that an end of the context ends the runs.
func TestRunNothing(t *testing.T) {
	o := options(t)
	o.Tunnels = []string{bench.ModeC} // not built
	if err := Run(t.Context(), o, &bench.Report{}); err == nil {
		t.Error("no tunnel is no error")
	}
	needNamespaces(t)
	o = options(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, o, &bench.Report{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// TestSleeper shows that running on is one wake-up, and that running again after a rest is another.
func TestSleeper(t *testing.T) {
	self := traffic.Process(os.Getpid())
	cpu, err := self.CPU()
	if err != nil {
		t.Fatal(err)
	}
	s := sleeper{Standing: &tunnel.Standing{Near: self}, cpu: cpu}
	for range 3 { // this process runs all the time
		if err := s.look(); err != nil {
			t.Fatal(err)
		}
	}
	if s.wakeUps != 1 || !s.awake {
		t.Errorf("%d wake-ups, awake %v, want 1 of a process that goes on", s.wakeUps, s.awake)
	}
	s.awake = false // as after a rest
	if err := s.look(); err != nil || s.wakeUps != 2 {
		t.Errorf("%d wake-ups after a rest, %v, want 2", s.wakeUps, err)
	}
}
