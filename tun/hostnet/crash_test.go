//go:build linux

package hostnet

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mipvpn/tun/device"
	"mipvpn/tun/hostnet/netnstest"
	"mipvpn/tun/link"
)

// crashVariable makes this test program a process that applies settings and is killed, by itself, before a step.
const crashVariable = "MIPVPN_TEST_CRASH"

// crash is what such a process does.
type crash struct {
	// Before is applied, in peace, before Settings; without a device it is not.
	Before, Settings link.Settings
	// Step is the number of the change of the kernel's state before which the process is killed, 0 for the first. It says
	// "done" when there are fewer.
	Step int
	// For ever has it apply the two in turn, saying "applied" each time, until it is killed.
	ForEver bool
}

// run does it. Only an error returns.
func (c crash) run() error {
	n := New(Options{})
	if c.Before.Device != "" || c.Settings.Device != "" {
		d, err := device.Open("mip0", 1400, nil)
		if err != nil {
			return err
		}
		defer d.Close()
	}
	if c.Before.Device != "" {
		if err := n.Apply(c.Before); err != nil {
			return err
		}
	}
	for c.ForEver {
		for _, s := range []link.Settings{c.Settings, c.Before} {
			if err := n.Apply(s); err != nil {
				return err
			}
			fmt.Println("applied")
		}
	}
	step := 0
	n.fault = func(string) {
		if step == c.Step {
			if err := unix.Kill(os.Getpid(), unix.SIGKILL); err != nil {
				panic(err)
			}
			select {} // the signal is on its way
		}
		step++
	}
	if err := n.Apply(c.Settings); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// crash starts the process in the laptop, reads lines until one is the last wanted or the process ends, kills it, and returns
// whether it had done all.
func (h *hostile) crash(c crash, lines int) (done bool) {
	h.t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		h.t.Fatal(err)
	}
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), crashVariable+"="+string(text))
	process.ExtraFiles, process.Stderr = []*os.File{h.ns}, os.Stderr
	out, err := process.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		h.t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		done = scanner.Text() == "done"
		if lines--; lines == 0 {
			break
		}
	}
	_ = process.Process.Kill() // it may have ended
	_ = process.Wait()         // "signal: killed"
	return done
}

// line returns the rules that stand.
func (h *hostile) line() (rules []string) {
	h.t.Helper()
	netnstest.Inside(h.t, h.ns, func() error {
		l, err := h.network.Line()
		for _, r := range l.Rules {
			rules = append(rules, r.Table+" "+r.Chain+": "+r.Text)
		}
		if l.Stands != (len(rules) > 0) {
			h.t.Errorf("the line stands: %v, with rules %q", l.Stands, rules)
		}
		return err
	})
	return rules
}

// withoutDevice returns the probes that need no device.
func withoutDevice(probes []probe) []probe {
	return slices.DeleteFunc(slices.Clone(probes), func(p probe) bool { return p.name == "into the device" || p.vlan || p.passes })
}

// Shows: HST-2 (the process is killed before each change that it makes to the kernel's state, on the way up, from one tunnel to
// another, and down: the line stands whole or was never begun, nothing of the enterprise's leaves while it stands, and the
// next start or down goes on from there as if nothing had been)
func TestKillAtEachStep(t *testing.T) {
	h := newHostile(t)
	before := state(t, h.ns, h.network)
	lines := map[string][]string{"": nil}
	for name, s := range map[string]link.Settings{"split": lined, "full": local} {
		h.crash(crash{Settings: s, Step: -1}, 0)
		lines[name] = h.line()
		if len(lines[name]) == 0 {
			t.Fatalf("%s: no line stands after all steps", name)
		}
		netnstest.Inside(t, h.ns, func() error { return New(Options{}).Apply(link.Settings{}) })
	}
	denied := map[string][]probe{"split": withoutDevice(append(slices.Clone(inetProbes), netdevProbes...)), "full": withoutDevice(append(slices.Clone(localInet), localNetdev...))}
	for _, way := range []struct {
		name             string
		before, settings link.Settings
		from, to         string // lines
		began            int    // the step from which on the line may be the new one
	}{
		{"up", link.Settings{}, lined, "", "split", 1},
		{"up, full tunnel", link.Settings{}, local, "", "full", 1},
		{"from split to full", lined, local, "split", "full", 1},
		{"from full to split", local, lined, "full", "split", 1},
		{"down", lined, link.Settings{}, "split", "", -1},
		{"down, full tunnel", local, link.Settings{}, "full", "", -1},
	} {
		steps := 0
		for ; ; steps++ {
			done := h.crash(crash{Before: way.before, Settings: way.settings, Step: steps}, 0)
			want := way.from
			if done || way.began >= 0 && steps >= way.began {
				want = way.to
			}
			when := fmt.Sprintf("%s, killed before step %d", way.name, steps)
			if got := h.line(); !slices.Equal(got, lines[want]) {
				t.Errorf("%s: the line is not that of %q:\n%s", when, want, strings.Join(got, "\n"))
			}
			if want != "" && steps%4 == 1 { // the same rules fare the same
				h.permitPortal()
				h.check(when, denied[want], "")
			}
			// The next start, and down, go on from there.
			next := New(Options{})
			netnstest.Inside(t, h.ns, func() error { return next.Load(lined) })
			if got := h.line(); !slices.Equal(got, lines["split"]) {
				t.Errorf("%s: the next start's line:\n%s", when, strings.Join(got, "\n"))
			}
			netnstest.Inside(t, h.ns, func() error { return next.Apply(link.Settings{}) })
			if got := state(t, h.ns, next); got != before {
				t.Errorf("%s: after down:\n%s\nwant:\n%s", when, got, before)
			}
			if done {
				break
			}
		}
		if steps < 4 {
			t.Errorf("%s: %d steps, the test sees too little", way.name, steps)
		}
	}
}

