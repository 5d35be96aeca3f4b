package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack"
)

// grade is what one check of the doctor came to.
type grade string

// The results.
const (
	checkOK      grade = "ok"
	checkWarning grade = "warning"
	checkFailed  grade = "failed"
	checkSkipped grade = "skipped"
)

// finding is one line of the doctor's report.
type finding struct {
	// Name says what was looked at, such as "daemon" or "i-HA on wlan0".
	Name string `json:"name"`
	// Result is ok, warning, failed or skipped.
	Result grade `json:"result"`
	// Message says what was found, Advice what to do about it.
	Message string `json:"message"`
	Advice  string `json:"advice"`
}

// report is the document of `doctor --json`.
type report struct {
	Schema int `json:"schema"`
	// Expect is what the person expects: inside, outside or nothing.
	Expect string `json:"expect"`
	// Result is failed when a check failed, and ok otherwise.
	Result grade     `json:"result"`
	Checks []finding `json:"checks"`
	// lookup asks this machine's resolver about a name; nil leaves that out.
	lookup func(ctx context.Context, name string) error
}

func (r *report) add(name string, result grade, message, advice string) {
	r.Checks = append(r.Checks, finding{name, result, message, advice})
	if result == checkFailed {
		r.Result = checkFailed
	}
}

// expectations are what --expect takes.
var expectations = []string{string(control.VerdictInside), string(control.VerdictOutside)}

// doctorPatience is how long the doctor waits for a fresh detection to come to something.
const doctorPatience = 6 * time.Second

