package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
