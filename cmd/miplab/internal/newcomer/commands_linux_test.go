package newcomer

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// wanted is what the commands of a block write, by its document and what it does.
var wanted = map[string][]string{
	"README.md: a company, a café and a laptop on this machine":           {"The lab stands", "inside", "outside", "the lab is gone"},
	"docs/administrator.md: install":                                      {"Setting up mipvpn (0.9)"},
	"docs/administrator.md: configure":                                    {"/etc/mipvpn/mipvpn.toml is written and valid"},
	"docs/administrator.md: start":                                        {"connected, inside", "all is well"},
	"docs/administrator.md: the kill switch from the start of the system": {"10.0.0.0/16"},
	"docs/administrator.md: a second profile, and back":                   {"* lab", "connected"},
	"docs/administrator.md: the gateway's key as a credential":            {"connected"},
	"docs/administrator.md: alice may":                                    {"connected"},
	"docs/administrator.md: what has happened?":                           {"state: connected", "handoff"},
	"docs/user.md: up":                                                    {"inside", "10.0.8.100"},
	"docs/user.md: look":                                                  {"10.0.1.20"},
	"docs/user.md: outside, in one mode and back":                         {"connected, outside"},
	"docs/user.md: what is wrong?":                                        {"all is well"},
	"docs/scripting.md: only with a connection":                           {"connected, outside", "1 received"},
	"docs/scripting.md: never in the clear outside":                       {"sends in the clear"},
	"docs/scripting.md: where am I?":                                      {"outside"},
}

// before is what happens before a block: the laptop goes elsewhere.
var before = map[string]func(*machine){
	"docs/user.md: what is wrong?": func(m *machine) {
		m.awaits("mipvpn mode; mipvpn status --check && echo flows", "(policy auto)", "flows")
		m.awaits("mipvpn doctor", "all is well")
	},
	"docs/scripting.md: where am I?":              func(m *machine) { m.awaits("mipvpn status", "CONNECTED", "outside") },
	"docs/user.md: up":                            func(m *machine) { m.must("mipvpn down") },
	"docs/user.md: outside, in one mode and back": func(m *machine) { m.lab.plug("cafe"); m.must("mipvpn up; mipvpn wait --for outside --timeout 60s") },
	"docs/scripting.md: a hook":                   func(m *machine) { m.must("mipvpn up") },
	"scripts/packages/INSTALL.md: put into place": func(m *machine) {
		m.gets(products(m.t).archive)
		m.must("tar -xf mipvpn_*_linux_*.tar.gz")
	},
}

// after is what can be seen after a block.
var after = map[string]func(*machine){
	"docs/administrator.md: a folder for each of three laptops": func(m *machine) {
		says(m.t, "the folders", m.must("ls -l rollout/*"), "-rw------- 1 root root", "gateway.psk")
	},
	"docs/administrator.md: what the internal home agent gets": func(m *machine) {
		m.agentTakes(m.must("cat rollout/laptop2/i-ha.toml"))
	},
	"docs/administrator.md: the gateway's key as a credential": func(m *machine) {
		m.must("mipvpn status --check; ls /run/credentials/mipvpn.service/gateway-psk; systemctl reload mipvpn")
	},
	"docs/scripting.md: cvc while the gateways are being upgraded": func(m *machine) {
		m.awaits("mipvpn mode", "(policy auto)")
		m.awaits("journalctl --no-pager -o cat -t mipvpn-hook", "outside) by ")
	},
	"docs/scripting.md: events since the last time": func(m *machine) {
		says(m.t, "the events", m.must("cat /run/my-events; test -s /run/my-cursor"), `"kind":"state"`)
	},
	"scripts/packages/INSTALL.md: put into place": func(m *machine) {
		m.fresh(m.t, "office")
		m.must("systemctl enable --now mipvpn mipvpn-firewall; mipvpn up; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	},
	"scripts/packages/INSTALL.md: take away": func(m *machine) {
		m.nothingLeft()
		m.fails(127, "mipvpn version", "not found")
	},
	"docs/user.md: for the help desk": func(m *machine) {
		if out := m.must("tar -xzOf /tmp/report.tar.gz"); strings.Contains(out, strings.TrimSpace(m.must("cat /etc/mipvpn/i-ha.key"))) {
			m.t.Error("a key is in the archive")
		}
	},
}

// agentTakes has the home agent's program check a file of a mobile node.
func (m *machine) agentTakes(node string) {
	m.t.Helper()
	dir := m.t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "nodes"), 0o700); err != nil {
		m.t.Fatal(err)
	}
	for name, text := range map[string]string{
		"mipagent.toml": "schema = 1\n[home_agent.internal]\naddress = \"10.0.1.10\"\nhome_networks = [\"10.0.8.0/24\"]\ntrusted_networks = [\"10.0.0.0/16\"]\nmobile_nodes = \"nodes\"\n",
		"nodes/x.toml":  node,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
	out, err := exec.Command(filepath.Join(products(m.t).programs, "mipagent"), "check", filepath.Join(dir, "mipagent.toml")).CombinedOutput()
	if err != nil {
		m.t.Errorf("the agent does not take the file of a mobile node: %v: %s\n%s", err, out, node)
	}
	says(m.t, "the file of a mobile node", node, "10.0.8.102", "spi = 1102", strings.TrimSpace(m.must("cat rollout/laptop2/i-ha.key")))
}

// follow runs the commands of a document, in its order: all but those for a laptop of another kind than this one ("laptop", or "image").
func (m *machine) follow(t *testing.T, document, kind string) {
	ran := 0
	for _, b := range documents(t) {
		if b.document != document || b.language != "sh" || b.excuse != "" || b.what == enrolment || (b.host == "image") != (kind == "image") {
			continue
		}
		name := document + ": " + b.what
		if f := before[name]; f != nil {
			f(m)
		}
		var out string
		var code int
		switch b.host {
		case "laptop", "image":
			out, code = m.run(b.text)
		case "user":
			out, code = m.as("alice", b.text)
		case "lab":
			out, code = m.lab.here(t, b.text)
		default:
			t.Fatalf("%v: there is no host %q", b, b.host)
		}
		if code != 0 {
			t.Fatalf("%v: exit code %d of\n%s\nwhich printed:\n%s\n%s", b, code, b.text, out, m.log())
		}
		says(t, b.String(), out, wanted[name]...)
		if f := after[name]; f != nil {
			f(m)
		}
		ran++
	}
	if ran == 0 {
		t.Fatalf("%s has no commands", document)
	}
}

// here runs commands on this machine, in a folder whose bin has the programs, with a lab of their own.
func (l *lab) here(t *testing.T, script string) (out string, code int) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(filepath.Dir(l.miplab), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", script)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "XDG_RUNTIME_DIR="+dir)
	t.Cleanup(func() { // where the commands have ended before their end
		down := exec.Command(l.miplab, "down")
		down.Env = cmd.Env
		_ = down.Run()
	})
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(text), cmd.ProcessState.ExitCode()
}

// Each thing that is wanted of a block is of one that there is.
func TestWanted(t *testing.T) {
	known := map[string]bool{}
	for _, b := range documents(t) {
		known[b.document+": "+b.what] = true
	}
	for _, names := range [][]string{keysOf(wanted), keysOf(before), keysOf(after)} {
		for _, n := range names {
			if !known[n] {
				t.Errorf("there is no block %q any more", n)
			}
		}
	}
}

func keysOf[V any](m map[string]V) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}