func (a *app) doctor() *cobra.Command {
	c := &cobra.Command{
		Use: "doctor [--expect inside|outside]", Short: "Look for what keeps the client from working, or makes it unsafe", Args: cobra.NoArgs,
		Long: "Look for what keeps the client from working, or makes it unsafe: the daemon, its configuration, this machine\n(kernel, clock, kill switch, other VPNs and firewalls in it), the home agents, the gateway and each layer, the path's MTU,\nand names. What is not in order ends with what to do. With --expect it also tells whether the laptop is found to be where it is. Outside, that\nincludes asking the internal home agent straight through every interface, also where such requests are suppressed: an\nanswer means that the firewall lets registrations in from outside. Exits with 1 when a check failed, and with 5 when\nno daemon answers.",
	}
	asJSON := jsonFlag(c)
	expect := c.Flags().String("expect", "", "where the laptop is: inside or outside")
	file := c.Flags().String("config", config.DefaultPath, "configuration file")
	_ = c.RegisterFlagCompletionFunc("expect", cobra.FixedCompletions(expectations, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		if *expect != "" && !slices.Contains(expectations, *expect) {
			return fmt.Errorf("--expect %.80q is not one of %s", *expect, among(expectations))
		}
		r := &report{Schema: control.Schema, Expect: *expect, Result: checkOK, Checks: []finding{}, lookup: a.lookup}
		if a.examine != nil {
			for _, k := range a.examine() {
				r.add(k.Name, k.Result, k.Message, k.Advice)
			}
		}
		if path, err := a.used(cmd, *file); err != nil {
			r.add("configuration", checkFailed, err.Error(), "choose a profile that is there: `mipvpn profile list`, `mipvpn profile use NAME`")
		} else {
			r.configuration(path)
		}
		asked := a.ask(cmd.Context(), func(c *control.Client) error { return r.daemon(cmd.Context(), c) })
		if asked != nil {
			advice := "start it: `mipvpn daemon`, or `" + startService + "`"
			if errors.Is(asked, control.ErrPermission) || refusesUs(asked) {
				advice = "run `mipvpn doctor` as who may, or as root"
			}
			r.add("daemon", checkFailed, asked.Error(), advice)
		}
		write := func(w io.Writer, r *report) error { return writeReport(w, a.screen, r) }
		if *asJSON {
			write = func(w io.Writer, r *report) error { return writeJSON(w, r) }
		}
		if err := write(a.out, r); err != nil {
			return failed(err)
		}
		if asked != nil {
			return asked
		}
		if r.Result == checkFailed {
			return &exitError{exitFailed, errors.New("not all is well: see what failed above")}
		}
		return nil
	}
	return c
}

// configuration checks the configuration file, if the person may read it.
func (r *report) configuration(path string) {
	cfg, err := config.Load(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.add("configuration", checkSkipped, path+" and its secrets may be read by root alone", "run `mipvpn doctor` as root to have it checked")
		return
	case errors.Is(err, fs.ErrNotExist):
		r.add("configuration", checkFailed, "there is no "+path, "write one with `mipvpn init`, or name another file with --config")
		return
	case err != nil:
		r.add("configuration", checkFailed, strings.ReplaceAll(err.Error(), "\n", "; "), "mend it and look again with `mipvpn config check "+path+"`")
		return
	}
	defer cfg.Wipe()
	if len(cfg.Warnings) == 0 {
		r.add("configuration", checkOK, path+" is in order", "")
	}
	for _, w := range cfg.Warnings {
		r.add("configuration", checkWarning, w.Key+": "+w.Message, fmt.Sprintf("see line %d of %s", w.Line, path))
	}
}

// daemon checks what the daemon knows.
func (r *report) daemon(ctx context.Context, c *control.Client) error {
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	r.add("daemon", checkOK, "it answers, and is "+string(s.State)+" since "+s.Since.Local().Format(time.DateTime), "")
	if s.TNCWaived {
		r.add("TNC", checkWarning, waived, "give the i-HA a version that sends the extension (RFC 5265 section 3.4), and take detection.waive_tnc out")
	}
	if s.State == control.StateDown {
		r.add("state", checkFailed, "the client is down: the enterprise's traffic is not handled", "run `mipvpn up`")
		return nil
	}
	if s.Monitor > 0 && float64(s.Exposure)/1000 > s.Monitor {
		r.add("exposure", checkFailed, exposed(s), "report this as a bug with the events of that time: it must never happen")
	} else {
		r.add("exposure", checkOK, exposed(s), "")
	}
	d, err := r.detection(ctx, c)
	if err != nil {
		return err
	}
	r.interfaces(d)
	r.clocks(d)
	if s, err = c.Status(ctx); err != nil { // a fresh detection may have changed it
		return err
	}
	if s.State == control.StateConnected {
		r.add("state", checkOK, fmt.Sprintf("user data flows in mode %s on %s", s.Mode, s.Interface), "")
	} else {
		r.add("state", checkFailed, fmt.Sprintf("user data does not flow: the client is %s (%s)", s.State, s.Proof.Reason), "see the problems below; `mipvpn events` shows how it goes on")
	}
	if err := r.layers(ctx, c); err != nil {
		return err
	}
	r.gateway(s.VPN)
	r.mtu(s.PathMTU)
	r.names(s.DNS)
	if s.State == control.StateConnected {
		if err := r.resolver(ctx, c, s.DNS); err != nil {
			return err
		}
	}
	r.assumptions(s)
	for _, p := range s.Problems {
		r.add("problem", checkFailed, strings.TrimSuffix(p.String(), "; "+p.Advice), p.Advice)
	}
	switch r.Expect {
	case string(control.VerdictInside):
		r.inside(d)
	case string(control.VerdictOutside):
		p, err := c.Probe(ctx)
		switch {
		case refusesUs(err):
			r.add("firewall", checkSkipped, "not tried, since "+err.Error(), "run `mipvpn doctor --expect outside` as who may, or as root")
		case err != nil:
			return err
		default:
			r.outside(d, p)
		}
		r.notInside(d)
	}
	return nil
}

// detection starts detection anew and waits until it has come to something on each interface, or for doctorPatience.
func (r *report) detection(ctx context.Context, c *control.Client) (control.Detection, error) {
	d, err := c.Detect(ctx, true)
	if refusesUs(err) { // who may read is told what there is
		r.add("detection", checkSkipped, "not begun anew, since "+err.Error(), "run `mipvpn doctor` as who may, or as root")
		return c.Detect(ctx, false)
	}
	if err != nil {
		return d, err
	}
	over := time.NewTimer(doctorPatience)
	defer over.Stop()
	tick := time.NewTicker(doctorPatience / 30)
	defer tick.Stop()
	for !settled(d) {
		select {
		case <-tick.C:
		case <-over.C:
			return d, nil
		case <-ctx.Done():
			return d, ctx.Err()
		}
		if d, err = c.Detect(ctx, false); err != nil {
			return d, err
		}
	}
	return d, nil
}

// settled reports whether nothing more can be learnt by waiting: on each interface it is decided where it is, or both agents
// have answered what they were asked last.
func settled(d control.Detection) bool {
	return !slices.ContainsFunc(d.Interfaces, func(i control.InterfaceDetection) bool {
		decided := i.State == "outside" || i.State == "unreachable"
		return !decided && (waiting(i.Internal) || waiting(i.External))
	})
}

// waiting reports whether the last request has not been answered.
func waiting(r control.Registration) bool {
	return r.Asked && (!r.Answered || r.AnsweredAgo > r.AskedAgo)
}

// interfaces tells of each interface what detection knows.
func (r *report) interfaces(d control.Detection) {
	if len(d.Interfaces) == 0 {
		r.add("interfaces", checkFailed, "none is there, or interfaces.use and interfaces.ignore leave none", "plug in a cable, join a wireless network, or see [interfaces] in the configuration")
	}
	reached, up := 0, 0
	for _, i := range d.Interfaces {
		name := "interface " + i.Name
		if !i.Up {
			r.add(name, checkOK, "down", "")
			continue
		}
		up++
		r.add(name, checkOK, ifaceAddress(i.Interface)+": "+standing(i.Interface), "")
		for _, agent := range []struct {
			name string
			e    control.Registration
		}{{"i-HA", i.Internal}, {"x-HA", i.External}} {
			name := fmt.Sprintf("%s on %s", agent.name, i.Name)
			if agent.e.Answered {
				reached++
				r.add(name, checkOK, registration(agent.e, agent.name == "i-HA"), "")
			} else if agent.e.Asked {
				r.add(name, checkSkipped, registration(agent.e, agent.name == "i-HA"), "")
			}
		}
	}
	mode, _ := stack.Mode(d.Mode).Composition()
	switch straight := mode.VPN && !mode.ExternalMIP; {
	case len(d.Interfaces) > 0 && up == 0:
		r.add("interfaces", checkFailed, "none is connected", "plug in a cable, or join a wireless network")
	case up > 0 && reached == 0 && straight:
		r.add("home agents", checkWarning, "neither answers on any interface; the VPN goes straight through one (mode "+d.Mode+")", "check that this network lets UDP 434 through, and that the agents' addresses are right")
	case up > 0 && reached == 0:
		r.add("home agents", checkFailed, "neither answers on any interface", "check that this network lets UDP 434 through, and that the agents' addresses are right")
	}
}

// inside checks what must be so inside.
func (r *report) inside(d control.Detection) {
	for _, i := range d.Interfaces {
		if i.Proof.Verdict == control.VerdictInside {
			r.add("expect inside", checkOK, fmt.Sprintf("%s is proven to be inside", i.Name), "")
			return
		}
	}
	advice := "check that this network reaches the i-HA on UDP 434, and that the i-HA's trusted networks have this network"
	for _, i := range d.Interfaces {
		if i.Internal.Answered {
			advice = fmt.Sprintf("on %s the i-HA's answer was no proof (%s): see docs/errors.md or mipvpn-errors(7)", i.Name, i.Internal.Outcome)
		}
	}
	r.add("expect inside", checkFailed, "no interface is proven to be inside", advice)
}

// outside checks what must be so outside: the i-HA must not be reachable, with TNC or without (DET-14).
func (r *report) outside(d control.Detection, p control.Probe) {
	asked, answers := 0, 0
	for _, i := range p.Interfaces {
		e := i.Internal
		if e.Asked {
			asked++
		}
		if !e.Answered {
			continue
		}
		answers++
		name := "firewall on " + i.Name
		switch {
		case !i.Authentic:
			r.add(name, checkWarning, fmt.Sprintf("somebody answers a request to the i-HA %v from here: %s", e.Agent, e.Outcome),
				"either the firewall lets registrations through, or somebody here pretends to be the i-HA")
		case e.TrustedNetwork:
			r.add(name, checkFailed, fmt.Sprintf("the i-HA %v answers straight from outside, and counts this network as trusted (TNC)", e.Agent),
				"DANGER: a laptop here takes itself for inside and sends plaintext. Close UDP 434 to the i-HA at the firewall, and take this network out of the i-HA's trusted networks")
		default:
			r.add(name, checkFailed, fmt.Sprintf("the i-HA %v answers straight from outside, without TNC", e.Agent),
				"the firewall lets registrations in: close UDP 434 to the i-HA there. The i-HA's trusted networks alone keep laptops here from sending plaintext")
		}
	}
	reached := slices.ContainsFunc(d.Interfaces, func(i control.InterfaceDetection) bool { return i.External.Answered })
	switch {
	case asked == 0:
		r.add("firewall", checkSkipped, "the i-HA could be asked on no interface", "connect the laptop to a network outside")
	case answers == 0 && !reached:
		r.add("firewall", checkWarning, "the i-HA does not answer here, but neither does the x-HA", "this network may block UDP 434 by itself: look from another one")
	case answers == 0:
		r.add("firewall", checkOK, "the i-HA does not answer straight from here, as it must be outside", "")
	}
}

// notInside checks that no interface is found to be inside.
func (r *report) notInside(d control.Detection) {
	for _, i := range d.Interfaces {
		if i.Proof.Verdict == control.VerdictInside {
			r.add("expect outside", checkFailed, fmt.Sprintf("%s is found to be inside", i.Name), "if it is not, take it off this network at once, and tell the administrator of the firewall and of the i-HA")
		}
	}
}

// writeReport writes the report for people: each check on a line, or as many as it takes, and what to do beneath.
func writeReport(w io.Writer, sc screen, r *report) error {
	p := &page{screen: screen{width: sc.printed().width, colour: sc.colour}}
	looks := map[grade]style{checkOK: good, checkWarning: poor, checkFailed: bad, checkSkipped: faint}
	add := func(mark span, text string, look style) {
		room := 0
		if p.width >= leastWidth {
			room = p.width - gradeWidth
		}
		for _, l := range wrap(text, room, room) {
			p.add(0, line{mark, {l, look}})
			mark = say(strings.Repeat(" ", gradeWidth))
		}
	}
	for _, k := range r.Checks {
		add(span{fmt.Sprintf("%-*s", gradeWidth, k.Result), looks[k.Result]}, k.Name+": "+k.Message, usual)
		if k.Advice != "" && k.Result != checkOK {
			add(say(strings.Repeat(" ", gradeWidth)), "-> "+k.Advice, strong)
		}
	}
	end := span{"all is well, as far as can be seen from here", good}
	if r.Result != checkOK {
		end = span{"NOT ALL IS WELL", bad}
	}
	p.add(0, line{end})
	return p.write(w)
}

// gradeWidth is the column that a finding begins in.
const gradeWidth = 9
