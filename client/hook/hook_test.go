//go:build unix

package hook

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mipvpn/client/control"
)

// client is a source of events that a test plays.
type client struct {
	events chan control.Event
	status control.Status
}

func newClient() *client {
	return &client{events: make(chan control.Event), status: control.Status{State: control.StateConnected, Mode: "cvc", ModePolicy: "auto", Interface: "wlan0",
		Device: "mip0", HomeAddress: netip.MustParseAddr("10.0.3.1"),
		Layers:  []control.Layer{{Kind: "underlay", Local: netip.MustParseAddr("192.0.2.77")}, {Kind: "vpn", Local: netip.MustParseAddr("10.0.9.1"), Remote: netip.MustParseAddr("192.0.2.10")}},
		PathMTU: &control.PathMTU{MTU: 1386},
		DNS:     &control.DNS{Servers: []netip.Addr{netip.MustParseAddr("10.0.1.53"), netip.MustParseAddr("10.0.1.54")}, Domains: []string{"corp.example", "lab.example"}}}}
}

func (c *client) Subscribe() (<-chan control.Event, func()) {
	return c.events, func() { close(c.events) }
}

func (c *client) Status(context.Context) (control.Status, error) { return c.status, nil }

// patient is how long tests wait for programs at the end.
const patient = 5 * time.Minute