// Shows: HST-2 (killed at any moment while one line takes the place of another, one of the two stands whole)
func TestKillWhileReplacing(t *testing.T) {
	h := newHostile(t)
	var lines [][]string
	for _, s := range []link.Settings{lined, local} {
		h.crash(crash{Settings: s, Step: -1}, 0)
		lines = append(lines, h.line())
	}
	for round := range 12 {
		h.crash(crash{Before: lined, Settings: local, ForEver: true}, 1+round)
		got := h.line()
		i := slices.IndexFunc(lines, func(l []string) bool { return slices.Equal(l, got) })
		if i < 0 {
			t.Fatalf("round %d: a line of neither:\n%s", round, strings.Join(got, "\n"))
		}
		h.check(fmt.Sprintf("round %d", round), withoutDevice(append(slices.Clone(inetProbes[:4]), netdevProbes[:4]...)), "")
	}
}

// Shows: HST-2 (loaded at the system's start, before there is a device or a daemon, the line is that of up; the enterprise and,
// in a full tunnel, everything is unreachable; up takes over and down lifts it)
func TestLoad(t *testing.T) {
	h := newHostile(t)
	before := state(t, h.ns, h.network)
	netnstest.Inside(t, h.ns, removeForeignRules)
	for name, s := range map[string]link.Settings{"split": lined, "full": local} {
		netnstest.Inside(t, h.ns, func() error { return New(Options{}).Load(s) })
		loaded := h.line()
		want := map[string]string{"split": "eth0", "full": "unreachable"}[name]
		if by := routeTo(t, h.ns, enterprise); by != "unreachable" {
			t.Errorf("%s: the route to %v goes by %s, want unreachable", name, enterprise, by)
		}
		if by := routeTo(t, h.ns, enterprise6); by != "unreachable" {
			t.Errorf("%s: the route to %v goes by %s, want unreachable", name, enterprise6, by)
		}
		for _, dst := range []string{"192.0.2.9", "2001:db8::9"} {
			if by := routeTo(t, h.ns, netip.MustParseAddr(dst)); by != want {
				t.Errorf("%s: the route to %s goes by %s, want %s", name, dst, by, want)
			}
		}
		h.permitPortal()
		if s.Full {
			// What is forwarded has nowhere to go that would show where the others are.
			sent := slices.DeleteFunc(append(slices.Clone(localInet), localNetdev...), func(p probe) bool { return p.benign != nil })
			h.check(name, withoutDevice(sent), "")
		} else {
			h.check(name, withoutDevice(append(slices.Clone(inetProbes), netdevProbes...)), "")
		}
		h.openMip0()
		h.network = New(Options{})
		apply(t, h.ns, h.network, s)
		if up := h.line(); !slices.Equal(loaded, up) {
			t.Errorf("%s: loaded:\n%s\nafter up:\n%s", name, strings.Join(loaded, "\n"), strings.Join(up, "\n"))
		}
		if by := routeTo(t, h.ns, enterprise); by != "mip0" {
			t.Errorf("%s: after up the route to %v goes by %s, want mip0", name, enterprise, by)
		}
		apply(t, h.ns, h.network, link.Settings{})
		if got := state(t, h.ns, New(Options{})); got != before {
			t.Errorf("%s: after down:\n%s\nwant:\n%s", name, got, before)
		}
		h.closeMip0()
	}
	if err := New(Options{}).Load(laptop); err == nil {
		t.Error("settings without a kill switch are loaded")
	}
}
