package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	if os.Getenv("MIPVPN_TEST_RUN") != "" { // a script's mipvpn
		os.Exit(run(context.Background(), os.Args[1:], terminal{out: os.Stdout, err: os.Stderr, start: noClient}))
	}
	time.Local = time.UTC // golden files have times
	os.Exit(m.Run())
}

// result is what one command line did.
type result struct {
	code     int
	out, err string
}

// mipvpn runs one command line against the socket.
func mipvpn(ctx context.Context, socket string, args ...string) result {
	var out, errs bytes.Buffer
	code := run(ctx, append([]string{"--socket", socket}, args...), terminal{out: &out, err: &errs, start: noClient})
	return result{code, out.String(), errs.String()}
}

func noClient(*config.Config, *zap.Logger) (backend, error) {
	return nil, errors.New("this test starts no client")
}

// serve answers on a unix socket until the test ends.
func serve(t *testing.T, b control.Backend, a control.Authority) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- control.NewServer(b, a, nil).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return path
}

func everybody(t *testing.T) control.Authority {
	t.Helper()
	a, err := control.NewAuthority(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// golden compares got with a file, or rewrites the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func seconds(f float64) *float64 { return &f }

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// statuses are the states that a person sees.
func statuses() map[string]control.Status {
	eth := control.Interface{Name: "eth0", Index: 2, Up: true, Address: netip.MustParsePrefix("10.0.2.57/24"), Epoch: 4, State: "inside",
		Proof: control.Proof{Verdict: control.VerdictInside, Age: seconds(12.5), ExpiresIn: seconds(47.5), Reason: "the i-HA's reply straight through this interface, with the Trusted Networks Configured extension"}}
	wlan := control.Interface{Name: "wlan0", Index: 3, Up: true, Address: netip.MustParsePrefix("192.168.1.23/24"), Epoch: 9, State: "outside",
		Proof: control.Proof{Verdict: control.VerdictOutside, Reason: "the x-HA answered and the i-HA did not prove inside within 2s"}}
	hotspot := control.Interface{Name: "wlan0", Index: 3, Up: true, ForeignAgent: ip("172.16.5.1"), Epoch: 10, State: "detecting",
		Proof: control.Proof{Verdict: control.VerdictUnknown, Reason: "the connection status of the interface changed"}}
	base := control.Status{Schema: 1, ModePolicy: "auto", HomeAddress: ip("10.0.8.100"), Device: "mip0", Since: noon,
		Layers: []control.Layer{}, Interfaces: []control.Interface{}, Handoffs: []control.Handoff{}, Problems: []control.Problem{},
		Counters: control.Counters{Drops: map[string]uint64{}}, Proof: control.Proof{Verdict: control.VerdictUnknown, Reason: "the client is down"}}

	down := base
	down.State, down.Device = control.StateDown, ""

	inside := base
	inside.State, inside.Mode, inside.Interface, inside.Proof = control.StateConnected, "c", "eth0", eth.Proof
	inside.ModeReason = "proven to be inside: no VPN is needed"
	inside.Layers = []control.Layer{
		{Kind: "underlay", Local: ip("10.0.2.57"), Encapsulation: "none"},
		{Kind: "i-mip", Local: ip("10.0.8.100"), Remote: ip("10.0.1.10"), CareOf: ip("10.0.2.57"), Encapsulation: "udp", Lifetime: 1789.4},
	}
	used := eth
	used.InUse = true
	inside.Interfaces = []control.Interface{used, wlan}
	inside.Exposure, inside.Monitor = 31250, 60
	inside.Counters = control.Counters{TxPackets: 1200, TxBytes: 1_500_000, RxPackets: 900, RxBytes: 999, Drops: map[string]uint64{"gate_closed": 3, "no_path": 1}}

	outside := inside
	outside.Mode, outside.Interface, outside.Proof = "cvc", "wlan0", wlan.Proof
	outside.ModeReason = "the VPN gateway does not follow the laptop to another address"
	outside.Layers = []control.Layer{
		{Kind: "underlay", Local: ip("192.168.1.23"), Encapsulation: "none"},
		{Kind: "x-mip", Local: ip("198.51.100.100"), Remote: ip("192.0.2.20"), CareOf: ip("192.168.1.23"), Encapsulation: "udp", Lifetime: 1700},
		{Kind: "vpn", Local: ip("10.0.9.3"), Remote: ip("192.0.2.10"), Encapsulation: "esp-in-udp", SPIs: []string{"0x01020304", "0xc0ffee00"}},
		{Kind: "i-mip", Local: ip("10.0.8.100"), Remote: ip("10.0.1.10"), CareOf: ip("10.0.9.3"), Encapsulation: "ipip", Lifetime: 1790},
	}
	gone, roaming := eth, wlan
	gone.Up, gone.Address, gone.State, gone.Proof = false, netip.Prefix{}, "idle", control.Proof{Verdict: control.VerdictUnknown, Reason: "the interface is down or has neither address nor foreign agent"}
	roaming.InUse = true
	outside.Interfaces = []control.Interface{gone, roaming}
	outside.Handoffs = []control.Handoff{
		{Time: noon.Add(-time.Hour), From: "", To: "c eth0", Reason: "up", Outage: 0},
		{Time: noon, From: "c eth0", To: "cvc wlan0", Reason: "eth0 lost its carrier", Outage: 38.4},
	}

	waiving := inside
	waiving.TNCWaived = true
	waiving.Proof.Reason = "the i-HA's reply straight through this interface; the Trusted Networks Configured extension is WAIVED by configuration"

	blocked := base
	blocked.State, blocked.Interface, blocked.Proof, blocked.ModePolicy = control.StateBlocked, "wlan0", hotspot.Proof, "f"
	blocked.Interfaces = []control.Interface{hotspot}
	for i := range 5 {
		blocked.Interfaces = append(blocked.Interfaces, control.Interface{Name: fmt.Sprintf("veth%d", i), Index: 10 + i, State: "idle", Proof: control.Proof{Verdict: control.VerdictUnknown}})
	}
	blocked.Problems = []control.Problem{
		{Peer: "i-HA 10.0.1.10", Code: `131 "mobile node failed authentication"`, Message: "denied the registration", Advice: "Compare key, SPI and algorithm with the agent's", Since: noon},
		{Message: "mode f is pinned and no proof of inside is there", Advice: "Run `mipvpn mode auto`", Since: noon},
		{Peer: "gateway 192.0.2.10", Code: "24 AUTHENTICATION_FAILED", Message: "refuses", Since: noon}, {Message: "another"}, {Message: "and another"},
	}
	return map[string]control.Status{"down": down, "inside": inside, "outside": outside, "blocked": blocked, "waived": waiving}
}

func detection() control.Detection {
	s := statuses()
	return control.Detection{Schema: 1, Mode: "c", ModeReason: s["inside"].ModeReason, Interfaces: []control.InterfaceDetection{
		{Interface: s["inside"].Interfaces[0],
			Internal: control.Registration{Agent: ip("10.0.1.10"), Asked: true, AskedAgo: 12.5, Answered: true, AnsweredAgo: 12.4, RoundTrip: 21, TrustedNetwork: true, Outcome: "proof of inside"},
			External: control.Registration{Agent: ip("192.0.2.20"), Asked: true, AskedAgo: 300, Answered: true, AnsweredAgo: 299.9, RoundTrip: 40, Outcome: "deregistered"}},
		{Interface: s["inside"].Interfaces[1],
			Internal: control.Registration{Agent: ip("10.0.1.10"), Asked: true, AskedAgo: 3},
			External: control.Registration{Agent: ip("192.0.2.20")}},
	}}
}

func TestStatusForPeopleAndPrograms(t *testing.T) {
	for name, s := range statuses() {
		t.Run(name, func(t *testing.T) {
			socket := serve(t, controltest.New(s), everybody(t))
			text := mipvpn(t.Context(), socket, "status")
			if text.code != exitDone || text.err != "" {
				t.Errorf("exit %d, %s", text.code, text.err)
			}
			if n := strings.Count(text.out, "\n"); n > 24 {
				t.Errorf("%d lines do not fit a screen", n)
			}
			golden(t, "status-"+name+".txt", text.out)
			golden(t, "status-"+name+"-80x24.txt", shown(t, screen{width: 80, height: 24}, s))
			document := mipvpn(t.Context(), socket, "status", "--json")
			if document.code != exitDone || document.err != "" {
				t.Errorf("exit %d, %s", document.code, document.err)
			}
			golden(t, "status-"+name+".json", document.out)
			want := exitNotConnected
			if s.State == control.StateConnected {
				want = exitDone
			}
			if r := mipvpn(t.Context(), socket, "status", "--check"); r.code != want || r.out != text.out {
				t.Errorf("--check: exit %d, want %d", r.code, want)
			}
		})
	}
}

// TestStatusFields holds the fields that DESIGN §4 promises to scripts.
func TestStatusFields(t *testing.T) {
	socket := serve(t, controltest.New(statuses()["down"]), everybody(t))
	var doc map[string]any
	if err := json.Unmarshal([]byte(mipvpn(t.Context(), socket, "status", "--json").out), &doc); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"schema", "state", "mode", "mode_policy", "interface", "home_address", "proof", "layers", "interfaces",
		"handoffs", "exposure", "counters"} {
		if v, ok := doc[field]; !ok || v == nil {
			t.Errorf("field %q: %v", field, v)
		}
	}
	proof := doc["proof"].(map[string]any)
	for _, field := range []string{"verdict", "age_s", "expires_in_s", "reason"} {
		if _, ok := proof[field]; !ok {
			t.Errorf("field proof.%s is missing", field)
		}
	}
	if doc["schema"] != 1.0 {
		t.Errorf("schema %v", doc["schema"])
	}
}

func TestDetect(t *testing.T) {
	b := controltest.New(statuses()["inside"])
	socket := serve(t, b, everybody(t))
	if r := mipvpn(t.Context(), socket, "detect"); r.code != exitDone || !strings.HasPrefix(r.out, "no interface is being looked at: the client is down (`mipvpn up`)") {
		t.Errorf("%+v", r)
	}
	b.SetDetection(detection())
	golden(t, "detect.txt", mipvpn(t.Context(), socket, "detect").out)
	golden(t, "detect.json", mipvpn(t.Context(), socket, "detect", "--again", "--json").out)
	if calls := b.Calls(); calls[len(calls)-1] != "detect again=true" || calls[len(calls)-2] != "detect again=false" {
		t.Errorf("asked %q", calls)
	}
}

func TestCommands(t *testing.T) {
	inside, down := statuses()["inside"], statuses()["down"]
	refused := fmt.Errorf("%w: mode f needs a foreign agent, and none is heard", control.ErrRefused)
	tests := []struct {
		name   string
		args   []string
		status control.Status
		fail   error
		code   int
		out    string
		err    string // must be part of standard error; empty: nothing there
		calls  string // asked of the client
	}{
		{name: "up", args: []string{"up"}, calls: "up"},
		{name: "down", args: []string{"down"}, calls: "down"},
		{name: "up fails", args: []string{"up"}, fail: errors.New("no TUN device: permission denied"), code: exitFailed, err: "mipvpn: no TUN device: permission denied", calls: "up"},
		{name: "mode shown", args: []string{"mode"}, status: inside, out: "c (policy auto)\n", calls: "status"},
		{name: "no mode shown", args: []string{"mode"}, status: down, out: "none (policy auto)\n", calls: "status"},
		{name: "mode set", args: []string{"mode", "cvc"}, calls: "mode cvc"},
		{name: "mode refused", args: []string{"mode", "f"}, fail: refused, code: exitFailed, err: "mode f needs a foreign agent", calls: "mode f"},
		{name: "mode unknown", args: []string{"mode", "vcv"}, code: exitUsage, err: `access mode "vcv" is not one of auto, c, f, vc, vf, cvc, cvf, fvc, fvf`},
		{name: "too many modes", args: []string{"mode", "c", "f"}, code: exitUsage, err: "mode was given 2 of its arguments"},
		{name: "wait", args: []string{"wait", "--for", "inside", "--timeout", "5s"}, status: inside, out: "connected, inside, mode c\n", calls: "status"},
		{name: "wait times out", args: []string{"wait", "--for", "outside", "--timeout", "1ms"}, status: inside, code: exitTimeout, err: "not outside within 1ms: the client is connected", calls: "status, status"},
		{name: "wait while down", args: []string{"wait", "--for", "connected"}, status: down, code: exitNotConnected, err: "the client is down", calls: "status"},
		{name: "wait for nothing", args: []string{"wait"}, code: exitUsage, err: `--for "" is not one of`},
		{name: "wait for something else", args: []string{"wait", "--for", "godot"}, code: exitUsage, err: `--for "godot" is not one of`},
		{name: "wait a negative time", args: []string{"wait", "--for", "inside", "--timeout", "-1s"}, code: exitUsage, err: "--timeout -1s"},
		{name: "wait a wrong time", args: []string{"wait", "--for", "inside", "--timeout", "5"}, code: exitUsage, err: "expected a time with its unit"},
		{name: "status fails", args: []string{"status"}, fail: errors.New("the client ends"), code: exitFailed, err: "the client ends", calls: "status"},
		{name: "status with an argument", args: []string{"status", "x"}, code: exitUsage, err: `mipvpn status takes no arguments, and was given "x"`},
		{name: "unknown command", args: []string{"explode"}, code: exitUsage, err: `unknown command "explode"`},
		{name: "misspelt command", args: []string{"statsu"}, code: exitUsage, err: "did you mean `mipvpn status`?"},
		{name: "another program's command", args: []string{"connect"}, code: exitUsage, err: "did you mean `mipvpn up`?"},
		{name: "nothing to explain", args: []string{"explain", ""}, code: exitUsage, err: "the address is empty"},
		{name: "no name to store", args: []string{"answer", "--store", ""}, code: exitUsage, err: "--store needs a name"},
		{name: "unknown flag", args: []string{"status", "--xml"}, code: exitUsage, err: "mipvpn status has no flag --xml"},
		{name: "unknown configuration command", args: []string{"config", "chek"}, code: exitUsage, err: "unknown command"},
		{name: "two configuration files", args: []string{"config", "check", "a", "b"}, code: exitUsage, err: "check was given 2 of its arguments"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			b := controltest.New(tc.status)
			b.Fail(tc.fail)
			r := mipvpn(t.Context(), serve(t, b, everybody(t)), tc.args...)
			if r.code != tc.code || r.out != tc.out {
				t.Errorf("exit %d, want %d; printed %q, want %q", r.code, tc.code, r.out, tc.out)
			}
			if !strings.Contains(r.err, tc.err) || tc.err == "" && r.err != "" {
				t.Errorf("standard error %q, want %q", r.err, tc.err)
			}
			if got := strings.Join(b.Calls(), ", "); got != tc.calls {
				t.Errorf("asked %q, want %q", got, tc.calls)
			}
		})
	}
}

