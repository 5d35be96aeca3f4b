package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mipvpn/client/control"
	"mipvpn/detect/resolve/query"
	"mipvpn/tun/hostnet/netnstest"
)

const (
	namesEnv     = "MIPVPN_TEST_NAMES" // what the process is: "inside" its namespaces, or a "daemon"
	namesArgs    = "MIPVPN_TEST_ARGS"
	originalConf = "nameserver 192.168.1.1\nsearch hotel.example\n"
)

// Shows: HST-3 (the real daemon on the real kernel, killed with signal 9 and started again, with a managed resolv.conf: an
// enterprise name is asked nowhere, others of the interface's server, and the file is put back by down, with a daemon and
// without one), HST-2 (the next daemon is up by itself where `mipvpn up` was the last that was asked, and not after `mipvpn down`, with a
// daemon and without one)
func TestKilledDaemonAndNames(t *testing.T) {
	switch os.Getenv(namesEnv) {
	case "daemon":
		os.Exit(run(t.Context(), strings.Split(os.Getenv(namesArgs), " "), terminal{out: os.Stdout, err: os.Stderr, start: startClient, lift: liftBlock}))
	case "inside":
		killedDaemonAndNames(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root for namespaces of its own")
	}
	c := exec.Command("/proc/self/exe", "-test.run=^TestKilledDaemonAndNames$", "-test.v")
	c.Env = append(os.Environ(), namesEnv+"=inside")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestKilledDaemonAndNames") {
		t.Errorf("in its namespaces: %v\n%s", err, out)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answerNames is a name server on a socket, which answers every question with one address. It returns what it was asked.
func answerNames(c net.PacketConn) func() []string {
	var mu sync.Mutex
	var asked []string
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			q, err := query.ParseQuestion(buf[:n])
			if err != nil {
				continue
			}
			mu.Lock()
			asked = append(asked, q.Name)
			mu.Unlock()
			p := bytes.Clone(buf[:n])
			p[2], p[7] = p[2]|0x80, 1
			_, _ = c.WriteTo(append(p, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 80), from)
		}
	}()
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(asked)
	}
}

