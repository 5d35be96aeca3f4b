package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// portalVariable makes this test program `mipvpn`, run by a user without rights.
const portalVariable = "MIPVPN_TEST_PORTAL"

func init() {
	if os.Getenv(portalVariable) != "" {
		os.Exit(run(context.Background(), os.Args[1:], terminal{out: os.Stdout, err: os.Stderr}))
	}
}

// nobody is a user without rights.
const nobody = 65534

// portalDaemon is a daemon with a way to a portal.
type portalDaemon struct {
	*controltest.Backend
	mu     sync.Mutex
	asked  string
	joined []control.Peer
	closed chan control.PortalWay
	ended  chan struct{}
}

func (d *portalDaemon) OpenPortal(_ context.Context, peer control.Peer, iface string, limit time.Duration) (control.PortalWay, <-chan control.PortalWay, func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = fmt.Sprintf("user %d on %q for %v", peer.UID, iface, limit)
	return control.PortalWay{Schema: control.Schema, Interface: "wlan0", URL: "http://portal.example/login?a=b", Confinement: "nothing: a test", ExpiresIn: 60},
		d.closed, func() { close(d.ended) }, nil
}

func (d *portalDaemon) JoinPortal(_ context.Context, peer control.Peer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joined = append(d.joined, peer)
	return nil
}

// lobby is a directory that everybody may use, with a daemon's socket and a browser in it.
type lobby struct {
	dir string
	*portalDaemon
}