// onlyFailure reports whether a command that failed has written nothing, and with --json the failure as a document.
func onlyFailure(r result, args []string) bool {
	if !slices.Contains(args, "--json") {
		return r.out == ""
	}
	var doc failure
	d := json.NewDecoder(strings.NewReader(r.out))
	return d.Decode(&doc) == nil && !d.More() && doc.Schema == 1 && doc.Error.Code == r.code && strings.HasPrefix(r.err, "mipvpn: "+doc.Error.Message+"\n")
}

// A program that wanted JSON gets it whatever has gone wrong, and no second document where there is one already.
func TestFailureAsJSON(t *testing.T) {
	socket := serve(t, controltest.New(statuses()["down"]), everybody(t))
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"wait", "--for", "connected", "--json"}, exitNotConnected},
		{[]string{"wait", "--for", "godot", "--json"}, exitUsage},
		{[]string{"status", "--json", "there"}, exitUsage},
		{[]string{"explain", "--json", ""}, exitUsage},
		{[]string{"profile", "show", "--json", "there"}, exitFailed},
	} {
		if r := mipvpn(t.Context(), socket, c.args...); r.code != c.code || !onlyFailure(r, c.args) {
			t.Errorf("%v: %+v", c.args, r)
		}
	}
	for _, args := range [][]string{{"config", "check", "--json", os.DevNull}, {"status", "--check", "--json"}} {
		r := mipvpn(t.Context(), socket, args...)
		if d := json.NewDecoder(strings.NewReader(r.out)); r.code == exitDone || d.Decode(new(map[string]any)) != nil || d.More() || strings.Contains(r.out, `"error":`) {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestVersionFlag(t *testing.T) {
	flag, command := mipvpn(t.Context(), "", "--version"), mipvpn(t.Context(), "", "version")
	if flag.code != exitDone || flag.out != command.out || !strings.HasPrefix(flag.out, "mipvpn ") {
		t.Errorf("%+v, and the command %+v", flag, command)
	}
}

// Nothing that other programs call differently may be a command here, and everything must be one of ours.
func TestElsewhere(t *testing.T) {
	names := map[string]bool{}
	for _, c := range (&app{}).root().Commands() {
		names[c.Name()] = true
	}
	for ours, others := range elsewhere {
		if !names[ours] {
			t.Errorf("there is no command %s", ours)
		}
		for _, other := range others {
			if names[other] {
				t.Errorf("%s is a command", other)
			}
		}
	}
}

func TestNoDaemonAndNoPermission(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	denied := serve(t, controltest.New(control.Status{}), control.Authority{})
	for _, args := range [][]string{{"up"}, {"down"}, {"status"}, {"status", "--json"}, {"status", "--check"}, {"mode"}, {"mode", "c"},
		{"detect"}, {"events"}, {"wait", "--for", "inside"}} {
		if r := mipvpn(t.Context(), nowhere, args...); r.code != exitUnreachable || !strings.Contains(r.err, "is `mipvpn daemon` running?") || !onlyFailure(r, args) {
			t.Errorf("%v without a daemon: %+v", args, r)
		}
		if r := mipvpn(t.Context(), denied, args...); r.code != exitPermission || !strings.Contains(r.err, "may not control mipvpn") || !onlyFailure(r, args) {
			t.Errorf("%v without permission: %+v", args, r)
		}
	}
}

func TestSocketThatMayNotBeOpened(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may open every socket")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(path, 0); err != nil {
		t.Fatal(err)
	}
	if r := mipvpn(t.Context(), path, "status"); r.code != exitPermission {
		t.Errorf("%+v", r)
	}
}

func TestEvents(t *testing.T) {
	e := control.Event{Time: noon.Add(1234 * time.Millisecond), Kind: "handoff", State: control.StateConnected, Mode: "cvc", Verdict: control.VerdictOutside, Interface: "wlan0",
		Message: "eth0 lost its carrier", Handoff: &control.Handoff{Time: noon, From: "c eth0", To: "cvc wlan0", Reason: "eth0 lost its carrier", Outage: 38.4}}
	p := control.Event{Time: noon, Kind: "problem", State: control.StateBlocked, Verdict: control.VerdictUnknown, Message: "registration <denied>", Problem: &control.Problem{Message: "x", Since: noon}}
	for _, tc := range []struct {
		file string
		args []string
	}{{"events.txt", []string{"events"}}, {"events.json", []string{"events", "--json", "--after", "run-7"}}} {
		b := controltest.New(control.Status{})
		socket := serve(t, b, everybody(t))
		ctx, interrupt := context.WithCancel(t.Context())
		out := &lines{want: 2, enough: interrupt}
		ended := make(chan int)
		go func() {
			ended <- run(ctx, append([]string{"--socket", socket}, tc.args...), terminal{out: out, err: io.Discard, start: noClient})
		}()
		for b.Subscribers() == 0 {
			runtime.Gosched()
		}
		b.Change(func(*control.Status) {}, e)
		b.Change(func(*control.Status) {}, p)
		if code := <-ended; code != exitDone {
			t.Errorf("exit %d", code)
		}
		golden(t, tc.file, out.String())
		if calls := b.Calls(); (len(tc.args) > 1) != slices.Contains(calls, "events after run-7") {
			t.Errorf("%q asked %q", tc.args, calls)
		}
	}
}

// lines is a writer that calls enough when it has as many lines as wanted.
type lines struct {
	mu     sync.Mutex
	b      bytes.Buffer
	want   int
	enough func()
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Write(p)
	if bytes.Count(l.b.Bytes(), []byte("\n")) == l.want {
		l.enough()
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestNothingReachesTheTerminal shows that text of others (interface names, what a gateway or agent writes) cannot command a
// terminal.
func TestNothingReachesTheTerminal(t *testing.T) {
	evil := "\x1b]0;owned\x07\r\n\x9b31m\u202eevil\xff"
	s := statuses()["outside"]
	s.Problems = []control.Problem{{Peer: evil, Code: evil, Message: evil, Advice: evil}}
	s.Interface, s.Device, s.Proof.Reason, s.Handoffs[0].Reason = evil, evil, evil, evil
	s.Interfaces[0].Name, s.Layers[0].Kind = evil, evil
	d := detection()
	d.Interfaces[0].Name, d.Interfaces[0].Internal.Outcome = evil, evil
	b := controltest.New(s)
	b.SetDetection(d)
	socket := serve(t, b, everybody(t))
	texts := []string{mipvpn(t.Context(), socket, "status").out, mipvpn(t.Context(), socket, "detect").out}
	var event bytes.Buffer
	if err := writeEvent(&event, control.Event{Kind: evil, Message: evil, Interface: evil}); err != nil {
		t.Fatal(err)
	}
	b.Fail(errors.New(evil))
	texts = append(texts, event.String(), mipvpn(t.Context(), socket, "up").err)
	for i, text := range texts {
		if !strings.Contains(text, "owned") || strings.ContainsAny(text, "\x1b\x07\r\u009b\u202e") {
			t.Errorf("text %d: %q", i, text)
		}
	}
	if n := strings.Count(event.String(), "\n"); n != 1 {
		t.Errorf("an event of %d lines", n)
	}
}

func TestVersionAndHelp(t *testing.T) {
	r := mipvpn(t.Context(), "/nowhere", "version")
	if r.code != exitDone || !strings.HasPrefix(r.out, "mipvpn ") {
		t.Errorf("%+v", r)
	}
	r = mipvpn(t.Context(), "/nowhere", "version", "--json")
	var v build
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || v.Schema != 1 || v.Go == "" {
		t.Errorf("%+v: %+v, %v", r, v, err)
	}
	r = mipvpn(t.Context(), "/nowhere", "--help")
	if r.code != exitDone {
		t.Errorf("%+v", r)
	}
	for _, command := range []string{"daemon", "up", "down", "status", "mode", "detect", "events", "wait", "config", "version", "completion"} {
		if !strings.Contains(r.out, "\n  "+command+" ") {
			t.Errorf("the help does not name %q", command)
		}
	}
	if bare := mipvpn(t.Context(), "/nowhere"); bare.code != exitDone || bare.out != r.out {
		t.Errorf("without a command: exit %d", bare.code)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if r := mipvpn(t.Context(), "/nowhere", "completion", shell); r.code != exitDone || !strings.Contains(r.out, "mipvpn") {
			t.Errorf("completion for %s: exit %d", shell, r.code)
		}
	}
	if r := mipvpn(t.Context(), "/nowhere", "__complete", "wait", "--for", ""); !strings.Contains(r.out, "inside\noutside\nconnected\n") {
		t.Errorf("completion of --for: %q", r.out)
	}
}

// What changes something answers with the status that follows, where JSON is asked for.
func TestChangesInJSON(t *testing.T) {
	for _, args := range [][]string{{"up"}, {"down"}, {"mode"}, {"mode", "auto"}} {
		b := controltest.New(statuses()["inside"])
		r := mipvpn(t.Context(), serve(t, b, everybody(t)), append(args, "--json")...)
		var s control.Status
		if err := json.Unmarshal([]byte(r.out), &s); err != nil || r.code != exitDone || r.err != "" || s.Schema != control.Schema || s.ModePolicy == "" {
			t.Errorf("%q: exit %d, %v, %q, printed %s", args, r.code, err, r.err, r.out)
		}
		b.Fail(fmt.Errorf("%w: not now", control.ErrRefused))
		if r := mipvpn(t.Context(), serve(t, b, everybody(t)), append(args, "--json")...); r.code != exitFailed || !strings.Contains(r.out, `"error"`) || strings.Contains(r.out, "mode_policy") || !strings.Contains(r.err, "not now") {
			t.Errorf("%q, refused: exit %d, %q, printed %q", args, r.code, r.err, r.out)
		}
	}
}

// Shows: HST-2 (with no daemon running, down lifts the block only when told that there is none; a running one is asked)
func TestDownWithoutDaemon(t *testing.T) {
	lifted := 0
	down := func(socket string, args ...string) int {
		return run(t.Context(), append([]string{"--socket", socket, "down"}, args...), terminal{
			out: io.Discard, err: io.Discard, start: noClient, lift: func() error { lifted++; return nil },
		})
	}
	none := filepath.Join(t.TempDir(), "s")
	if code := down(none); code != exitUnreachable || lifted != 0 {
		t.Errorf("down: exit code %d, lifted %d times; want %d and none", code, lifted, exitUnreachable)
	}
	if code := down(none, "--without-daemon"); code != exitDone || lifted != 1 {
		t.Errorf("down --without-daemon: exit code %d, lifted %d times; want %d and once", code, lifted, exitDone)
	}
	backend := controltest.New(statuses()["inside"])
	if code := down(serve(t, backend, everybody(t)), "--without-daemon"); code != exitDone || lifted != 1 {
		t.Errorf("with a daemon: exit code %d, lifted %d times; want %d and once", code, lifted, exitDone)
	}
	if got := backend.Calls(); !slices.Equal(got, []string{"down"}) {
		t.Errorf("the daemon was asked %v, want down", got)
	}
}
