package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mipvpn/mipv4/foreignagent"
)

// Shows: MIP-7 (configuration of the U bit)
func TestForeignAgentBehindNAT(t *testing.T) {
	for text, usable := range map[string]bool{"udp_tunnel = \"nat\"\nbehind_nat = true": true, "behind_nat = true": false} {
		path := filepath.Join(t.TempDir(), "mipagent.toml")
		file := "schema = 1\n[foreign_agent]\ninterface = \"visit0\"\ncare_of_address = \"192.0.2.40\"\naddress = \"172.16.5.1\"\n" + text + "\n"
		if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := loadConfig(path)
		if err != nil && usable {
			t.Fatal(err)
		}
		if !usable {
			if !errors.Is(err, errConfig) || !errors.Is(err, foreignagent.ErrConfig) {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		if cfg, err := c.foreignAgentConfig(); err != nil || !cfg.BehindNAT || cfg.UDPTunnel != foreignagent.UDPTunnelNAT {
			t.Errorf("%q: %+v, %v", text, cfg.Config, err)
		}
	}
}
