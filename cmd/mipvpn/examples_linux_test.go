package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

const examples = "../../scripts/examples"

// runVariable has the test's own program be mipvpn, for scripts.
const runVariable = "MIPVPN_TEST_RUN"

// stage is where a script finds its programs: mipvpn against a daemon, and fakes that note how they were called.
type stage struct {
	t      *testing.T
	bin    string
	socket string
}

// newStage makes one with these fakes; each exits with the code that the environment says (CODE_NAME).
func newStage(t *testing.T, socket string, fakes ...string) *stage {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t, t.TempDir(), socket}
	s.put("mipvpn", fmt.Sprintf("#!/bin/sh\n%s=1 exec %q \"$@\"\n", runVariable, self))
	for _, f := range fakes {
		s.put(f, fmt.Sprintf("#!/bin/sh\n{ printf '%%s' %s; printf ' [%%s]' \"$@\"; echo; } >>%q\ncase $1 in is-active) exit ${ACTIVE:-3} ;; esac\n", f, s.bin+"/calls"))
	}
	return s
}

func (s *stage) put(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.bin, name), []byte(text), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// command returns a run of an example with these variables.
func (s *stage) command(name string, variables []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), "/bin/sh", append([]string{filepath.Join(examples, name)}, args...)...)
	cmd.Env = append([]string{"PATH=" + s.bin + ":/usr/bin:/bin", socketVariable + "=" + s.socket}, variables...)
	return cmd
}

// run runs an example and returns what it wrote.
func (s *stage) run(name string, variables []string, args ...string) string {
	s.t.Helper()
	out, err := s.command(name, variables, args...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// calls returns how the fakes were called since the last time.
func (s *stage) calls() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.bin, "calls"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(s.bin, "calls"))
	return string(text)
}

// TestExamplesAreScripts has the shell read each example without running it: it can be run, and says how it is installed.
func TestExamplesAreScripts(t *testing.T) {
	files, err := os.ReadDir(examples)
	if err != nil || len(files) < 5 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, f := range files {
		path := filepath.Join(examples, f.Name())
		if out, err := exec.Command("/bin/sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s has mode %v, %v", path, info.Mode(), err)
		}
	}
}

// TestNotifyExample shows which events reach which people, and that nothing of a message becomes a command.
func TestNotifyExample(t *testing.T) {
	s := newStage(t, "/nowhere", "systemd-run")
	buses := t.TempDir()
	for _, person := range []string{"1000", "0", "other"} {
		if err := os.Mkdir(filepath.Join(buses, person), 0); err != nil {
			t.Fatal(err)
		}
	}
	variables := func(event, state string) []string {
		return []string{"MIPVPN_RUN_USER=" + buses, "MIPVPN_EVENT=" + event, "MIPVPN_STATE=" + state, "MIPVPN_VERDICT=inside", "MIPVPN_MESSAGE=it's $(reboot) \"so\""}
	}
	s.run("notify", variables("state", "connected"), "state")
	want := "systemd-run [--quiet] [--no-block] [--collect] [--uid=1000] [--setenv=DBUS_SESSION_BUS_ADDRESS=unix:path=" + buses +
		"/1000/bus] [notify-send] [--app-name=mipvpn] [--icon=network-vpn] [--] [Connected, inside] [it's $(reboot) \"so\"]\n"
	if got := s.calls(); got != want {
		t.Errorf("called\n%swant\n%s", got, want)
	}
	s.run("notify", variables("problem", "connecting"), "problem")
	if got := s.calls(); !strings.Contains(got, "[mipvpn has a problem]") || strings.Count(got, "\n") != 1 {
		t.Errorf("called\n%s", got)
	}
	for _, quiet := range [][]string{variables("state", "detecting"), variables("dns", "connected")} {
		if s.run("notify", quiet); s.calls() != "" {
			t.Errorf("%q is told", quiet)
		}
	}
}

