package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// patch replaces a string that stands in a file exactly once.
type patch struct{ file, old, new string }

// cut takes out what the actor does by itself when a connection goes: the pipeline in use and the link layer under it stay
// until the next ones are there.
var cut = []patch{
	{"stack/engine.go", "func (e *Engine) Hold() {\n", "func (e *Engine) Hold() {\n\tif e.current.Load() != nil {\n\t\treturn\n\t}\n"},
	{"stack/engine.go", "func (e *Engine) Swap(p *Pipeline) {\n", "func (e *Engine) Swap(p *Pipeline) {\n\tif p == nil {\n\t\treturn\n\t}\n"},
	{"client/interfaces.go", "wanted := i.Up && (", "wanted := (i.Up || i.segment != nil) && ("},
	{"client/interfaces.go", "if e.Relinked {\n", "if e.Gone {\n"},
}

// gate takes out the gate: everything passes.
var gate = []patch{
	{"stack/gate/gate.go", "func (g *Gate) age(iface int, epoch uint64) (time.Duration, bool) {\n",
		"func (g *Gate) age(iface int, epoch uint64) (time.Duration, bool) {\n\tif iface >= 0 {\n\t\treturn 0, true\n\t}\n"},
}

// line takes out the kernel's half of the gate, on the simulated network and in nftables: plaintext needs no permit.
var line = []patch{
	{"stack/simnet/line.go", "if !plaintext || h.line == nil {\n", "if c.index >= 0 {\n"},
	{"tun/hostnet/line_linux.go", `rule("marked as plaintext", drop`, `rule("marked as plaintext", accept`},
}

// mutant is one build and what the judge must say of it.
type mutant struct {
	name    string
	patches []patch
	leaks   bool
}

var mutants = []mutant{
	{"as it is", nil, false},
	{"without the actor's cut", cut, false},
	{"without the actor's cut and the kernel's line", slices.Concat(cut, line), false},
	{"without the actor's cut and the gate", slices.Concat(cut, gate), false},
	{"without the actor's cut, the gate and the line", slices.Concat(cut, gate, line), true},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run() error {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var errs []error
	for i, m := range mutants {
		r, err := play(filepath.Join(dir, fmt.Sprint(i)), m.patches)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		fmt.Printf("%-46s %d plaintext frames outside, %d ESP\n", m.name, r.PlaintextFrames, r.esp())
		switch {
		case m.leaks && r.PlaintextFrames == 0:
			errs = append(errs, fmt.Errorf("%s: the judge saw nothing: it cannot tell whether the gate works (%s)", m.name, strings.Join(r.Failures, "; ")))
		case !m.leaks && r.PlaintextFrames > 0:
			errs = append(errs, fmt.Errorf("%s: %d frames leaked", m.name, r.PlaintextFrames))
		case r.esp() == 0:
			errs = append(errs, fmt.Errorf("%s: the laptop never got outside: %v", m.name, r.Failures))
		}
	}
	return errors.Join(errs...)
}

// report is what is read of the demo's report.
type report struct {
	PlaintextFrames int `json:"plaintext_frames"`
	External        map[string]struct {
		ESP int `json:"esp"`
	} `json:"external_wires"`
	Failures []string `json:"failures"`
}

func (r report) esp() int {
	n := 0
	for _, w := range r.External {
		n += w.ESP
	}
	return n
}

// play builds the programs with the patches into the directory and plays the move.
func play(dir string, patches []patch) (r report, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return r, err
	}
	overlay, err := replace(dir, patches)
	if err != nil {
		return r, err
	}
	build := exec.Command("go", "build", "-overlay", overlay, "-o", dir+"/", "./cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return r, fmt.Errorf("building: %w\n%s", err, out)
	}
	// The tour exits with 1 when the judge sees plaintext: the report is what counts.
	demo := exec.Command(filepath.Join(dir, "miplab"), append([]string{"demo", "--json", "--dwell", "1s", "--modes", "f,fvc"}, os.Args[1:]...)...)
	var said strings.Builder
	demo.Stderr = &said
	out, err := demo.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, err
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("the report: %w\n%s", err, said.String())
	}
	return r, nil
}

// replace writes patched copies and the file that tells the go command of them.
func replace(dir string, patches []patch) (overlay string, err error) {
	text := map[string]string{}
	for _, p := range patches {
		s, ok := text[p.file]
		if !ok {
			b, err := os.ReadFile(p.file)
			if err != nil {
				return "", err
			}
			s = string(b)
		}
		if n := strings.Count(s, p.old); n != 1 {
			return "", fmt.Errorf("%s has %q %d times, once was expected: has the code changed? The patch must follow", p.file, p.old, n)
		}
		text[p.file] = strings.Replace(s, p.old, p.new, 1)
	}
	files := map[string]string{}
	for name, s := range text {
		real, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		patched := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(patched, []byte(s), 0o644); err != nil {
			return "", err
		}
		files[real] = patched
	}
	b, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", err
	}
	overlay = filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o644)
}
