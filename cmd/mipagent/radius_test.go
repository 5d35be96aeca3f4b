package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Shows: AGT-4 (a foreign agent is configured to challenge, and to ask RADIUS servers)
func TestForeignRADIUS(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "radius.secret"), []byte("the shared secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const file = `schema = 1
[foreign_agent]
interface = "visit0"
care_of_address = "192.0.2.40"
revocation = true
challenge_window = 3
[foreign_agent.radius]
timeout = "1s"
[[foreign_agent.radius.server]]
address = "192.0.2.60:1812"
secret_file = "radius.secret"
`
	load := func(text string) (*configuration, error) {
		path := filepath.Join(dir, "mipagent.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return loadConfig(path)
	}
	c, err := load(file)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := c.foreignAgentConfig()
	if err != nil || cfg.RADIUS == nil || len(cfg.RADIUS.Servers) != 1 || string(cfg.RADIUS.Servers[0].Secret) != "the shared secret" || cfg.RADIUS.Identifier != "mipagent" {
		t.Fatalf("RADIUS %+v, %v", cfg.RADIUS, err)
	}
	if !cfg.Challenge || cfg.ChallengeWindow != 3 || !cfg.Revocation {
		t.Errorf("configuration %+v", cfg.Config)
	}
	for change, want := range map[string][2]string{
		"no server":      {"[[foreign_agent.radius.server]]\naddress = \"192.0.2.60:1812\"\nsecret_file = \"radius.secret\"\n", "no server"},
		"no such secret": {"radius.secret", "secret_file"},
	} {
		text := strings.Replace(file, want[0], map[bool]string{true: "missing.secret"}[change == "no such secret"], 1)
		if _, err := load(text); err == nil || !strings.Contains(err.Error(), want[1]) {
			t.Errorf("%s: %v, want %q in it", change, err, want[1])
		}
	}
}

// Shows: AGT-1, MIP-9 (a home agent of either kind is configured to ask RADIUS servers)
func TestHomeAgentRADIUS(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"radius.secret": "the shared secret\n", "mn.key": strings.Repeat("5a", 16) + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for kind, rest := range map[string]string{"internal": "trusted_networks = [\"10.0.0.0/16\"]\n", "external": ""} {
		file := strings.ReplaceAll(`schema = 1
[home_agent.KIND]
address = "10.0.1.10"
home_networks = ["10.0.8.0/24"]
`+rest+`[[home_agent.KIND.mobile_node]]
home_address = "10.0.8.100"
spi = 1001
key_file = "mn.key"
[home_agent.KIND.radius]
timeout = "1s"
[[home_agent.KIND.radius.server]]
address = "10.0.1.60:1812"
secret_file = "radius.secret"
`, "KIND", kind)
		load := func(text string) (*configuration, error) {
			path := filepath.Join(dir, "mipagent.toml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			return loadConfig(path)
		}
		c, err := load(file)
		if err != nil {
			t.Fatal(err)
		}
		internal := kind == "internal"
		cfg, err := c.homeAgentConfig(c.homeAgentTable(internal), internal)
		if err != nil || cfg.RADIUS == nil || len(cfg.RADIUS.Servers) != 1 || cfg.RADIUS.Address.String() != "10.0.1.10" || cfg.RADIUS.Initial != time.Second {
			t.Errorf("%s: RADIUS %+v, %v", kind, cfg.RADIUS, err)
		}
		if _, err := load(file[:strings.Index(file, "[[home_agent."+kind+".radius.server]]")]); err == nil || !strings.Contains(err.Error(), "no server") {
			t.Errorf("%s without a server: %v", kind, err)
		}
	}
}
