package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// lanes is how many mutants are played side by side: one is built while another one waits for its packets.
const lanes = 2

// player plays mutants and keeps what bases came to.
type player struct {
	able, verbose bool
	demo          []string
	dir           string
	builds        atomic.Int64

	mu    sync.Mutex // guards the maps; what is in them is played once, by the first who asks
	bases map[string]func() error
	plays map[string]func() (outcome, error) // by run and patches: two mutants may come to the same source
}

// verdict is what came of a mutant.
type verdict struct {
	figure string
	err    error
}

func (p *player) playAll(all []mutant) error {
	var err error
	if p.dir, err = os.MkdirTemp("", "mutants"); err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	p.bases, p.plays = map[string]func() error{}, map[string]func() (outcome, error){}
	var errs []error
	caught, skipped := 0, 0
	began := time.Now()
	verdicts := make([]chan verdict, len(all))
	for i := range verdicts {
		verdicts[i] = make(chan verdict, 1)
	}
	go func() {
		free := make(chan struct{}, lanes)
		for i, m := range all {
			free <- struct{}{}
			go func() {
				figure, err := p.one(m)
				verdicts[i] <- verdict{figure, err}
				<-free
			}()
		}
	}()
	for i, m := range all {
		v := <-verdicts[i]
		switch figure, err := v.figure, v.err; {
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

// base returns a function that plays the mutant's base, or says what it came to when another mutant had it played.
func (p *player) base(m mutant) func() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	name := fmt.Sprint(m.by, m.base)
	if p.bases[name] == nil {
		p.bases[name] = sync.OnceValue(func() error {
			o, err := p.play(m.by, m.base)
			if err == nil && o.caught { // a machine that is too busy may fail a test in namespaces
				fmt.Printf("        the base of %s failed and is played again (%s)\n", m.name, o.figure)
				o, err = p.play(m.by, m.base)
			}
			if err == nil && o.caught {
				err = fmt.Errorf("its base, which has the rule, fails as well (%s):\n%s", o.figure, tail(o.said))
			}
			return err
		})
	}
	return p.bases[name]
}

// one plays a mutant, and its base before it unless that has been played already.
func (p *player) one(m mutant) (figure string, err error) {
	if err := p.base(m)(); err != nil {
		return "", err
	}
	o, err := p.playOnce(m.by, join(m.base, m.patches))
	switch {
	case err != nil:
		return "", err
	case !o.caught:
		return "", fmt.Errorf("%v has seen nothing (%s): it cannot tell whether the rule holds\n%s", m.by, o.figure, tail(o.said))
	}
	return o.figure, nil
}

// playOnce plays the run on a source unless that has been done already.
func (p *player) playOnce(r run, patches []patch) (outcome, error) {
	sorted := slices.SortedFunc(slices.Values(patches), func(a, b patch) int {
		return cmp.Or(strings.Compare(a.file, b.file), strings.Compare(a.old, b.old))
	})
	name := fmt.Sprint(r, sorted)
	p.mu.Lock()
	if p.plays[name] == nil {
		p.plays[name] = sync.OnceValues(func() (outcome, error) { return p.play(r, patches) })
	}
	play := p.plays[name]
	p.mu.Unlock()
	return play()
}

func (p *player) play(r run, patches []patch) (outcome, error) {
	dir := filepath.Join(p.dir, fmt.Sprint(p.builds.Add(1)))
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
