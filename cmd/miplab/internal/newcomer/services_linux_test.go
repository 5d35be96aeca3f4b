package newcomer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestServices runs what the packages install as systemd runs it, the agents' programs too.
//
// Shows: HST-7 (each unit under a real systemd, with no more than it needs), HST-2 (the kill switch stands before any network), AGT-7 (roles
// in processes of their own on one host), HST-5 (the way to a portal, with the rights of the unit)
func TestServices(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	g := newAgents(t, l)
	l.plug("cafe")
	m := newMachine(t, l, "laptop", inside("dpkg --install /root/mipvpn_*.deb\ncat >/etc/mipvpn/mipvpn.toml <<'END'\n"+byHand+impatient+"\nEND\nsystemctl enable mipvpn-firewall"))
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"the kill switch before any network", m.blockedFromTheStart},
		{"agents side by side", func(t *testing.T) { m.agentsSideBySide(t, g) }},
		{"mipvpn is reloaded", m.reloaded},
		{"credentials", m.credentials},
		{"the active user", m.activeUser},
		{"the laptop sleeps", m.sleeps},
		{"agents in one process", func(t *testing.T) { m.agentsInOne(t, g) }},
		{"a captive portal", m.behindPortal},
	} {
		t.Run(step.name, func(t *testing.T) {
			m.t, g.t = t, t
			step.run(t)
		})
		m.t, g.t = t, t
	}
}

// blockedFromTheStart looks at a laptop that has booted in a café with the kill switch and without the daemon. The keys are not there yet.
func (m *machine) blockedFromTheStart(t *testing.T) {
	when := func(unit, property string) int {
		at, err := strconv.Atoi(strings.TrimSpace(m.must("systemctl show --value --property " + property + " " + unit)))
		if err != nil || at == 0 {
			t.Fatalf("%s of %s: %d, %v", property, unit, at, err)
		}
		return at
	}
	if stood, network := when("mipvpn-firewall.service", "ExecMainExitTimestampMonotonic"), when("network-pre.target", "ActiveEnterTimestampMonotonic"); stood > network {
		t.Errorf("the kill switch stands %d µs after the network may begin", stood-network)
	}
	m.fails(3, "systemctl is-active mipvpn", "inactive")
	m.fails(2, "ping -c 1 -W 1 10.0.1.20", "No route to host")
	m.must("ping -c 1 -w 30 192.0.2.10")
	m.must("systemctl stop mipvpn-firewall")
	m.fails(2, "ping -c 1 -W 1 10.0.1.20", "No route to host")
	m.keys("/etc/mipvpn")
	m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	if warned := m.must("journalctl --no-pager -o cat --priority warning _PID=1"); strings.Contains(warned, "mipvpn") || strings.Contains(warned, "tpm") {
		t.Errorf("systemd warns of the units:\n%s", warned)
	}
}

// newAgents boots a clean Debian in the box of the lab's gateway, and has it do what the internal home agent and the gateway did: two
// roles on one host, each a service of its own.
func newAgents(t *testing.T, l *lab) *machine {
	t.Helper()
	for _, config := range []string{"internal-ha.toml", "gateway.toml"} {
		l.end("run --config " + filepath.Join(l.dir, config))
	}
	l.must("internal-ha", "ip", "address", "del", "10.0.1.10/24", "dev", "core")
	l.must("gateway", "ip", "address", "add", "10.0.1.10/24", "dev", "core")
	g := newMachine(t, l, "gateway", inside("dpkg --install /root/mipagent_*.deb"))
	for _, role := range []struct{ name, config string }{{"internal-home-agent", "internal-ha.toml"}, {"gateway", "gateway.toml"}} {
		g.write("/etc/mipvpn/mipagent-"+role.name+".toml", "0644", l.file(role.config, "/run/mipagent-"+role.name, "/var/lib/mipagent-"+role.name))
	}
	for _, key := range []string{"internal.key", "gateway.psk"} {
		g.write("/etc/mipvpn/"+key, "0600", l.read(key))
		g.must("chown mipagent: /etc/mipvpn/" + key)
	}
	g.must("systemctl enable --now mipagent@internal-home-agent mipagent@gateway")
	return g
}

