package handoff

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
)

// Virtual time is to be had in a bubble of testing/synctest alone, and that in a test alone. So simulations are the tests of a
// process of their own, which testing.Main runs: "preserved for other systems that simulate go test".

// simulationLength is the most changes that one simulated lab makes.
const simulationLength = 250

// RunSimulations makes so many changes in simulated labs (see Simulate), whose seeds are seed and the numbers that follow, several
// at once, and ends the process: with exit code 0 and the Simulated in JSON in the file, or with another code and what went wrong on
// standard output. Nothing else may have used the flags of package flag.
func RunSimulations(seed uint64, changes int, file string) {
	var mu sync.Mutex
	var total Simulated
	var left sync.WaitGroup
	var tests []testing.InternalTest
	for i, n := range Split(changes, simulationLength) {
		left.Add(1)
		tests = append(tests, testing.InternalTest{Name: fmt.Sprintf("seed %d", seed+uint64(i)), F: func(t *testing.T) {
			t.Parallel()
			defer left.Done()
			synctest.Test(t, func(t *testing.T) {
				r, err := Simulate(seed+uint64(i), n)
				if err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				total.Add(r)
			})
		}})
	}
	tests = append(tests, testing.InternalTest{Name: "result", F: func(t *testing.T) {
		t.Parallel() // behind those before, as far as there are processors; the others have ended when left has
		left.Wait()
		text, err := json.Marshal(total)
		if err == nil {
			err = os.WriteFile(file, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}})
	os.Args = []string{os.Args[0], "-test.parallel=" + strconv.Itoa(runtime.GOMAXPROCS(0)+1)}
	testing.Main(func(string, string) (bool, error) { return true, nil }, tests, nil, nil)
}

// Simulations has a process that calls RunSimulations with the file make the changes, and returns what came of them. What the
// process says goes to log.
func Simulations(process *exec.Cmd, file string, log io.Writer) (*Simulated, error) {
	process.Stdout, process.Stderr = log, log
	if err := process.Run(); err != nil {
		return nil, fmt.Errorf("handoff: simulations: %w", err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("handoff: simulations: %w", err)
	}
	s := &Simulated{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("handoff: simulations: %w", errors.Join(errors.New("the result cannot be read"), err))
	}
	return s, nil
}
