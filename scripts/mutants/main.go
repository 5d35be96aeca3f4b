package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func main() {
	simulated := flag.Bool("simulated", false, "play the tour on the simulated network, and nothing that needs namespaces")
	quick := flag.Bool("quick", false, "play the few mutants that `make test` does")
	list := flag.Bool("list", false, "list the mutants and play none")
	only := flag.String("only", "", "play those whose name contains this")
	verbose := flag.Bool("v", false, "show what each play has said")
	flag.Parse()
	chosen := choose(*quick, *only)
	if *list {
		for _, m := range chosen {
			fmt.Println(m.describe())
		}
		return
	}
	p := player{able: !*simulated && able(), verbose: *verbose}
	if *simulated {
		p.demo = append(p.demo, "--simulated")
	}
	if err := p.playAll(chosen); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// choose picks mutants of the table.
func choose(quick bool, only string) []mutant {
	var chosen []mutant
	for _, m := range table {
		if (m.quick || !quick) && strings.Contains(m.name, only) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// able reports whether network namespaces and TUN devices can be made.
func able() bool {
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	return errors.Join(tun.Close(), exec.Command("unshare", "--net", "true").Run()) == nil
}

// player plays mutants and keeps what bases came to.
type player struct {
	able, verbose bool
	demo          []string
	dir           string
	bases         map[string]error
	plays         int
}

func (p *player) playAll(all []mutant) error {
	var err error
	if p.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	p.bases = map[string]error{}
	var errs []error
	caught, skipped := 0, 0
	began := time.Now()
	for _, m := range all {
		switch figure, err := p.one(m); {
		case errors.Is(err, errSkipped):
			skipped++
			fmt.Printf("skipped %s\n        needs network namespaces\n", m.describe())
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", m.name, err))
			fmt.Printf("MISSED  %s\n        %v\n", m.describe(), err)
		default:
			caught++
			fmt.Printf("caught  %s\n        by %v: %s\n", m.describe(), m.by, figure)
		}
	}
	fmt.Printf("%d of %d mutants caught, %d skipped, %d bases pass, %v\n", caught, len(all), skipped, len(p.bases), time.Since(began).Round(time.Second))
	return errors.Join(errs...)
}

// one plays a mutant, and its base before it unless that has been played already.
func (p *player) one(m mutant) (figure string, err error) {
	base := fmt.Sprint(m.by, m.base)
	if err, ok := p.bases[base]; !ok {
		o, err := p.play(m.by, m.base)
		if err == nil && o.caught { // a machine that is too busy may fail a test in namespaces
			fmt.Printf("        the base of %s failed and is played again (%s)\n", m.name, o.figure)
			o, err = p.play(m.by, m.base)
		}
		if err == nil && o.caught {
			err = fmt.Errorf("its base, which has the rule, fails as well (%s):\n%s", o.figure, tail(o.said))
		}
		if errors.Is(err, errSkipped) {
			return "", err
		}
		p.bases[base] = err
		if err != nil {
			return "", err
		}
	} else if err != nil {
		return "", err
	}
	o, err := p.play(m.by, append(append([]patch{}, m.base...), m.patches...))
	switch {
	case err != nil:
		return "", err
	case !o.caught:
		return "", fmt.Errorf("%v has seen nothing (%s): it cannot tell whether the rule holds\n%s", m.by, o.figure, tail(o.said))
	}
	return o.figure, nil
}

func (p *player) play(r run, patches []patch) (outcome, error) {
	p.plays++
	dir := filepath.Join(p.dir, fmt.Sprint(p.plays))
	defer os.RemoveAll(dir)
	o, err := r.play(dir, patches, p.able, p.demo)
	if p.verbose {
		fmt.Println(o.said)
	}
	return o, err
}

// tail returns the last lines of what a play has said.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-12):], "\n")
}