// end ends the lab's program whose command line ends so, and waits for its end.
func (l *lab) end(command string) {
	l.t.Helper()
	out, err := exec.Command("pgrep", "--full", regexp.QuoteMeta(command)+"$").Output()
	if err != nil {
		l.t.Fatalf("nothing runs as %s: %v", command, err)
	}
	for pid := range strings.FieldsSeq(string(out)) {
		// What it has changed of the host it puts back as it ends.
		if out, err := exec.Command("sh", "-c", "kill $1; timeout 60 tail --sleep-interval 0.1 --pid $1 --follow /dev/null", "sh", pid).CombinedOutput(); err != nil {
			l.t.Fatalf("%s does not end: %v: %s", command, err, out)
		}
	}
}

// must runs a command in one of the lab's boxes.
func (l *lab) must(box string, command ...string) {
	l.t.Helper()
	if out, err := exec.Command(l.miplab, append([]string{"exec", "--dir", l.dir, box, "--"}, command...)...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %q: %v: %s", box, command, err, out)
	}
}

// read returns one of the lab's files.
func (l *lab) read(name string) string {
	l.t.Helper()
	text, err := os.ReadFile(filepath.Join(l.dir, name))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// file returns the configuration of one of the lab's agents, with its control socket and what it stores in these folders.
func (l *lab) file(name, runtime, state string) string {
	l.t.Helper()
	text := strings.Replace(l.read(name), "socket = \"\"", fmt.Sprintf("socket = %q", runtime+"/mipagent.sock"), 1)
	return strings.Replace(text, "\"internal-bindings.db\"", strconv.Quote(state+"/bindings.db"), 1)
}

const (
	homeAgentSocket = " --socket /run/mipagent-internal-home-agent/mipagent.sock"
	gatewaySocket   = " --socket /run/mipagent-gateway/mipagent.sock"
)

// agentsSideBySide has the laptop served by agents in their sandboxes, which are reloaded and started anew meanwhile.
func (m *machine) agentsSideBySide(t *testing.T, g *machine) {
	for _, unit := range []string{"mipagent@internal-home-agent", "mipagent@gateway"} {
		g.confined(unit)
	}
	says(t, "the bindings", g.must("mipagent bindings"+homeAgentSocket), "10.0.8.100")
	session := regexp.MustCompile(`"session": \d+`)
	before := session.FindString(g.must("mipagent sessions --json" + gatewaySocket))
	if before == "" {
		t.Fatal("the gateway has no session")
	}
	g.must("printf '\\n[[gateway.peer]]\\nidentity = \"other@corp.example\"\\npsk_file = \"gateway.psk\"\\n' >>/etc/mipvpn/mipagent-gateway.toml; systemctl reload mipagent@gateway")
	g.must("echo 'home_address = 5' >>/etc/mipvpn/mipagent-internal-home-agent.toml")
	g.fails(1, "systemctl reload mipagent@internal-home-agent")
	says(t, "the log", g.must("journalctl --no-pager -o cat -u mipagent@internal-home-agent"), "mipagent-internal-home-agent.toml:")
	g.must("sed -i '$d' /etc/mipvpn/mipagent-internal-home-agent.toml; systemctl reload mipagent@internal-home-agent")
	if after := session.FindString(g.must("mipagent sessions --json" + gatewaySocket)); after != before {
		t.Errorf("the gateway had %s before its reload, and has %s", before, after)
	}
	g.must("systemctl restart mipagent@internal-home-agent")
	says(t, "the bindings after a restart", g.must("mipagent bindings"+homeAgentSocket), "10.0.8.100")
	m.must("ping -c 1 -w 30 10.0.1.20")
}

// confined looks at what a service may do: three capabilities, a filter of system calls, and a file system that is not to be written to.
func (m *machine) confined(unit string) {
	m.t.Helper()
	pid := strings.TrimSpace(m.must("systemctl show --value --property MainPID " + unit))
	says(m.t, unit, m.must("cat /proc/"+pid+"/status"), "CapEff:\t0000000000003400\n", "CapBnd:\t0000000000003400\n", "NoNewPrivs:\t1\n", "Seccomp:\t2\n")
	if owner := strings.TrimSpace(m.must("stat --format %U /proc/" + pid)); owner != "mipagent" {
		m.t.Errorf("%s runs as %s", unit, owner)
	}
	m.fails(1, "nsenter --target "+pid+" --mount touch /etc/mipvpn/x", "Read-only file system")
}

// agentsInOne has one service be both roles.
func (m *machine) agentsInOne(t *testing.T, g *machine) {
	gateway := strings.Replace(g.lab.read("gateway.toml"), "schema = 1", "", 1)
	gateway = gateway[:strings.Index(gateway, "[control]")]
	g.write("/etc/mipvpn/mipagent.toml", "0644", g.lab.file("internal-ha.toml", "/run/mipagent", "/var/lib/mipagent")+"\n"+gateway)
	g.must("systemctl disable --now mipagent@internal-home-agent mipagent@gateway; systemctl enable --now mipagent")
	g.confined("mipagent")
	m.must("systemctl restart mipvpn; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	g.must("systemctl reload mipagent; mipagent bindings | grep 10.0.8.100; mipagent sessions | grep laptop@corp.example")
}

// reloaded has systemd reload the daemon: another value is taken, a mistake is not, and the tunnel stays what it is.
func (m *machine) reloaded(t *testing.T) {
	m.must("mipvpn wait --for connected --timeout 60s")
	spis := regexp.MustCompile(`"spis": \[[^]]*\]`)
	before := spis.FindString(m.must("mipvpn status --json"))
	if before == "" {
		t.Fatal("there is no tunnel")
	}
	m.must("printf '[dns]\\nservers = [\"10.0.1.53\"]\\ndomains = [\"corp.example\"]\\n' >>/etc/mipvpn/mipvpn.toml; systemctl reload mipvpn")
	says(t, "systemd-resolved", m.must("resolvectl domain"), "corp.example")
	m.must("echo 'domain = 5' >>/etc/mipvpn/mipvpn.toml")
	m.fails(1, "systemctl reload mipvpn")
	says(t, "the log", m.must("journalctl --no-pager -o cat -u mipvpn"), "mipvpn.toml:")
	m.must("sed -i '$d' /etc/mipvpn/mipvpn.toml; systemctl reload mipvpn; mipvpn status --check")
	if after := spis.FindString(m.must("mipvpn status --json")); after != before {
		t.Errorf("the tunnel was %s before the reload, and is %s", before, after)
	}
}

// credentials has the service manager hand over the keys, each in another way. docs/administrator.md has the encrypted ones.
func (m *machine) credentials(t *testing.T) {
	m.must("sed -i 's/i-ha.key/credential:i-ha/; s/x-ha.key/credential:x-ha/' /etc/mipvpn/mipvpn.toml; mipvpn config check /etc/mipvpn/mipvpn.toml")
	m.fails(1, "systemctl restart mipvpn")
	says(t, "the log", m.must("journalctl --no-pager -o cat -u mipvpn"), "internal_home_agent.key_file: credential:i-ha", "the service manager has handed over no credentials: give the service LoadCredential=")
	m.must("install -d -m 0700 /etc/credstore; mv /etc/mipvpn/x-ha.key /etc/credstore/x-ha")
	m.write("/etc/systemd/system/mipvpn.service.d/keys.conf", "0600", "[Service]\nLoadCredential=x-ha\nSetCredential=i-ha:"+m.lab.read("internal.key"))
	m.must("rm /etc/mipvpn/i-ha.key; systemctl daemon-reload; systemctl reset-failed mipvpn; systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	m.must("systemctl reload mipvpn; mipvpn status --check")
}

// session runs a script as alice in a session of logind's, with a seat or without, and returns what it writes.
func (m *machine) session(seat, script string) string {
	m.t.Helper()
	m.write("/run/session", "0755", script)
	out := m.must("systemd-run --quiet --uid alice --property PAMName=login --setenv XDG_SEAT=" + seat + " --setenv XDG_SESSION_TYPE=wayland --wait --pipe sh /run/session 2>&1")
	m.awaits("loginctl list-sessions", "No sessions.")
	return out
}

// activeUser has polkit and logind decide about a user without any right of her own: in a session on the seat, in one elsewhere, in none.
func (m *machine) activeUser(t *testing.T) {
	m.must("useradd --create-home --groups sudo carol; echo carol:of-carol | chpasswd; mipvpn status --check")
	attempts := "for command in up down 'mode cvc' 'mode auto' up 'mode c' reload; do mipvpn $command >/dev/null 2>&1 && code=0 || code=$?; echo \"$command: $code\"; done; mipvpn status >/dev/null; echo status: $?\n"
	for _, s := range []struct {
		where, got, want string
	}{
		{"in a session on the seat", m.session("seat0", attempts), "up: 0\ndown: 0\nmode cvc: 0\nmode auto: 0\nup: 0\nmode c: 4\nreload: 4\nstatus: 0"},
		{"in a session elsewhere", m.session("", attempts), "up: 4\ndown: 4\nmode cvc: 4\nmode auto: 4\nup: 4\nmode c: 4\nreload: 4\nstatus: 0"},
		{"in no session", first(m.as("alice", attempts)), "up: 4\ndown: 4\nmode cvc: 4\nmode auto: 4\nup: 4\nmode c: 4\nreload: 4\nstatus: 0"},
	} {
		if got := strings.TrimSpace(s.got); got != s.want {
			t.Errorf("%s:\n%s\nwant\n%s", s.where, got, s.want)
		}
	}
	m.must("mipvpn wait --for connected --timeout 60s")
	// An administrator's password, typed on a terminal. It opens no gate: the laptop is in a café.
	out := m.session("seat0", `cd "$(mktemp -d)"; mkfifo in; : >said
script --quiet --flush --return --command "sh -c 'pkttyagent --process \$\$ --notify-fd 9 9>agent & until test -e agent; do sleep 0.1; done; exec mipvpn mode c'" said <in >/dev/null &
exec 3>in
for again in $(seq 600); do grep -q Password: said && break; sleep 0.1; done
echo of-carol >&3
wait $! && code=0 || code=$?
cat said; echo code $code`)
	says(t, "a pin in the clear", out, "Authentication is required to change the VPN client's configuration or policy", "Authenticating as: carol", "AUTHENTICATION COMPLETE",
		"sends in the clear", "not proven to be inside", "code 1")
}

func first(text string, _ int) string { return text }

// sleeps has logind suspend the laptop, up to where the kernel would: the daemon has stopped what is sent by then, and comes back.
func (m *machine) sleeps(t *testing.T) {
	if _, code := m.run("grep -q mem /sys/power/state"); code != 0 {
		t.Skip("this kernel has no /sys/power/state: logind suspends nothing")
	}
	says(t, "who delays sleep", m.must("systemd-inhibit --list"), "mipvpn", "delay")
	m.write("/etc/systemd/system/systemd-suspend.service.d/here.conf", "0644", "[Service]\nExecStart=\nExecStart=/bin/sh -c 'mipvpn status >/run/asleep'")
	m.must("systemctl daemon-reload; systemctl suspend")
	says(t, "asleep", m.awaits("cat /run/asleep", "DETECTING"), "nothing of the enterprise's traffic leaves in the clear")
	m.awaits("journalctl --no-pager -o cat -u mipvpn", "the laptop was asleep: every interface is judged anew")
	m.must("mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
}
