package contest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"mipvpn/cmd/miplab/internal/bench"
	"mipvpn/cmd/miplab/internal/bench/traffic"
	"mipvpn/cmd/miplab/internal/bench/tunnel"
)

// profile has perf(1) look at the near end while a flow runs, each way: a file of data for perf, and a report as text.
func (c *contest) profile(ctx context.Context, wire string, t *tunnel.Standing) error {
	if t.Near == 0 {
		return nil
	}
	perf, err := exec.LookPath("perf")
	if err != nil {
		c.say("%s %s: no profile: perf is not installed", wire, t.Name)
		return nil
	}
	for _, way := range []bench.Direction{bench.Up, bench.Down} {
		c.say("%s %s %s: a profile", wire, t.Name, way)
		f, err := traffic.OpenFlow(ctx, t.Path, way == bench.Up)
		if err != nil {
			return err
		}
		data := filepath.Join(c.Profile, fmt.Sprintf("%s-%s-%s.data", wire, t.Name, way))
		record := exec.CommandContext(ctx, perf, "record", "-q", "-F", "999", "-g", "-p", strconv.Itoa(int(t.Near)), "-o", data,
			"--", "sleep", strconv.FormatFloat(c.Duration.Seconds(), 'f', 3, 64))
		said, err := record.CombinedOutput()
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("contest: perf record: %w: %s", err, bytes.TrimSpace(said))
		}
		report := exec.CommandContext(ctx, perf, "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.3")
		text, err := report.Output()
		if err != nil {
			return fmt.Errorf("contest: perf report: %w", err)
		}
		if err := os.WriteFile(data[:len(data)-len(".data")]+".txt", text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
