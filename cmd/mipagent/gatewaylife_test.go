package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/suite"
)

// TestGatewayLife shows that each key about algorithms and the life of SAs arrives where it belongs, and what is wrong with bad ones.
func TestGatewayLife(t *testing.T) {
	dir := examples(t)
	path := filepath.Join(dir, "gateway.toml")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	load := func(keys, more string) (*configuration, error) {
		text := strings.Replace(string(data), "[gateway]\n", "[gateway]\n"+keys+"\n", 1) + "\n" + more
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return loadConfig(path)
	}
	c, err := load(`profile = "cnsa"
dead = "90s"
child_octets = 1000000
child_packets = 2000
reauthentication = "24h"
replay_window = 8192
tfc_padding = 512
ike_datagram = 1000
tcp = false
tcp_port = 443
pool6 = "fd00:9::/64"
max_half_open = 77
account_interval = "5m"
require_ppk = true
require_mobike = true
crash_secret_files = ["gateway.psk"]
additional_addresses = ["192.0.2.11", "2001:db8::10"]
redirect = "Gateway2.corp.example"`, "[[gateway.ppk]]\nidentity = \"laptop@corp.example\"\nid = \"one\"\nfile = \"gateway.psk\"")
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.gatewayConfig()
	if err != nil {
		t.Fatal(err)
	}
	l := g.IKE.Lifetimes
	if p := g.IKE.Proposals; len(p.Groups) != 1 || p.Groups[0] != suite.GroupP384 || !p.RequireAdditional {
		t.Errorf("profile: %+v", p)
	}
	if g.IKE.Dead != 90*time.Second || l.Bytes != 1000000 || l.Packets != 2000 || l.Authentication != 24*time.Hour || g.IKE.ReplayWindow != 8192 || g.IKE.TFCPadding != 512 || g.IKE.Fragmentation.Size != 1000 {
		t.Errorf("life: %+v, dead %v, window %d, padding %d, datagram %d", l, g.IKE.Dead, g.IKE.ReplayWindow, g.IKE.TFCPadding, g.IKE.Fragmentation.Size)
	}
	if !g.NoTCP || g.TCPPort != 443 || g.Pool6 != netip.MustParsePrefix("fd00:9::/64") || g.MaxHalfOpen != 77 || g.AccountInterval != 5*time.Minute || !g.RequirePPK ||
		len(g.CrashSecrets) != 1 || len(g.PPKs) != 1 || g.PPKs[0].PPK.ID != "one" || len(g.PPKs[0].PPK.Key) == 0 {
		t.Errorf("found %v %d %v %d %v %v, %d secrets, %v", g.NoTCP, g.TCPPort, g.Pool6, g.MaxHalfOpen, g.AccountInterval, g.RequirePPK, len(g.CrashSecrets), g.PPKs)
	}
	if !g.IKE.NoFollowing || g.IKE.MOBIKE == nil {
		t.Errorf("MOBIKE is not demanded: %+v", g.IKE)
	}
	if to, ok := g.Redirect(ike.Identity{}, netip.AddrPort{}); !ok || to.Name != "gateway2.corp.example" {
		t.Errorf("redirect to %v, %v", to, ok)
	}
	if g.IKE.MOBIKE == nil || !slices.Equal(g.Additional, []netip.Addr{netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::10")}) {
		t.Errorf("further addresses %v", g.Additional)
	}
	for keys, want := range map[string]string{
		`profile = "best"`:                                          `profile "best"`,
		`additional_addresses = ["fe80::1"]`:                        "additional_addresses: fe80::1",
		`additional_addresses = ["192.0.2.10"]`:                     "additional_addresses: 192.0.2.10",
		"mobike = false\nadditional_addresses = [\"2001:db8::10\"]": "leave out mobike = false",
		`redirect = "192.0.2.10"`:                                   "sent to this gateway again",
		`crash_secret_files = ["none"]`:                             "crash_secret_files: none",
		`dead = "1s"`:                                               "Dead",
		`ike_datagram = 20`:                                         "20",
		`pool6 = "10.0.0.0/24"`:                                     "pool6",
		`require_ppk = true`:                                        "PPK",
		`child_octets = -1`:                                         "gateway.toml",
	} {
		if _, err := load(keys, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something about %q", keys, err, want)
		}
	}
}
