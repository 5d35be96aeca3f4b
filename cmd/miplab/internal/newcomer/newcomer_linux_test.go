package newcomer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// impatient has the trials take less time: nothing is waited for that the lab does not need.
const impatient = `
give_up = "3s"

[detection]
period = "0s"`

// labKeys are the files of keys, by what they are called in byHand.
var labKeys = map[string]string{"i-ha.key": "internal.key", "x-ha.key": "external.key", "gateway.psk": "gateway.psk"}

// keys puts the keys that the lab's agents have into a folder of the machine.
func (m *machine) keys(folder string) {
	m.t.Helper()
	for name, lab := range labKeys {
		key, err := os.ReadFile(filepath.Join(m.lab.dir, lab))
		if err != nil {
			m.t.Fatal(err)
		}
		m.write(filepath.Join(folder, name), "0600", strings.TrimSpace(string(key)))
	}
}

// fresh makes the machine what it was after the installation and configures it by hand, for one trial. The laptop is in that network.
func (m *machine) fresh(t *testing.T, network string) {
	t.Helper()
	m.t = t
	m.must("systemctl stop mipvpn; mipvpn down --without-daemon; rm -rf /var/lib/mipvpn /etc/mipvpn/*; install -d /etc/mipvpn/hooks.d; systemctl reset-failed")
	m.lab.plug(network)
	m.keys("/etc/mipvpn")
	m.write("/etc/mipvpn/mipvpn.toml", "0644", byHand+impatient)
}

// Shows: HST-7 (the unit of the package confines the daemon under a real systemd), HST-2 (a daemon that is killed, and a package that is removed)
func TestNewcomer(t *testing.T) {
	t.Parallel()
	m := newMachine(t, newLab(t), "laptop", "")
	m.keys("/root/keys")
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"docs/administrator.md", func(t *testing.T) { m.follow(t, "docs/administrator.md", "laptop") }},
		{"docs/user.md", func(t *testing.T) { m.follow(t, "docs/user.md", "laptop") }},
		{"docs/scripting.md", func(t *testing.T) { m.follow(t, "docs/scripting.md", "laptop") }},
		{"README.md", func(t *testing.T) { m.follow(t, "README.md", "laptop") }},
		{"nothing is configured", m.nothingConfigured},
		{"configured by hand", m.configuredByHand},
		{"roams, and is scripted", m.roams},
		{"a wrong key", m.wrongKey},
		{"a dead gateway", m.deadGateway},
		{"no name server", m.noNameServer},
		{"a full disk", m.fullDisk},
		{"etc that cannot be written", m.readOnlyEtc},
		{"two daemons", m.twoDaemons},
		{"state of another version", m.oldState},
		{"another user", m.otherUser},
		{"removed", m.removed},
		{"scripts/packages/INSTALL.md", func(t *testing.T) { m.follow(t, "scripts/packages/INSTALL.md", "laptop") }},
	} {
		t.Run(step.name, func(t *testing.T) {
			m.t = t
			step.run(t)
		})
		m.t = t
	}
}

// nothingConfigured reads what the programs say right after the installation.
func (m *machine) nothingConfigured(*testing.T) {
	m.must("systemctl disable --now mipvpn mipvpn-firewall; mipvpn down --without-daemon; rm -rf /etc/mipvpn/*; systemctl reset-failed")
	m.must("man -w mipvpn >/dev/null 2>&1 || test -s /usr/share/man/man1/mipvpn.1 -o -s /usr/share/man/man1/mipvpn.1.gz")
	m.fails(5, "mipvpn status", "is `mipvpn daemon` running?", "systemctl start mipvpn")
	m.fails(1, "mipvpn daemon", "there is no configuration", "/etc/mipvpn/mipvpn.toml")
	m.fails(1, "systemctl start mipvpn", "journalctl")
	m.awaits("journalctl --no-pager -o cat -u mipvpn", "there is no configuration")
	m.fails(1, "mipvpn config check /etc/mipvpn/mipvpn.toml", "there is no configuration")
}

// configuredByHand goes from an empty folder to a connection, with the mistakes that are made on the way.
func (m *machine) configuredByHand(t *testing.T) {
	m.fresh(t, "office")
	m.write("/etc/mipvpn/mipvpn.toml", "0644", strings.NewReplacer("spi = 1001", "spi = 100", "home_address = \"10.0.8.100\"", "home_adress = \"10.0.8.100\"").Replace(byHand))
	m.must("chmod 644 /etc/mipvpn/gateway.psk")
	m.fails(1, "mipvpn config check /etc/mipvpn/mipvpn.toml",
		`mipvpn.toml:8: internal_home_agent.home_adress: unknown key, did you mean "internal_home_agent.home_address"?`,
		"mipvpn.toml:9: internal_home_agent.spi: found the number 100; valid is a whole number from 256",
		"chmod 600")
	m.must("chmod 600 /etc/mipvpn/gateway.psk")
	m.write("/etc/mipvpn/mipvpn.toml", "0644", byHand)
	m.must("mipvpn config check /etc/mipvpn/mipvpn.toml")
	m.must("systemctl enable --now mipvpn")
	says(t, "status before up", m.must("mipvpn status"), "DOWN", "`mipvpn up`")
	m.must("mipvpn up; mipvpn wait --for connected --timeout 60s")
	m.must("ping -c 1 -w 30 10.0.1.20")
	says(t, "doctor", m.must("mipvpn doctor"), "proof of inside", "all is well")
}

