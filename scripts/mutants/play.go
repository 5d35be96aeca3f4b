package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// run is a way to play a build.
type run struct {
	// pkg and test name tests of one package; empty for miplab's tour from an office with a foreign agent to a hotspot.
	pkg, test string
	// args are given to the tests.
	args []string
	// root tells that the tests need network namespaces.
	root bool
}

// String says what a run is, for the list.
func (r run) String() string {
	if r.pkg == "" {
		return "miplab demo"
	}
	return strings.Join(append([]string{"./" + r.pkg, r.test}, r.args...), " ")
}

// outcome is what came of a play.
type outcome struct {
	caught bool
	// figure says what was seen, or what has failed.
	figure string
	// said is the output.
	said string
}

// errSkipped is returned for a play that needs more rights than there are.
var errSkipped = errors.New("skipped: it needs network namespaces")

// play builds with the patches into the directory and plays the run.
func (r run) play(dir string, patches []patch, able bool, demo []string) (outcome, error) {
	if r.root && !able {
		return outcome{}, errSkipped
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return outcome{}, err
	}
	over, err := overlay(dir, patches)
	if err != nil {
		return outcome{}, err
	}
	if r.pkg == "" {
		return playDemo(dir, over, demo)
	}
	return r.playTests(dir, over)
}

func command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return cmd
}

var (
	leaks    = regexp.MustCompile(`(?m)^(\d+) LEAKS$`)
	failedAt = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
)

// stripped leaves out what only a debugger reads: linking takes half the time.
const stripped = "-ldflags=-s -w"

// playTests builds the tests of the package and runs them. What does not build is no mutant; what panics is caught.
func (r run) playTests(dir, over string) (outcome, error) {
	bin := filepath.Join(dir, "play.test")
	if out, err := command("go", "test", "-c", stripped, "-overlay", over, "-o", bin, "./"+r.pkg).CombinedOutput(); err != nil {
		return outcome{}, fmt.Errorf("building: %w\n%s", err, out)
	}
	cmd := command(bin, append([]string{"-test.run", r.test, "-test.timeout", "5m"}, r.args...)...)
	cmd.Dir = r.pkg
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	o := outcome{caught: err != nil, said: string(out)}
	if strings.Contains(o.said, "no tests to run") {
		return o, fmt.Errorf("%s has no test %s", r.pkg, r.test)
	}
	if m := leaks.FindStringSubmatch(o.said); m != nil {
		o.figure = m[1] + " leaks"
		if m[1] == "0" && o.caught {
			o.figure = "no leak, but failures"
		}
	} else if m := failedAt.FindAllStringSubmatch(o.said, -1); m != nil {
		o.figure = m[len(m)-1][1] + " fails"
		for _, f := range m { // the innermost
			if len(f[1]) > len(o.figure)-len(" fails") {
				o.figure = f[1] + " fails"
			}
		}
	} else if o.caught {
		o.figure = "it ends badly"
	} else {
		o.figure = "passes"
	}
	return o, nil
}

// demoReport is what is read of the tour's report.
type demoReport struct {
	PlaintextFrames int `json:"plaintext_frames"`
	External        map[string]struct {
		ESP int `json:"esp"`
	} `json:"external_wires"`
	Failures []string `json:"failures"`
}

// playDemo builds the programs and plays the move.
func playDemo(dir, over string, demo []string) (outcome, error) {
	if out, err := command("go", "build", stripped, "-overlay", over, "-o", dir+"/", "./cmd/...").CombinedOutput(); err != nil {
		return outcome{}, fmt.Errorf("building: %w\n%s", err, out)
	}
	// The tour exits with 1 when the judge sees plaintext: the report is what counts.
	cmd := exec.Command(filepath.Join(dir, "miplab"), append([]string{"demo", "--json", "--dwell", "1s", "--modes", "f,fvc"}, demo...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	var r demoReport
	if err := json.Unmarshal(out, &r); err != nil {
		return outcome{}, fmt.Errorf("the report: %w\n%s", err, said.String())
	}
	esp := 0
	for _, w := range r.External {
		esp += w.ESP
	}
	if esp == 0 {
		return outcome{}, fmt.Errorf("the laptop never got outside: %v", r.Failures)
	}
	return outcome{
		caught: r.PlaintextFrames > 0, figure: fmt.Sprintf("%d plaintext frames outside", r.PlaintextFrames),
		said: strings.Join(r.Failures, "\n"),
	}, nil
}
