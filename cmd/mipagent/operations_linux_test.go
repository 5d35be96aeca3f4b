package main

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mipvpn/mipv4/auth"
	"mipvpn/mipv4/wire"
	"mipvpn/tun/hostnet/netnstest"
)

// page is the page whose commands are executed, repository is where it tells to execute them.
const (
	page       = "docs/operations.md"
	repository = "../.."
)

// command is a block of the page with the host that it is for and what it does, as its first line says.
type command struct{ host, what, text string }

// commandsOf returns the blocks of a page that a shell executes. Each begins with "# host: what it does".
func commandsOf(t *testing.T, text string) (out []command) {
	t.Helper()
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```\n").FindAllStringSubmatch(text, -1) {
		first, _, _ := strings.Cut(block[1], "\n")
		host, what, ok := strings.Cut(strings.TrimPrefix(first, "# "), ": ")
		if !ok || !strings.HasPrefix(first, "# ") {
			t.Fatalf("a block begins with %q, want \"# host: what it does\"", first)
		}
		out = append(out, command{host, what, block[1]})
	}
	return out
}

// systemctl stands in for systemd's: it reads the unit file and runs what it says as the user and with the capabilities, and the
// directories, that it says. What systemd confines beyond that is not there.
const systemctl = `#!/bin/sh
set -e
unit=
for word; do case $word in -*) ;; *) verb=${verb:-$word}; [ "$word" = "$verb" ] || unit=$word;; esac; done
[ "$verb" = daemon-reload ] && exit 0
file=/etc/systemd/system/$unit.service
get() { sed -n "s/^$1=//p" $file; }
caps=-all
for c in $(get AmbientCapabilities); do caps=$caps,+$(echo ${c#CAP_} | tr A-Z a-z); done
as() { exec setpriv --reuid $(get User) --regid $(get User) --clear-groups --no-new-privs --bounding-set=$caps --inh-caps=$caps --ambient-caps=$caps "$@"; }
stop() {
	kill $(cat /run/$unit.pid)
	while kill -0 $(cat /run/$unit.pid) 2>/dev/null; do sleep 0.05; done
}
start() {
	install -d -o $(get User) -g $(get User) /run/$(get RuntimeDirectory)
	install -d -m $(get StateDirectoryMode) -o $(get User) -g $(get User) /var/lib/$(get StateDirectory)
	export STATE_DIRECTORY=/var/lib/$(get StateDirectory)
	( as $(get ExecStart) ) >>/var/log/$unit 2>&1 &
	echo $! >/run/$unit.pid
	until mipagent bindings >/dev/null 2>&1; do # Type=notify: it is there when it says so
		kill -0 $(cat /run/$unit.pid) 2>/dev/null || { cat /var/log/$unit; exit 1; }
		sleep 0.05
	done
}
case $verb in
enable|start) start;;
disable|stop) stop;;
restart) stop; start;;
reload) ( as $(get ExecReload) );;
*) echo "systemctl stands in and has no $verb"; exit 1;;
esac
`

// shell is a shell on one host: a namespace with directories of its own where the commands write.
type shell struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// newShell starts a shell in the network namespace, and in a mount and a process namespace of its own, with bin first in its path.
func newShell(t *testing.T, ns *os.File, bin string) *shell {
	t.Helper()
	s := &shell{t: t, cmd: exec.Command("sh")}
	s.cmd.Dir = repository
	s.cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/local/bin:"+os.Getenv("PATH")+":/usr/sbin:/sbin", "NOTIFY_SOCKET=")
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.cmd.Stdout, s.cmd.Stderr, s.out = w, w, bufio.NewReader(r)
	netnstest.Inside(t, ns, s.cmd.Start)
	w.Close()
	t.Cleanup(func() {
		s.in.Close() // the shell is the first process of its namespace: with it all go
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		r.Close()
	})
	if out, err := s.run("mount --make-rprivate /; mount -t proc proc /proc\n" +
		"mount -t tmpfs tmpfs /mnt; cp -a /etc /mnt/etc; mount --rbind /mnt/etc /etc\n" +
		"for d in /run /var/lib /var/log /usr/local/bin; do mount -t tmpfs -o mode=0755 tmpfs $d; done\n" +
		"mkdir -p /etc/systemd/system; rm -rf /etc/mipvpn\n"); err != nil {
		t.Skipf("no mount namespace with directories of its own: %v: %s", err, out)
	}
	return s
}

// endOfBlock is printed behind the output of a block.
const endOfBlock = "\x01 end of block\n"

// run executes a block and returns its output; a command that fails ends the shell and is an error.
func (s *shell) run(text string) (string, error) {
	s.t.Helper()
	if _, err := io.WriteString(s.in, "set -e\n"+text+"\nprintf '"+strings.ReplaceAll(endOfBlock, "\n", `\n`)+"'\n"); err != nil {
		return "", err
	}
	var out strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		before, ended := strings.CutSuffix(line, endOfBlock)
		out.WriteString(before)
		if ended {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), fmt.Errorf("a command failed: %w", err)
		}
	}
}

// must is run for what has to go well.
func (s *shell) must(text string) string {
	s.t.Helper()
	out, err := s.run(text)
	if err != nil {
		s.t.Fatalf("%v:\n%s\nwhich printed:\n%s", err, text, out)
	}
	return out
}

// fails executes a command until it fails and all that is wanted is in its output: an answer may come late on a busy host.
func (s *shell) fails(text string, want ...string) {
	s.t.Helper()
	for again := 0; ; again++ {
		out, err := s.run("if " + text + "; then echo it went well; fi")
		if err != nil {
			s.t.Fatalf("%s: %v; it printed:\n%s", text, err, out)
		}
		missing := slices.DeleteFunc(slices.Clone(want), func(w string) bool { return strings.Contains(out, w) })
		if len(missing) == 0 && !strings.Contains(out, "it went well") {
			return
		}
		if again == 15 {
			s.t.Fatalf("%s: want it to fail with %q; it printed:\n%s", text, missing, out)
		}
	}
}

// company is the networks of the page: laptop and home agent inside, a stranger outside, the firewall in between.
type company struct{ agent, laptop, firewall, outside *os.File }

func newCompany(t *testing.T) company {
	t.Helper()
	c := company{netnstest.New(t), netnstest.New(t), netnstest.New(t), netnstest.New(t)}
	p := netip.MustParsePrefix
	netnstest.Wire(t, c.agent, "eth0", p("10.0.1.10/24"), c.firewall, "in", p("10.0.1.1/24"))
	netnstest.Wire(t, c.laptop, "eth0", p("10.0.2.50/24"), c.firewall, "office", p("10.0.2.1/24"))
	netnstest.Wire(t, c.outside, "eth0", p("203.0.113.50/24"), c.firewall, "out", p("203.0.113.1/24"))
	for ns, by := range map[*os.File]string{c.agent: "10.0.1.1", c.laptop: "10.0.2.1", c.outside: "203.0.113.1"} {
		netnstest.Inside(t, ns, func() error { return netnstest.Route(p("0.0.0.0/0"), netip.MustParseAddr(by)) })
	}
	netnstest.Inside(t, c.firewall, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	return c
}

// register has the laptop register with the home agent by the key that its file holds.
func (c company) register(t *testing.T, file string) {
	t.Helper()
	digits := regexp.MustCompile(`key = "([0-9a-f]+)"`).FindStringSubmatch(file)
	if digits == nil {
		t.Fatalf("no key in\n%s", file)
	}
	key, err := hex.DecodeString(digits[1])
	if err != nil {
		t.Fatal(err)
	}
	a, err := auth.New(auth.Parameters{SPI: 1001, Algorithm: auth.HMACSHA256, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	var conn *net.UDPConn
	netnstest.Inside(t, c.laptop, func() (err error) {
		conn, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(10, 0, 1, 10), Port: wire.Port})
		return err
	})
	defer conn.Close()
	answer := make([]byte, 2048)
	for range 30 { // the first may be lost while addresses are resolved
		r := wire.RegistrationRequest{
			Flags: wire.FlagDecapsulation | wire.FlagReverseTunnel, Lifetime: 600, HomeAddress: netip.MustParseAddr("10.0.8.100"),
			HomeAgent: netip.MustParseAddr("10.0.1.10"), CareOfAddress: netip.MustParseAddr("10.0.2.50"), Identification: wire.IdentificationAt(time.Now()),
		}
		message, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(a.AppendExtension(message, wire.ExtMobileHomeAuthentication)); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := conn.Read(answer)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		reply, perr := wire.ParseRegistrationReply(answer[:n])
		if err := errors.Join(err, perr); err != nil || !reply.Code.Accepted() || reply.Extensions.Index(wire.ExtTrustedNetworksConfigured) < 0 {
			t.Fatalf("reply %+v, %v", reply, err)
		}
		return
	}
	t.Fatal("the home agent does not answer")
}

// Shows: AGT-6, AGT-2 (the commands of docs/operations.md, as they stand, set up a home agent from nothing as an ordinary user with
// three capabilities, and look after it; the check of the firewall tells one that holds from one that does not).
func TestOperations(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: namespaces")
	}
	for _, program := range []string{"go", "nft", "curl", "setpriv", "useradd", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			if _, err := os.Stat("/usr/sbin/" + program); err != nil {
				t.Skipf("%s is not installed", program)
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(systemctl), 0o755); err != nil {
		t.Fatal(err)
	}
	c := newCompany(t)
	hosts := map[string]*shell{"home agent": newShell(t, c.agent, bin), "firewall": newShell(t, c.firewall, bin), "outside": newShell(t, c.outside, bin)}
	var said []string
	for _, b := range commandsOf(t, string(text)) {
		s := hosts[b.host]
		if s == nil {
			t.Fatalf("the page has a host %q, known are %v", b.host, hosts)
		}
		switch b.what {
		case "with a laptop":
			c.register(t, s.must("cat /etc/mipvpn/mobile-nodes/alice.toml"))
		case "send what must not arrive":
			program, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/usr/local/bin/mipagent", hosts["home agent"].cmd.Process.Pid))
			if err := errors.Join(err, os.WriteFile(filepath.Join(bin, "mipagent-outside"), program, 0o755)); err != nil {
				t.Fatal(err)
			}
			s.must("install " + filepath.Join(bin, "mipagent-outside") + " /usr/local/bin/mipagent")
		case "upgrade":
			c.register(t, hosts["home agent"].must("cat /etc/mipvpn/mobile-nodes/alice.toml"))
		case "the end":
			checkBroken(t, hosts)
		}
		out := s.must(b.text)
		if want := map[string]string{
			"start":         "role  home address",
			"with a laptop": "home_agent.internal  10.0.8.100    10.0.2.50",
			"send what must not arrive": "ok        registration request to UDP port 434: nothing came back from 10.0.1.10\n" +
				"  ok        datagram to UDP port 33434: nothing came back from 10.0.1.10",
			"has anything arrived?": "ok     no registration request from any other network has arrived",
			"one more laptop":       "home_agent.internal  10.0.8.100    10.0.2.50",
			"a laptop is lost; another one's binding is taken away": "10.0.8.100: 1 dropped at home_agent.internal",
			"upgrade":              "home_agent.internal  10.0.8.100    10.0.2.50",
			"what Prometheus sees": `mipvpn_home_agent_bindings{role="home_agent.internal"} 0`,
		}[b.what]; !strings.Contains(out, want) {
			t.Errorf("%s: %s: want %q in its output:\n%s", b.host, b.what, want, out)
		}
		said = append(said, b.what)
	}
	for _, want := range []string{"start", "with a laptop", "send what must not arrive", "has anything arrived?", "one more laptop", "upgrade", "the end"} {
		if !slices.Contains(said, want) {
			t.Errorf("the page has no block %q any more", want)
		}
	}
	if out := hosts["home agent"].must("ls /run/mipagent; nft list tables; cat /var/log/mipagent"); strings.Contains(out, "mipagent.sock") || strings.Contains(out, "table ") {
		t.Errorf("something is left behind:\n%s", out)
	} else if !strings.Contains(out, `"binding registered"`) || strings.Contains(out, `"level":"error"`) {
		t.Errorf("the log:\n%s", out)
	}
}

// checkBroken takes the firewall away, and wants both looks to find that.
func checkBroken(t *testing.T, hosts map[string]*shell) {
	t.Helper()
	hosts["firewall"].must("nft delete table inet mobileip")
	hosts["outside"].fails("mipagent check-firewall --probe 10.0.1.10",
		"FAILS     ICMP echo request: it was answered", "FAILS     connection to TCP port 22", "ok        registration request")
	hosts["home agent"].fails("mipagent check-firewall", "FAILS  ", "from 203.0.113.50:")
	// With a network too many in trusted_networks the home agent answers, and that is seen outside.
	hosts["home agent"].must("sed -i 's|^trusted_networks.*|trusted_networks = [\"10.0.0.0/16\", \"203.0.113.0/24\"]|' /etc/mipvpn/mipagent.toml; systemctl reload mipagent")
	hosts["outside"].fails("mipagent check-firewall --probe 10.0.1.10 --home-address 10.0.8.100", "a registration reply with code 131")
}

// Each block of the page says where it is executed; a page without blocks is none.
func TestCommandsOf(t *testing.T) {
	got := commandsOf(t, "a\n```sh\n# home agent: x\nls\n```\nb\n```text\nno\n```\n```sh\n# outside: y\n```\n")
	if len(got) != 2 || got[0] != (command{"home agent", "x", "# home agent: x\nls\n"}) || got[1].host != "outside" {
		t.Errorf("%+v", got)
	}
}