// roams takes the laptop out of the office and back, with a mode pinned on the way, under the unit's confinement.
func (m *machine) roams(t *testing.T) {
	m.lab.plug("cafe")
	m.must("mipvpn wait --for outside --timeout 60s; mipvpn wait --for connected --timeout 60s")
	m.must("ping -c 1 -w 30 10.0.1.20")
	m.fails(1, "mipvpn mode c", "sends in the clear", "not proven to be inside")
	m.must("mipvpn mode cvc")
	m.awaits("mipvpn mode", "cvc (policy cvc)")
	m.must("ping -c 1 -w 30 10.0.1.20; mipvpn mode auto")
	killed := strings.TrimSpace(m.must("systemctl show -p MainPID --value mipvpn"))
	m.must("systemctl kill --signal=KILL mipvpn")
	m.awaits("mipvpn wait --for connected --timeout 60s && test $(systemctl show -p MainPID --value mipvpn) != "+killed+" && echo 'another one is up'", "another one is up")
	m.must("ping -c 1 -w 30 10.0.1.20")
	m.must("systemctl restart mipvpn; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20") // as an upgrade does
	m.must("systemctl stop mipvpn; systemctl start mipvpn")                                                  // who stops it has it begin as after a start of the system
	m.awaits("mipvpn status", "DOWN")
	m.fails(2, "ping -c 1 -W 1 10.0.1.20", "No route to host") // the kernel holds the line until somebody says otherwise
	m.must("mipvpn up; mipvpn wait --for connected --timeout 60s")
	m.lab.plug("office")
	m.must("mipvpn wait --for inside --timeout 60s; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	says(t, "the log", m.must("journalctl --no-pager -o cat -u mipvpn"), "state: connected", "handoff", "again, as before the daemon was started anew")
}

// wrongKey takes one key after another for a wrong one.
func (m *machine) wrongKey(t *testing.T) {
	for _, k := range []struct {
		file      string
		connected bool
		want      []string
	}{
		{"i-ha.key", false, []string{"i-HA 10.0.1.10", `131 "mobile node failed authentication"`, "compare key, SPI and algorithm"}},
		{"x-ha.key", true, []string{"x-HA 192.0.2.20", `131 "mobile node failed authentication"`, "compare key, SPI and algorithm"}},
		{"gateway.psk", false, []string{"VPN gateway 192.0.2.10", "AUTHENTICATION_FAILED", "compare local_identity and remote_identity in [gateway], and psk_file"}},
	} {
		if testing.Short() && k.file != "gateway.psk" {
			continue // client/e2e TestFaultsAreToldAndOvercome has the others
		}
		m.fresh(t, "cafe")
		m.write("/etc/mipvpn/"+k.file, "0600", strings.Repeat("5a", 32))
		m.must("systemctl start mipvpn; mipvpn up")
		m.awaits("mipvpn status | tr -s ' \\n' ' '", k.want...)
		if k.connected { // the gateway does without the x-HA
			m.must("mipvpn wait --for connected --timeout 60s")
		} else {
			m.fails(124, "mipvpn wait --for connected --timeout 1s", k.want...)
			m.fails(1, "ping -c 1 -W 1 10.0.1.20")
		}
		m.fails(1, "mipvpn doctor", k.want...)
	}
}

// deadGateway has nobody answer where the gateway should be.
func (m *machine) deadGateway(t *testing.T) {
	if testing.Short() {
		t.Skip("in the short run client/e2e TestFaultsAreToldAndOvercome has a gateway that does not answer")
	}
	m.fresh(t, "cafe")
	m.must("sed -i s/192.0.2.10/192.0.2.99/ /etc/mipvpn/mipvpn.toml; systemctl start mipvpn; mipvpn up")
	m.awaits("mipvpn wait --for connected --timeout 1s 2>&1", "the client is connecting", "VPN gateway 192.0.2.99", "has not set up the VPN within 3s", "UDP ports 500 and 4500")
	m.fails(1, "mipvpn doctor", "has not set up the VPN", "UDP ports 500 and 4500")
}

// noNameServer names the gateway, and nobody knows names.
func (m *machine) noNameServer(t *testing.T) {
	m.fresh(t, "cafe")
	m.must("sed -i s/192.0.2.10/vpn.corp.example/ /etc/mipvpn/mipvpn.toml; systemctl start mipvpn; mipvpn up")
	m.awaits("mipvpn wait --for connected --timeout 1s 2>&1", "vpn.corp.example", "its name is not resolved", "check the name, and that this network has a name server")
	m.fails(1, "mipvpn doctor", "its name is not resolved")
}

// fullDisk leaves no room for state: the laptop connects all the same, and says what is lost.
func (m *machine) fullDisk(t *testing.T) {
	m.fresh(t, "cafe")
	t.Cleanup(func() { m.run("systemctl stop mipvpn; umount /var/lib/mipvpn") })
	m.must("install -d /var/lib/mipvpn; mount -t tmpfs -o size=4k tmpfs /var/lib/mipvpn; head -c 4096 /dev/zero >/var/lib/mipvpn/full")
	m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s")
	m.awaits("journalctl --no-pager -o cat -u mipvpn", "cannot be kept", "no space left on device")
	m.fails(1, "cd /var/lib/mipvpn; mipvpn bugreport", "no space left on device")
	m.must("install -d /etc/mipvpn/profiles.d; sed 's|_file = \"|_file = \"../|' /etc/mipvpn/mipvpn.toml >/etc/mipvpn/profiles.d/lab.toml")
	m.fails(1, "mipvpn profile use lab", "lab is in use, but only until the daemon ends", "no space left on device")
	says(t, "status with a profile", m.must("mipvpn status; mipvpn profile list"), "profile", "lab\n", "* default")
	m.must("mipvpn profile use default")
	m.must("cd /var/lib/mipvpn; ls -A >/tmp/before")
	m.fails(1, drafted+" --config /var/lib/mipvpn/new.toml", "no space left on device", "nothing was changed; make room")
	m.must("cd /var/lib/mipvpn; ls -A | diff /tmp/before -")
}

// drafted is the command that writes a configuration.
const drafted = "mipvpn init --yes --prefix 10.0.0.0/16 --internal-home-agent 10.0.1.10 --internal-home-address 10.0.8.100 --internal-spi 1001 --no-external-home-agent" +
	" --gateway 192.0.2.10 --identity laptop@corp.example --gateway-identity gateway.corp.example --internal-key /root/keys/i-ha.key --psk /root/keys/gateway.psk"

// readOnlyEtc has the daemon find /etc as it is on systems that cannot be written to.
func (m *machine) readOnlyEtc(t *testing.T) {
	m.fresh(t, "office")
	m.must("mount --bind /etc /etc; mount -o remount,bind,ro /etc")
	t.Cleanup(func() { m.run("systemctl stop mipvpn; umount /etc") })
	m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s; ping -c 1 -w 30 10.0.1.20")
	m.fails(1, drafted+" --force", "read-only file system", "make the file system writable, or write elsewhere with --config")
	m.must("mipvpn profile use default; mipvpn reload")
}

// twoDaemons starts a second one: it must not touch the network of the first.
func (m *machine) twoDaemons(t *testing.T) {
	m.fresh(t, "office")
	m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s")
	m.fails(1, "mipvpn daemon", "a daemon is already running", "mipvpn status")
	m.must("mipvpn status --check; ping -c 1 -w 30 10.0.1.20")
}

// oldState has what other versions have left, or nobody.
func (m *machine) oldState(t *testing.T) {
	m.fresh(t, "cafe")
	for state, want := range map[string]string{
		`{"version": 99, "gateways": []}`: "newer",
		"not a state":                     "set aside",
	} {
		m.must("systemctl stop mipvpn; install -d /var/lib/mipvpn; rm -f /var/lib/mipvpn/*; journalctl --rotate --vacuum-time=1s >/dev/null 2>&1")
		m.write("/var/lib/mipvpn/gateways.json", "0600", state)
		m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s")
		log := m.must("journalctl --no-pager -o cat -u mipvpn | grep -F gateways")
		says(t, fmt.Sprintf("the log with %q", state), log, want, "gateways.json")
		if found := m.must("ls /var/lib/mipvpn"); want == "set aside" != strings.Contains(found, "gateways.json.corrupt") {
			t.Errorf("with %q there is %q", state, found)
		}
		if want == "newer" {
			says(t, "a newer version's state", m.must("cat /var/lib/mipvpn/gateways.json"), state)
		}
	}
}

// otherUser is somebody whom neither the configuration nor polkit gives a right: she is in no session on the seat.
func (m *machine) otherUser(t *testing.T) {
	m.fresh(t, "office")
	m.must("systemctl start mipvpn; mipvpn up; mipvpn wait --for connected --timeout 60s")
	for _, command := range []string{"mipvpn down", "mipvpn mode c"} {
		out, code := m.as("alice", command)
		if code != 4 {
			t.Errorf("alice's %q: exit code %d, want 4: %s", command, code, out)
		}
	}
	if out, code := m.as("alice", "cat /etc/mipvpn/i-ha.key"); code == 0 {
		t.Errorf("alice reads a key: %s", out)
	}
	m.must("mipvpn status --check")
}

// removed takes the package away, and with it what it has done to the network.
func (m *machine) removed(t *testing.T) {
	m.must("apt-get remove --yes mipvpn")
	m.nothingLeft()
	says(t, "a configuration that stays", m.must("ls /etc/mipvpn"), "mipvpn.toml", "i-ha.key")
}

// nothingLeft wants the network as it was before the client.
func (m *machine) nothingLeft() {
	m.t.Helper()
	if out, code := m.run("ip link show mip0 || ip rule | grep -v -e local -e main -e default || systemctl is-active mipvpn"); code == 0 {
		m.t.Errorf("something is left: %s", out)
	}
}
