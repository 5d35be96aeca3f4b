package traffic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is the number of a process that is observed.
type Process int

// cpuClock is the kind of clock of a process's user and system time in a clock's number (clock_getcpuclockid(3)).
const cpuClock = 2

// CPU returns the user and system time that all threads of the process have taken, those that have ended too.
func (p Process) CPU() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^int(p)<<3|cpuClock), &t); err != nil {
		return 0, fmt.Errorf("traffic: processor time of process %d: %w", p, err)
	}
	return time.Duration(t.Nano()), nil
}

// ResetPeak makes PeakRSS begin anew (clear_refs in proc(5)).
func (p Process) ResetPeak() error {
	return os.WriteFile(p.file("clear_refs"), []byte("5"), 0)
}

// PeakRSS returns the greatest resident memory in octets since ResetPeak.
func (p Process) PeakRSS() (uint64, error) {
	b, err := os.ReadFile(p.file("status"))
	if err != nil {
		return 0, err
	}
	kib, err := number(b, "VmHWM")
	if err != nil {
		return 0, fmt.Errorf("traffic: process %d: %w", p, err)
	}
	return kib << 10, nil
}

// Switches returns the context switches of all threads of the process, those of their own will and those not.
func (p Process) Switches() (uint64, error) {
	tasks, err := filepath.Glob(p.file("task/*/status"))
	if err != nil {
		return 0, err
	}
	if len(tasks) == 0 {
		return 0, fmt.Errorf("traffic: there is no process %d", p)
	}
	var sum uint64
	for _, t := range tasks {
		b, err := os.ReadFile(t)
		if os.IsNotExist(err) || errors.Is(err, unix.ESRCH) {
			continue // a thread that has ended
		}
		if err != nil {
			return 0, err
		}
		for _, key := range []string{"voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"} {
			n, err := number(b, key)
			if err != nil {
				return 0, fmt.Errorf("traffic: %s: %w", t, err)
			}
			sum += n
		}
	}
	return sum, nil
}

func (p Process) file(name string) string { return fmt.Sprintf("/proc/%d/%s", p, name) }

// number reads a number of a status file (proc(5)).
func number(status []byte, key string) (uint64, error) {
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			if fields := strings.Fields(value); len(fields) > 0 {
				return strconv.ParseUint(fields[0], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("expected a number behind %s", key)
}