// killedDaemonAndNames runs in namespaces of its own.
func killedDaemonAndNames(t *testing.T) {
	check(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	for _, dir := range []string{"/etc", "/run", "/var/lib"} {
		check(t, unix.Mount(t.TempDir(), dir, "", unix.MS_BIND, ""))
	}
	const conf, saved = "/etc/resolv.conf", "/var/lib/mipvpn/resolv.conf.saved"
	check(t, os.WriteFile(conf, []byte(originalConf), 0o644))
	check(t, netnstest.SetUp("lo", netip.Prefix{}))
	own, err := os.Open("/proc/self/ns/net")
	check(t, err)
	defer own.Close()
	network := netnstest.New(t)
	netnstest.Wire(t, own, "eth0", netip.MustParsePrefix("192.168.1.100/24"), network, "eth0", netip.MustParsePrefix("192.168.1.1/24"))
	check(t, netnstest.Route(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr("192.168.1.1")))
	var asked func() []string
	netnstest.Inside(t, network, func() error {
		c, err := net.ListenPacket("udp4", "192.168.1.1:53")
		if err == nil {
			asked = answerNames(c)
			t.Cleanup(func() { _ = c.Close() })
		}
		return err
	})

	socket := filepath.Join(t.TempDir(), "s")
	daemon := func(up string) *exec.Cmd {
		t.Helper()
		text := strings.Replace(configuration, "schema = 1\n", "schema = 1\nup_at_start = "+up+"\n", 1) +
			"[dns]\ndomains = [\"corp.example\"]\n"
		if up == "true" { // a question to a server that is not reached takes seven seconds
			text += "servers = [\"10.0.1.53\"]\n"
		}
		c := exec.Command("/proc/self/exe", "-test.run=^TestKilledDaemonAndNames$")
		c.Env = append(os.Environ(), namesEnv+"=daemon", namesArgs+"=--socket "+socket+" daemon --config "+configure(t, text))
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
		var log bytes.Buffer
		c.Stderr = &log
		check(t, c.Start())
		t.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
			if t.Failed() {
				t.Log(log.String())
			}
		})
		return c
	}
	kill := func(c *exec.Cmd) {
		t.Helper()
		check(t, c.Process.Kill())
		if err := c.Wait(); err == nil {
			t.Error("the daemon ended by itself")
		}
	}
	command := func(args ...string) (string, int) {
		var out, complaint bytes.Buffer
		code := run(t.Context(), append([]string{"--socket", socket}, args...), terminal{out: &out, err: &complaint, start: startClient, lift: liftBlock})
		return out.String() + complaint.String(), code
	}
	content := func() string {
		b, err := os.ReadFile(conf)
		check(t, err)
		return string(b)
	}
	ours := func() bool { return strings.Contains(content(), "nameserver 127.0.77.53\nsearch corp.example\n") }
	until := func(what string, f func() bool) {
		t.Helper()
		tick, limit := time.NewTicker(20*time.Millisecond), time.After(30*time.Second)
		defer tick.Stop()
		for !f() {
			select {
			case <-tick.C:
			case <-limit:
				t.Fatalf("for half a minute: not %s", what)
			}
		}
	}
	served := func() bool {
		out, code := command("status", "--json")
		var s control.Status
		return code == exitDone && json.Unmarshal([]byte(out), &s) == nil && s.DNS != nil
	}
	restored := func(when string) {
		t.Helper()
		if got := content(); got != originalConf {
			t.Errorf("%s: resolv.conf is\n%s", when, got)
		}
		if _, err := os.Stat(saved); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %s: %v", when, saved, err)
		}
	}

	first := daemon("true")
	until("managed", func() bool { return served() && ours() })
	if code := lookup(t, "www.example.com."); code != query.RcodeSuccess {
		t.Errorf("a name that is not the enterprise's: code %d", code)
	}
	if code := lookup(t, "wiki.corp.example.hotel.example."); code != query.RcodeNameError {
		t.Errorf("an enterprise name with the network's domain behind it: code %d", code)
	}
	if code := lookup(t, "wiki.corp.example."); code != query.RcodeServerFailure {
		t.Errorf("an enterprise name without a tunnel: code %d", code)
	}
	check(t, os.WriteFile(conf, []byte(originalConf), 0o644)) // as a DHCP client does
	until("set again", ours)
	kill(first)
	if !ours() {
		t.Errorf("killed: resolv.conf is\n%s", content())
	}
	if code := lookup(t, "wiki.corp.example."); code != -1 {
		t.Errorf("killed: an enterprise name is answered with code %d", code)
	}
	second := daemon("false") // it takes no charge of traffic, and lifts nothing
	until("served again", served)
	if code := lookup(t, "www.example.org."); code != query.RcodeSuccess {
		t.Errorf("after the kill: a name that is not the enterprise's: code %d", code)
	}
	if code := lookup(t, "wiki.corp.example."); code != query.RcodeServerFailure || !ours() {
		t.Errorf("after the kill: an enterprise name: code %d, resolv.conf\n%s", code, content())
	}
	kill(second)
	if out, code := command("down", "--without-daemon"); code != exitDone {
		t.Fatalf("down --without-daemon: exit code %d, %s", code, out)
	}
	restored("after down --without-daemon")

	third := daemon("true")
	until("managed", func() bool { return served() && ours() })
	if out, code := command("down"); code != exitDone {
		t.Fatalf("down: exit code %d, %s", code, out)
	}
	restored("after down")

	kill(third)
	next := func(when string, up bool) *exec.Cmd {
		t.Helper()
		d := daemon("false")
		var s control.Status
		until("answered", func() bool {
			out, code := command("status", "--json")
			return code == exitDone && json.Unmarshal([]byte(out), &s) == nil
		})
		if up != (s.State != control.StateDown) {
			t.Errorf("%s: the next daemon is %s", when, s.State)
		}
		return d
	}
	fourth := next("killed after down", false)
	if out, code := command("up"); code != exitDone {
		t.Fatalf("up: exit code %d, %s", code, out)
	}
	kill(fourth)
	kill(next("killed after up", true))
	kill(next("killed again", true))
	if out, code := command("down", "--without-daemon"); code != exitDone {
		t.Fatalf("down --without-daemon: exit code %d, %s", code, out)
	}
	restored("after down --without-daemon while up was asked")
	next("after down --without-daemon", false)
	for _, name := range asked() {
		if strings.Contains(name, "corp.example") {
			t.Errorf("the network's server was asked about %s", name)
		}
	}
	if len(asked()) < 2 {
		t.Errorf("the network's server was asked %v", asked())
	}
}

// lookup asks the forwarder and returns the code of its answer, -1 without one.
func lookup(t *testing.T, name string) int {
	t.Helper()
	m, err := query.NewQuery(name, query.TypeA)
	check(t, err)
	var d net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "udp4", "127.0.77.53:53")
	check(t, err)
	defer c.Close()
	at, _ := ctx.Deadline()
	check(t, c.SetDeadline(at))
	if _, err := c.Write(m); err != nil {
		return -1
	}
	buf := make([]byte, 2048)
	n, err := c.Read(buf)
	if err != nil || n < 12 {
		return -1
	}
	return int(buf[3] & 0xf)
}