// script writes a program into the directory.
func script(t *testing.T, dir, name, body string, mode os.FileMode) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+body+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func directory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPrograms runs programs for events, in the order of their names, with the documented variables.
// Shows: HST-7 (hooks run with documented variables)
func TestPrograms(t *testing.T) {
	dir, out := directory(t), filepath.Join(t.TempDir(), "out")
	script(t, dir, "20-second", `echo "second $1" >>`+out, 0o755)
	script(t, dir, "10-first", `echo "first $1 $MIPVPN_SEQUENCE" >>`+out+`; env >>`+out, 0o755)
	script(t, dir, "30-off", `echo off >>`+out, 0o644)
	script(t, dir, "40-old.dpkg-old", `echo old >>`+out, 0o755)
	script(t, dir, ".hidden", `echo hidden >>`+out, 0o755)
	c := newClient()
	r := Start(c, Config{Directory: dir, last: patient, Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, zap.NewNop())
	c.events <- control.Event{Sequence: 7, Kind: "handoff", State: control.StateConnected, Mode: "cvc", Verdict: control.VerdictOutside, Message: "c eth0 to cvc wlan0\nforged=yes",
		Time: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC), Handoff: &control.Handoff{From: "c eth0", To: "cvc wlan0", Outage: 12.4}}
	r.Close()
	got := read(t, out)
	if !strings.HasPrefix(got, "first handoff 7\n") || !strings.HasSuffix(got, "second handoff\n") || strings.Contains(got, "off\n"+"old") || strings.Contains(got, "hidden") {
		t.Fatalf("the programs wrote\n%s", got)
	}
	for _, want := range []string{"MIPVPN_EVENT=handoff", "MIPVPN_STATE=connected", "MIPVPN_MODE=cvc", "MIPVPN_VERDICT=outside", "MIPVPN_TIME=2026-11-21T12:00:00Z",
		"MIPVPN_MESSAGE=c eth0 to cvc wlan0 forged=yes", "MIPVPN_INTERFACE=wlan0", "MIPVPN_DEVICE=mip0", "MIPVPN_HOME_ADDRESS=10.0.3.1", "MIPVPN_FROM=c eth0",
		"MIPVPN_TO=cvc wlan0", "MIPVPN_OUTAGE_MS=12", "MIPVPN_VPN_LOCAL=10.0.9.1", "MIPVPN_VPN_REMOTE=192.0.2.10", "MIPVPN_UNDERLAY_LOCAL=192.0.2.77",
		"reason=reconnect", "VPNGATEWAY=192.0.2.10", "TUNDEV=mip0", "INTERNAL_IP4_ADDRESS=10.0.3.1", "INTERNAL_IP4_NETMASKLEN=32", "INTERNAL_IP4_MTU=1386",
		"INTERNAL_IP4_DNS=10.0.1.53 10.0.1.54", "CISCO_DEF_DOMAIN=corp.example", "CISCO_SPLIT_DNS=corp.example,lab.example", "CISCO_SPLIT_INC=1",
		"CISCO_SPLIT_INC_0_ADDR=10.0.0.0", "CISCO_SPLIT_INC_0_MASK=255.0.0.0", "CISCO_SPLIT_INC_0_MASKLEN=8"} {
		if !strings.Contains(got, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// TestReasons holds what scripts that know vpnc-script's reasons are told.
func TestReasons(t *testing.T) {
	for _, c := range []struct {
		event control.Event
		want  string
	}{
		{control.Event{Kind: "state", State: control.StateConnected}, "connect"},
		{control.Event{Kind: "state", State: control.StateConnecting}, "attempt-reconnect"},
		{control.Event{Kind: "state", State: control.StateDown}, "disconnect"},
		{control.Event{Kind: "state", State: control.StateBlocked}, ""},
		{control.Event{Kind: "handoff", State: control.StateConnected, Handoff: &control.Handoff{From: "c eth0"}}, "reconnect"},
		{control.Event{Kind: "handoff", State: control.StateConnected, Handoff: &control.Handoff{}}, ""},
		{control.Event{Kind: "vpn", State: control.StateConnected}, ""},
	} {
		if got := reason(c.event); got != c.want {
			t.Errorf("%s %s: reason %q, expected %q", c.event.Kind, c.event.State, got, c.want)
		}
	}
}

// until waits for something in the queue.
func until(r *Runner, there func() bool) {
	for {
		r.mu.Lock()
		ok := there()
		r.mu.Unlock()
		if ok {
			return
		}
		runtime.Gosched()
	}
}

// TestSlowProgram has a program wait while more happens than is kept: the client never waits for it, the newest events are
// told, and the next program learns how many were not.
// Shows: HST-7 (hooks never block the client)
func TestSlowProgram(t *testing.T) {
	dir, out := directory(t), filepath.Join(t.TempDir(), "out")
	gate, begun := filepath.Join(t.TempDir(), "gate"), filepath.Join(t.TempDir(), "begun")
	script(t, dir, "slow", `test "$MIPVPN_SEQUENCE" != 1 || { : >`+begun+`; while ! test -e `+gate+`; do sleep 0.01; done; }; echo "$MIPVPN_SEQUENCE ${MIPVPN_MISSED:-0}" >>`+out, 0o755)
	c := newClient()
	r := Start(c, Config{Directory: dir, last: patient}, zap.NewNop())
	c.events <- control.Event{Sequence: 1, Kind: "vpn"}
	until(r, func() bool { _, err := os.Stat(begun); return err == nil })
	for i := range queued + 10 {
		c.events <- control.Event{Sequence: uint64(i + 2), Kind: "vpn"} // nobody but the Runner takes them
	}
	until(r, func() bool { return r.queue[len(r.queue)-1].Sequence == queued+11 })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Close()
	lines := strings.Split(strings.TrimSpace(read(t, out)), "\n")
	if len(lines) != queued+1 || lines[0] != "1 0" || lines[1] != "12 10" || lines[2] != "13 0" || lines[queued] != fmt.Sprintf("%d 0", queued+11) {
		t.Fatalf("told of %q", lines)
	}
}

// TestProgramThatHangs ends a program, and what it has started, when its time is up.
func TestProgramThatHangs(t *testing.T) {
	dir, out := directory(t), filepath.Join(t.TempDir(), "out")
	script(t, dir, "hangs", `sleep 1000 & sleep 1000; echo never >>`+out, 0o755)
	core, logs := observer.New(zapcore.WarnLevel)
	c := newClient()
	r := Start(c, Config{Directory: dir, Timeout: 100 * time.Millisecond, last: patient}, zap.New(core))
	c.events <- control.Event{Kind: "up"}
	c.events <- control.Event{Kind: "down"}
	r.Close()
	if logs.FilterMessage("hook was ended: it took too long").Len() != 2 {
		t.Errorf("the log has %v", logs.All())
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("the program went on")
	}
}

// TestProgramThatFails logs how a program failed and goes on with the next.
func TestProgramThatFails(t *testing.T) {
	dir, out := directory(t), filepath.Join(t.TempDir(), "out")
	script(t, dir, "1-fails", `echo "this is why"; exit 3`, 0o755)
	script(t, dir, "2-next", `echo next >>`+out, 0o755)
	core, logs := observer.New(zapcore.WarnLevel)
	c := newClient()
	r := Start(c, Config{Directory: dir, last: patient}, zap.New(core))
	c.events <- control.Event{Kind: "up"}
	r.Close()
	if got := read(t, out); got != "next\n" {
		t.Errorf("the programs wrote %q", got)
	}
	failed := logs.FilterMessage("hook failed").All()
	if len(failed) != 1 || failed[0].ContextMap()["output"] != "this is why" {
		t.Errorf("the log has %v", failed)
	}
}

// TestProgramsOfOthers runs nothing that others than root and the daemon's user could have written, and says so once.
func TestProgramsOfOthers(t *testing.T) {
	dir, out := directory(t), filepath.Join(t.TempDir(), "out")
	script(t, dir, "group", `echo group >>`+out, 0o775)
	script(t, dir, "world", `echo world >>`+out, 0o757)
	script(t, dir, "own", `echo own >>`+out, 0o755)
	if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	want := 3
	if os.Geteuid() == 0 {
		script(t, dir, "user", `echo user >>`+out, 0o755)
		if err := os.Chown(filepath.Join(dir, "user"), 1234, 0); err != nil {
			t.Fatal(err)
		}
		want++
	}
	core, logs := observer.New(zapcore.WarnLevel)
	c := newClient()
	r := Start(c, Config{Directory: dir, last: patient}, zap.New(core))
	c.events <- control.Event{Kind: "up"}
	c.events <- control.Event{Kind: "down"}
	r.Close()
	if got := read(t, out); got != "own\nown\n" {
		t.Errorf("ran %q", got)
	}
	if n := logs.FilterMessage("hook is not run").Len(); n != want {
		t.Errorf("%d complaints, expected %d: %v", n, want, logs.All())
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if files, refused := list(dir); len(files) != 0 || refused[dir] == "" {
		t.Errorf("a directory that everybody may write to: %q, %q", files, refused)
	}
	above := directory(t)
	below := filepath.Join(above, "hooks.d")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	script(t, below, "own", "exit 0", 0o755)
	if files, refused := list(below); len(files) != 1 || len(refused) != 0 {
		t.Errorf("a directory of one's own: %q, %q", files, refused)
	}
	if err := os.Chmod(above, 0o777); err != nil {
		t.Fatal(err)
	}
	if files, refused := list(below); len(files) != 0 || !strings.Contains(refused[below], above+" has mode 0777") {
		t.Errorf("a directory that everybody may replace: %q, %q", files, refused)
	}
	if files, refused := list(filepath.Join(dir, "none")); len(files) != 0 || len(refused) != 0 {
		t.Errorf("no directory: %q, %q", files, refused)
	}
}

// TestDocument holds that docs/scripting.md has every variable that programs are given, and that its example is a program.
// Shows: HST-7 (hooks' variables are documented)
func TestDocument(t *testing.T) {
	doc := read(t, "../../docs/scripting.md")
	full := newClient().status
	for _, kind := range []string{"underlay", "x-mip", "vpn", "i-mip"} {
		full.Layers = append(full.Layers, control.Layer{Kind: kind, Local: full.HomeAddress, Remote: full.HomeAddress})
	}
	full.Layers[2].Remote = netip.Addr{} // an underlay has none
	o := occasion{missed: 1, Event: control.Event{Kind: "state", State: control.StateConnected, Mode: "c", Interface: "eth0",
		Handoff: &control.Handoff{From: "c eth0", To: "cvc wlan0"}, Problem: &control.Problem{Peer: "i-HA", Code: "131"}}}
	for _, v := range environment(o, full, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) {
		name, _, _ := strings.Cut(v, "=")
		if name != "PATH" && !strings.Contains(doc, "`"+name+"`") {
			t.Errorf("docs/scripting.md says nothing of %s", name)
		}
	}
	_, example, ok := strings.Cut(doc, "hooks.d/50-where <<'END'\n#!/bin/sh\n")
	if !ok {
		t.Fatal("docs/scripting.md has no example")
	}
	example, _, _ = strings.Cut(example, "\nEND\n")
	example = strings.Replace(example, "exec logger", "logger", 1) // a function stands in its place
	dir := directory(t)
	script(t, dir, "50-where", "logger() { echo \"$@\" >"+filepath.Join(dir, "logged")+"; }\n"+example, 0o755)
	c := newClient()
	r := Start(c, Config{Directory: dir, last: patient}, zap.NewNop())
	c.events <- control.Event{Kind: "state", State: control.StateConnected, Verdict: control.VerdictOutside, Mode: "cvc"}
	r.Close()
	if got := read(t, filepath.Join(dir, "logged")); got != "-t mipvpn-hook connected (outside) by cvc\n" {
		t.Errorf("the example wrote %q", got)
	}
}
