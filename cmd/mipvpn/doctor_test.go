package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// patientPing is what patients' layers answer.
var patientPing = control.Ping{Schema: control.Schema, Mode: "c", Interface: "eth0", Layers: []control.PingLayer{
	echo("underlay", "router", "10.0.2.1", 0), echo("i-mip", "i-HA", "10.0.1.10", 1.5),
}}

// patient runs `doctor` with the arguments against a client in that state.
func patient(t *testing.T, s control.Status, d control.Detection, p control.Probe, host []finding, args ...string) result {
	t.Helper()
	b := controltest.New(s)
	b.SetDetection(d)
	b.SetProbe(p)
	b.SetPings(patientPing)
	socket := serve(t, b, everybody(t))
	var out, errs bytes.Buffer
	code := run(t.Context(), append([]string{"--socket", socket, "doctor", "--config", filepath.Join(t.TempDir(), "none.toml")}, args...),
		terminal{out: &out, err: &errs, start: noClient, examine: func() []finding { return host }})
	return result{code, out.String(), errs.String()}
}

// found returns the checks of that name that came to the result.
func found(t *testing.T, r result, name string) []finding {
	t.Helper()
	var doc report
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		t.Fatalf("%v: %s", err, r.out)
	}
	if doc.Schema != control.Schema {
		t.Errorf("schema %d", doc.Schema)
	}
	var out []finding
	for _, k := range doc.Checks {
		if strings.HasPrefix(k.Name, name) {
			out = append(out, k)
		}
	}
	return out
}

// answered is a detection in which both agents have answered on eth0.
func answered(verdict control.Verdict) control.Detection {
	d := detection()
	d.Interfaces = d.Interfaces[:1]
	d.Interfaces[0].Proof.Verdict, d.Interfaces[0].State = verdict, string(verdict)
	if verdict != control.VerdictInside {
		d.Interfaces[0].Proof = control.Proof{Verdict: verdict, Reason: "the x-HA answered and the i-HA did not prove inside within 2s"}
		d.Interfaces[0].Internal = control.Registration{Agent: d.Interfaces[0].Internal.Agent}
	}
	return d
}

func probed(r control.Registration, authentic bool) control.Probe {
	r.Agent = ip("10.0.1.10")
	return control.Probe{Schema: control.Schema, Interfaces: []control.InterfaceProbe{{Name: "eth0", Index: 2, Internal: r, Authentic: authentic}}}
}

// Shows: DET-14 (a firewall that lets registrations of the i-HA through is told, with TNC and without, and what to do)
func TestDoctorExpectsOutside(t *testing.T) {
	silent := control.Registration{Asked: true, Outcome: "no answer"}
	lets := control.Registration{Asked: true, Answered: true, Outcome: "it accepts the registration"}
	trusts := lets
	trusts.TrustedNetwork = true
	unheard := answered(control.VerdictOutside)
	unheard.Interfaces[0].External.Answered = false
	unheard.Interfaces[0].External.Asked = false
	for _, c := range []struct {
		name   string
		probe  control.Probe
		detect control.Detection
		result grade
		says   string
	}{
		{"silent", probed(silent, false), answered(control.VerdictOutside), checkOK, "does not answer straight from here"},
		{"lets registrations in", probed(lets, true), answered(control.VerdictOutside), checkFailed, "close UDP 434"},
		{"and trusts the network", probed(trusts, true), answered(control.VerdictOutside), checkFailed, "DANGER"},
		{"a forger", probed(lets, false), answered(control.VerdictOutside), checkWarning, "pretends to be the i-HA"},
		{"nobody answers", probed(silent, false), unheard, checkWarning, "neither does the x-HA"},
		{"not asked", probed(control.Registration{Outcome: "not asked: the interface is down"}, false), answered(control.VerdictOutside), checkSkipped, "on no interface"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := patient(t, statuses()["outside"], c.detect, c.probe, nil, "--expect", "outside", "--json")
			k := found(t, r, "firewall")
			if len(k) != 1 || k[0].Result != c.result || !strings.Contains(k[0].Message+k[0].Advice, c.says) {
				t.Errorf("%+v, want %s with %q", k, c.result, c.says)
			}
			if c.result != checkOK && k[0].Advice == "" {
				t.Error("it does not say what to do")
			}
			if c.result == checkFailed && r.code != exitFailed {
				t.Errorf("exit %d", r.code)
			}
		})
	}
	r := patient(t, statuses()["inside"], answered(control.VerdictInside), probed(silent, false), nil, "--expect", "outside", "--json")
	if k := found(t, r, "expect outside"); len(k) != 1 || k[0].Result != checkFailed || r.code != exitFailed {
		t.Errorf("found to be inside: %+v, exit %d", k, r.code)
	}
}

