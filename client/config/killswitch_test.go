package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Shows: HST-1, HST-2 (split and full tunnels, IPv6 prefixes and the exception in the configuration)
func TestTunnel(t *testing.T) {
	for _, c := range []struct {
		lines    string // of [enterprise]
		more     string
		full     bool
		subnets  []netip.Prefix
		warnings int
		err      string
	}{
		{subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}},
		{lines: `tunnel = "split"`, subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}},
		{lines: `tunnel = "full"`, full: true, subnets: []netip.Prefix{everything}},
		{lines: `tunnel = "full"`, more: "[kill_switch]\nallow_local = true\n", full: true, subnets: []netip.Prefix{everything}},
		{more: "[kill_switch]\nallow_local = true\n", subnets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, warnings: 1},
		{lines: `tunnel = "half"`, err: `mipvpn.toml:4: enterprise.tunnel: found the text "half"; valid is "split" or "full"`},
		{lines: `prefixes6 = ["10.0.0.0/8"]`, err: `mipvpn.toml:4: enterprise.prefixes6: found the text "10.0.0.0/8" in the list; valid is ` + vPrefixes6},
		{lines: `prefixes6 = ["::ffff:10.0.0.0/104"]`, err: `mipvpn.toml:4: enterprise.prefixes6: found the text "::ffff:10.0.0.0/104" in the list; valid is ` + vPrefixes6},
		{lines: `prefixes6 = ["2001:db8::1/32"]`, err: `mipvpn.toml:4: enterprise.prefixes6: found "2001:db8::1/32" in the list, which has bits behind its length; its network is "2001:db8::/32"; valid is ` + vPrefixes6},
		{lines: `prefixes6 = ["::/0"]`, err: `mipvpn.toml:4: enterprise.prefixes6: found ::/0, which is everything; valid is tunnel = "full", and here the enterprise's own networks`},
		{lines: `prefixes6 = 3`, err: `mipvpn.toml:4: enterprise.prefixes6: found the number 3; valid is ` + vPrefixes6},
	} {
		text := with("enterprise", c.lines) + c.more
		got, err := parse(text)
		if c.err != "" {
			if err == nil || err.Error() != c.err {
				t.Errorf("%s: got\n%v\nwant\n%s", c.lines, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.lines, err)
			continue
		}
		if full := got.Enterprise.Tunnel == TunnelFull; full != c.full || !slices.Equal(got.Gateway.RemoteSubnets, c.subnets) || len(got.Warnings) != c.warnings {
			t.Errorf("%s%s: full %v, remote subnets %v, warnings %v", c.lines, c.more, full, got.Gateway.RemoteSubnets, got.Warnings)
		}
	}
	if _, err := parse(replaced(t, `prefixes = ["10.0.0.0/16"]`, `prefixes = ["0.0.0.0/0"]`)); err == nil {
		t.Error("everything as a split tunnel's prefix is accepted")
	}
}

// Shows: HST-2 (the kill switch needs no secret at the system's start)
func TestLoadPublic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mipvpn.toml")
	if err := os.WriteFile(path, []byte(minimal), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := LoadPublic(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Enterprise.Prefixes) != 1 || c.Internal.HomeAddress != netip.MustParseAddr("10.0.8.100") || len(c.Warnings) != 0 {
		t.Errorf("got %+v", c)
	}
	if _, err := Load(path); err == nil {
		t.Error("Load takes a configuration without its secrets")
	}
	if _, err := LoadPublic(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a file: %v", err)
	}
}