func newLobby(t *testing.T, browser string) *lobby {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to be another user")
	}
	dir, err := os.MkdirTemp("", "mipvpn-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "browser"), []byte("#!/bin/sh\n"+browser), 0o755); err != nil {
		t.Fatal(err)
	}
	l := &lobby{dir: dir, portalDaemon: &portalDaemon{
		Backend: controltest.New(control.Status{}), closed: make(chan control.PortalWay, 1), ended: make(chan struct{}),
	}}
	listener, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "sock"), 0o666); err != nil {
		t.Fatal(err)
	}
	authority, err := control.NewAuthority([]string{strconv.Itoa(nobody)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- control.NewServer(l, authority, nil).Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l
}

// mipvpn runs the command line as nobody.
func (l *lobby) mipvpn(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	program, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	cmd := exec.Command("/proc/self/fd/3", append([]string{"--socket", filepath.Join(l.dir, "sock")}, args...)...)
	cmd.ExtraFiles, cmd.Dir = []*os.File{program}, l.dir
	cmd.Env = append(os.Environ(), portalVariable+"=1", "TMPDIR="+l.dir, "HOME=/nonexistent", "LOBBY="+l.dir, "http_proxy=http://proxy.corp.example/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// seen is what the browser wrote.
func (l *lobby) seen(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// Shows: HST-5
func TestPortalStartsAnIsolatedBrowser(t *testing.T) {
	l := newLobby(t, `cd "$LOBBY" && echo "$@" >arguments && id -u >user && echo $$ >process && echo "$HOME" >home && ls -A "$HOME" >files &&
echo "proxy=$http_proxy" >proxy && cat /etc/resolv.conf >names && grep ^hosts /etc/nsswitch.conf >hosts; grep CapEff /proc/self/status >rights
`)
	out, err := l.mipvpn(t, "portal", "--browser", filepath.Join(l.dir, "browser"), "--interface", "wlan0", "--timeout", "1m")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	<-l.ended // the way has gone with the browser
	if want := fmt.Sprintf(`user %d on "wlan0" for 1m0s`, nobody); l.asked != want {
		t.Errorf("asked for %s, expected %s", l.asked, want)
	}
	if !strings.Contains(out, "http://portal.example/login?a=b through wlan0, for 1m0s at most") || !strings.Contains(out, "the browser has ended") {
		t.Errorf("said %q", out)
	}
	if got := l.seen(t, "arguments"); got != "http://portal.example/login?a=b" {
		t.Errorf("arguments %q", got)
	}
	if got := l.seen(t, "user"); got != strconv.Itoa(nobody) {
		t.Errorf("user %q", got)
	}
	// The process that joined is the one that became the browser, and no other.
	if len(l.joined) == 0 || l.seen(t, "process") != strconv.Itoa(int(l.joined[len(l.joined)-1].PID)) || l.joined[len(l.joined)-1].UID != nobody {
		t.Errorf("joined %v, the browser was %s", l.joined, l.seen(t, "process"))
	}
	if got := l.seen(t, "home"); !strings.HasPrefix(got, l.dir+"/mipvpn-portal-") {
		t.Errorf("home %q", got)
	} else if _, err := os.Stat(got); !os.IsNotExist(err) {
		t.Errorf("the profile is still there: %v", err)
	}
	if got := l.seen(t, "proxy"); got != "proxy=" {
		t.Errorf("the browser has a proxy: %s", got)
	}
	if got := l.seen(t, "rights"); strings.TrimLeft(strings.TrimPrefix(got, "CapEff:"), " \t0") != "" {
		t.Errorf("the browser has rights: %s", got)
	}
	if strings.Contains(out, "with a resolv.conf of its own") {
		if got := l.seen(t, "names"); !strings.Contains(got, "nameserver 127.0.0.1") || strings.Count(got, "nameserver") != 1 {
			t.Errorf("resolv.conf %q", got)
		}
		if got := l.seen(t, "hosts"); got != "hosts: files dns" {
			t.Errorf("nsswitch.conf %q", got)
		}
	} else {
		t.Log("this system lets users have no mount namespace: its own resolv.conf is not shown")
	}
}

// When the daemon closes the way the browser ends and the command says why.
//
// Shows: HST-5
func TestPortalEndsTheBrowser(t *testing.T) {
	for name, c := range map[string]struct {
		last control.PortalWay
		says string
		code int
	}{
		"passed":  {control.PortalWay{Schema: control.Schema, Closed: "the x-HA answered", Passed: true}, "the portal is passed: the x-HA answered", exitDone},
		"time up": {control.PortalWay{Schema: control.Schema, Closed: "its time is up"}, "the way to the portal is closed: its time is up", exitFailed},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLobby(t, "echo started >\"$LOBBY/started\"\nexec sleep 1000\n")
			go func() { // the daemon closes it at once; whether the browser has come so far does not matter
				l.closed <- c.last
				close(l.closed)
			}()
			out, err := l.mipvpn(t, "portal", "--browser", filepath.Join(l.dir, "browser"))
			code := 0
			if exit, ok := err.(*exec.ExitError); ok {
				code = exit.ExitCode()
			} else if err != nil {
				t.Fatal(err)
			}
			if code != c.code || !strings.Contains(out, c.says) {
				t.Errorf("exit code %d, expected %d; said %q", code, c.code, out)
			}
			<-l.ended
		})
	}
}

func TestPortalNeverAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var out, errs strings.Builder
	if code := run(context.Background(), []string{"portal"}, terminal{out: &out, err: &errs}); code != exitPermission || !strings.Contains(errs.String(), "as root") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

func TestChooseBrowser(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if got, err := chooseBrowser("", ""); err == nil {
		t.Errorf("found %s", got)
	}
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	epiphany := write("epiphany", "#!/bin/sh\n")
	snap := write("chromium", "#!/bin/sh\nexec /snap/bin/chromium \"$@\"\n")
	write("snap", "#!/bin/sh\n")
	if err := os.Symlink("snap", filepath.Join(dir, "firefox")); err != nil {
		t.Fatal(err)
	}
	own := write("own", "#!/bin/sh\n")
	for _, c := range []struct{ asked, configured, want string }{
		{"", "", epiphany}, {"own", "", own}, {"", "own", own}, {"epiphany", "own", epiphany}, {"missing", "", ""}, {snap, "", ""}, {"", "firefox", ""},
	} {
		if got, err := chooseBrowser(c.asked, c.configured); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("asked %q, configured %q: %q, %v", c.asked, c.configured, got, err)
		}
	}
}

func TestBrowserArguments(t *testing.T) {
	for program, want := range map[string]string{
		"/usr/bin/chromium": "--user-data-dir=/d/profile", "/usr/bin/google-chrome-stable": "--user-data-dir=/d/profile",
		"/usr/bin/firefox-esr": "--profile /d/profile", "/usr/bin/epiphany": "--profile=/d/profile", "/opt/own": "http://p.example/",
	} {
		args := browserArguments(program, "http://p.example/", "/d")
		if !strings.Contains(strings.Join(args, " "), want) || args[len(args)-1] != "http://p.example/" {
			t.Errorf("%s: %q", program, args)
		}
	}
}