// Shows: DET-14
func TestDoctorExpectsInside(t *testing.T) {
	r := patient(t, statuses()["inside"], answered(control.VerdictInside), control.Probe{}, nil, "--expect", "inside", "--json")
	if k := found(t, r, "expect inside"); len(k) != 1 || k[0].Result != checkOK {
		t.Errorf("%+v", k)
	}
	d := answered(control.VerdictOutside)
	d.Interfaces[0].Internal = control.Registration{Agent: ip("10.0.1.10"), Asked: true, Answered: true, Outcome: "no proof: location: reply without Trusted Networks Configured extension"}
	r = patient(t, statuses()["outside"], d, control.Probe{}, nil, "--expect", "inside", "--json")
	if k := found(t, r, "expect inside"); len(k) != 1 || k[0].Result != checkFailed || !strings.Contains(k[0].Advice, "Trusted Networks") || r.code != exitFailed {
		t.Errorf("%+v, exit %d", k, r.code)
	}
}

// Shows: DET-3 (a waived TNC is loud), DET-4 (an exposure over T_MONITOR is a failure)
func TestDoctorFinds(t *testing.T) {
	s := statuses()
	exposedTooLong := s["inside"]
	exposedTooLong.Exposure = 60001
	d := answered(control.VerdictInside)
	skewed := answered(control.VerdictInside)
	skewed.Interfaces[0].Internal.ClockOffset = 3_600_000
	silent := answered(control.VerdictOutside)
	silent.Interfaces[0].External = control.Registration{}
	for _, c := range []struct {
		name   string
		status control.Status
		detect control.Detection
		host   []finding
		check  string
		result grade
	}{
		{"waived", s["waived"], d, nil, "TNC", checkWarning},
		{"exposed", exposedTooLong, d, nil, "exposure", checkFailed},
		{"down", s["down"], d, nil, "state", checkFailed},
		{"blocked", s["blocked"], d, nil, "problem", checkFailed},
		{"clock", s["inside"], skewed, nil, "clock", checkWarning},
		{"no agent", s["inside"], silent, nil, "home agents", checkFailed},
		{"no interface", s["inside"], control.Detection{}, nil, "interfaces", checkFailed},
		{"host", s["inside"], d, []finding{{"kernel", checkFailed, "old", "newer"}}, "kernel", checkFailed},
		{"configuration", s["inside"], d, nil, "configuration", checkFailed}, // there is none
	} {
		t.Run(c.name, func(t *testing.T) {
			r := patient(t, c.status, c.detect, control.Probe{}, c.host, "--json")
			k := found(t, r, c.check)
			if len(k) == 0 || k[0].Result != c.result {
				t.Fatalf("%+v, want %s\n%s", k, c.result, r.out)
			}
			if k[0].Advice == "" && c.check != "problem" {
				t.Error("it does not say what to do")
			}
			if c.result == checkFailed && r.code != exitFailed {
				t.Errorf("exit %d", r.code)
			}
		})
	}
}

// Each layer that does not answer is told with what to do, unless what lies behind it answers.
func TestDoctorAsksTheLayers(t *testing.T) {
	for _, c := range []struct {
		name  string
		round control.Ping
		layer string
		want  grade
	}{
		{"whole", pingOf(1, 20, 21, 22, 24), "layer x-mip", checkOK},
		{"a silent gateway", pingOf(1, 20, 21, 0, 24), "layer vpn", checkSkipped},
		{"no ESP", pingOf(1, 20, 21, 22, 0), "layer i-mip", checkWarning},
		{"nothing behind the router", pingOf(1, 0, 0, 0, 0), "layer vpn", checkWarning},
		{"no tunnel", pingOf(1, 20, 21, -1, -1), "layer vpn", checkSkipped},
	} {
		before := patientPing
		patientPing = c.round
		r := patient(t, statuses()["outside"], answered(control.VerdictOutside), control.Probe{}, nil, "--json")
		patientPing = before
		if k := found(t, r, c.layer); len(k) != 1 || k[0].Result != c.want || (k[0].Result == checkWarning) != (k[0].Advice != "") {
			t.Errorf("%s: %+v, want %s", c.name, k, c.want)
		}
		if k := found(t, r, "firewall"); len(k) != 1 || k[0].Result != checkSkipped || !strings.Contains(k[0].Advice, "--expect outside") {
			t.Errorf("the firewall's assumption: %+v", k)
		}
	}
}