// TestOfficeDockExample shows when the office's units are started and stopped.
func TestOfficeDockExample(t *testing.T) {
	s := newStage(t, "/nowhere", "systemctl")
	for _, c := range []struct {
		event, state, verdict, iface string
		active                       bool
		want                         string
	}{
		{"handoff", "connected", "inside", "enp3s0", false, "start"},
		{"handoff", "connected", "inside", "enp3s0", true, ""},
		{"handoff", "connected", "inside", "wlp2s0", true, "stop"},
		{"proof_lost", "connecting", "unknown", "enp3s0", true, "stop"},
		{"down", "down", "unknown", "", true, "stop"},
		{"verdict", "connected", "outside", "eth0", false, ""},
		{"dns", "connected", "inside", "eth0", false, ""},
	} {
		active := "ACTIVE=3"
		if c.active {
			active = "ACTIVE=0"
		}
		s.run("office-dock", []string{active, "MIPVPN_EVENT=" + c.event, "MIPVPN_STATE=" + c.state, "MIPVPN_VERDICT=" + c.verdict, "MIPVPN_INTERFACE=" + c.iface}, c.event)
		got := s.calls()
		if told := strings.Contains(got, "[--no-block] [office.target]"); told != (c.want != "") || told && !strings.Contains(got, "systemctl ["+c.want+"] ") {
			t.Errorf("%+v: called\n%s", c, got)
		}
	}
}

// TestMaintenanceWindowExample pins a mode against a daemon and has it given back, at the end and when it is ended early, but not where
// somebody has chosen another one.
func TestMaintenanceWindowExample(t *testing.T) {
	b := controltest.New(control.Status{Schema: 1, State: control.StateConnected, ModePolicy: "auto"})
	s := newStage(t, serve(t, b, everybody(t)))
	expect := func(what string, want ...string) {
		t.Helper()
		var modes []string
		for _, c := range b.Calls() {
			if strings.HasPrefix(c, "mode ") {
				modes = append(modes, c)
			}
		}
		if !slices.Equal(modes, want) {
			t.Errorf("%s: calls %q, want %q", what, modes, want)
		}
	}
	if out := s.run("maintenance-window", nil, "cvc", "0"); !strings.Contains(out, "the mode policy is auto again") {
		t.Errorf("wrote %q", out)
	}
	expect("to the end", "mode cvc", "mode auto")
	cmd := s.command("maintenance-window", nil, "vc", "1h")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has said that it waits
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	expect("ended early", "mode cvc", "mode auto", "mode vc", "mode auto")
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("ended early: exit %d", code)
	}
	s.put("sleep", fmt.Sprintf("#!/bin/sh\nexec %q/mipvpn mode fvc\n", s.bin)) // somebody chooses
	if out := s.run("maintenance-window", nil, "cvc", "1h"); !strings.Contains(out, "somebody has chosen another mode") {
		t.Errorf("wrote %q", out)
	}
	expect("somebody else", "mode cvc", "mode auto", "mode vc", "mode auto", "mode cvc", "mode fvc")
	if err := s.command("maintenance-window", nil, "cvc").Run(); err == nil || err.(*exec.ExitError).ExitCode() != exitUsage {
		t.Errorf("without a time: %v", err)
	}
}

// TestDispatcherExamples runs what NetworkManager and networkd-dispatcher would start against a daemon.
func TestDispatcherExamples(t *testing.T) {
	for _, c := range []struct {
		name, state string
		variables   []string
		args        []string
		want        []string
	}{
		{"networkmanager-dispatcher", "down", nil, []string{"wlan0", "up"}, []string{"up"}},
		{"networkmanager-dispatcher", "down", nil, []string{"lo", "up"}, nil},
		{"networkmanager-dispatcher", "down", nil, []string{"wlan0", "down"}, nil},
		{"networkmanager-dispatcher", "blocked", []string{"CONNECTIVITY_STATE=FULL"}, []string{"", "connectivity-change"}, []string{"status", "detect again=true"}},
		{"networkmanager-dispatcher", "connected", []string{"CONNECTIVITY_STATE=FULL"}, []string{"", "connectivity-change"}, []string{"status"}},
		{"networkmanager-dispatcher", "blocked", []string{"CONNECTIVITY_STATE=PORTAL"}, []string{"", "connectivity-change"}, nil},
		{"networkd-dispatcher", "blocked", []string{"IFACE=wlan0", "OperationalState=routable"}, nil, []string{"up", "status", "detect again=true"}},
		{"networkd-dispatcher", "blocked", []string{"IFACE=mip0", "OperationalState=routable"}, nil, nil},
		{"networkd-dispatcher", "blocked", []string{"IFACE=wlan0", "OperationalState=carrier"}, nil, nil},
	} {
		b := controltest.New(control.Status{Schema: 1, State: control.State(c.state), ModePolicy: "auto"})
		s := newStage(t, serve(t, b, everybody(t)))
		s.run(c.name, c.variables, c.args...)
		if got := b.Calls(); !slices.Equal(got, c.want) {
			t.Errorf("%s %q %q while %s: calls %q, want %q", c.name, c.args, c.variables, c.state, got, c.want)
		}
	}
}