func TestDoctorLooksAtMTUAndGateway(t *testing.T) {
	for want, m := range map[string]control.PathMTU{
		"packets of up to 1400": {MTU: 1400, State: "complete"}, "of 1100 octets at most": {MTU: 1100, State: "complete"},
		"without knowing": {MTU: 1400, State: "unanswered"}, "no longer did": {MTU: 1300, State: "complete", BlackHoles: 2},
	} {
		r := new(report)
		r.mtu(&m)
		if len(r.Checks) != 1 || !strings.Contains(r.Checks[0].Message, want) || (r.Checks[0].Result == checkOK) != (r.Checks[0].Advice == "") {
			t.Errorf("%+v: %+v, want %q", m, r.Checks, want)
		}
	}
	r := new(report)
	r.mtu(nil)
	r.gateway(nil)
	r.gateway(&control.VPN{})
	if len(r.Checks) != 0 {
		t.Errorf("%+v", r.Checks)
	}
	r.gateway(&control.VPN{Established: true, GatewayIdentity: "gw.example", GatewayProof: "certificate"})
	r.gateway(&control.VPN{Established: true, GatewayIdentity: "gw.example", Narrowed: true})
	if len(r.Checks) != 2 || r.Checks[0].Result != checkOK || r.Checks[1].Result != checkWarning || r.Checks[1].Advice == "" {
		t.Errorf("%+v", r.Checks)
	}
}

func TestDoctorForPeople(t *testing.T) {
	host := []finding{{"kernel", checkOK, "Linux 6.18.0", ""}, {"rp_filter", checkWarning, "strict on eth0: while the client is up it should be loose (2)", "run `mipvpn down; mipvpn up`"}}
	trusts := control.Registration{Asked: true, Answered: true, TrustedNetwork: true, Outcome: "it accepts the registration"}
	r := patient(t, statuses()["waived"], answered(control.VerdictInside), probed(trusts, true), host, "--expect", "outside")
	out := strings.ReplaceAll(r.out, os.TempDir(), "/tmp")
	var lines []string
	for l := range strings.SplitSeq(out, "\n") {
		if !strings.Contains(l, "none.toml") { // its directory is another each time
			lines = append(lines, l)
		}
	}
	golden(t, "doctor.txt", strings.Join(lines, "\n"))
	if r.code != exitFailed || !strings.Contains(r.err, "not all is well") {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
}

func TestDoctorWithoutDaemon(t *testing.T) {
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"--socket", filepath.Join(t.TempDir(), "none"), "doctor", "--json"}, terminal{out: &out, err: &errs, start: noClient})
	r := result{code, out.String(), errs.String()}
	if k := found(t, r, "daemon"); code != exitUnreachable || len(k) != 1 || k[0].Result != checkFailed || k[0].Advice == "" {
		t.Errorf("exit %d, %+v", code, k)
	}
	if r := mipvpn(t.Context(), "none", "doctor", "--expect", "nowhere"); r.code != exitUsage {
		t.Errorf("exit %d for an unknown expectation", r.code)
	}
}

func TestDoctorFails(t *testing.T) {
	b := controltest.New(statuses()["inside"])
	b.Fail(errors.New("the daemon is at a loss"))
	socket := serve(t, b, everybody(t))
	r := mipvpn(t.Context(), socket, "doctor", "--json")
	if r.code != exitFailed || !strings.Contains(r.err, "at a loss") {
		t.Errorf("exit %d, %s", r.code, r.err)
	}
}

// reader is a judge who lets everybody read and nobody do anything else.
type reader struct{}

func (reader) Judge(_ context.Context, _ control.Peer, right control.Right, _ bool) error {
	if right == control.RightRead {
		return nil
	}
	return errors.New("the rules say no")
}

// Who may only read gets a report of what there is, and is told what was not tried.
func TestDoctorForReaders(t *testing.T) {
	b := controltest.New(statuses()["outside"])
	b.SetDetection(answered(control.VerdictOutside))
	s := control.NewServer(b, everybody(t), nil)
	s.SetJudge(reader{})
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.ServeConn(t.Context(), far, control.Peer{UID: 4711})
	}()
	c := control.NewClient(near)
	r := &report{Schema: control.Schema, Expect: "outside", Result: checkOK}
	if err := r.daemon(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	<-served
	for _, name := range []string{"detection", "layers", "firewall"} {
		if k := r.named(name); len(k) != 1 || k[0].Result != checkSkipped || k[0].Advice == "" {
			t.Errorf("%s: %+v", name, k)
		}
	}
	if k := r.named("state"); len(k) != 1 || k[0].Result != checkOK || r.Result != checkOK {
		t.Errorf("%+v", r.Checks)
	}
}
