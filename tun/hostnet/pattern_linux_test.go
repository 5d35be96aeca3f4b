package hostnet

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mipvpn/tun/hostnet/netnstest"
)

func TestNftVersion(t *testing.T) {
	for text, want := range map[string][]int{
		"nftables v1.0.6 (Lester Gooch #5)\n": {1, 0, 6}, "nftables v1.1.6": {1, 1, 6}, "nftables v2": {2}, "nftables v1.1.6.1 (x)": {1, 1, 6, 1},
		"": nil, "nftables v": nil, "nftables v1.x": nil, "nftables v-1.0": nil, "nft 1.1.6": nil, "nftables v1..6": nil,
	} {
		if got := nftVersion(text); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	dir := t.TempDir()
	program := func(name, does string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte("#!/bin/sh\n"+does+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return p
	}
	none := filepath.Join(dir, "none")
	old, young := program("old", "echo nftables v1.1.5 '(x)'"), program("young", "echo nftables v1.1.6 '(x)'")
	for _, tc := range []struct {
		programs []string
		want     bool
	}{
		{nil, true}, {[]string{none}, true}, {[]string{none, old, young}, false}, {[]string{young, old}, true},
		{[]string{program("later", "echo nftables v1.10.0")}, true}, {[]string{program("next", "echo nftables v2.0")}, true},
		{[]string{program("fails", "echo nftables v1.1.6; exit 1")}, false}, {[]string{program("strange", "echo hello")}, false},
	} {
		if got := readsPatterns(tc.programs); got != tc.want {
			t.Errorf("%q: %v", tc.programs, got)
		}
	}
}

func FuzzNftVersion(f *testing.F) {
	f.Add("nftables v1.0.6 (Lester Gooch #5)\n")
	f.Fuzz(func(t *testing.T, out string) {
		for _, n := range nftVersion(out) {
			if n < 0 {
				t.Errorf("%q: %d", out, n)
			}
		}
	})
}

// Shows: HST-1 (the nft of this system comes to an end with what it reads beside the kill switch)
func TestNftReadsBesideTheKillSwitch(t *testing.T) {
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Skip("needs nft (Debian: nftables)")
	}
	h := newHostile(t)
	h.openMip0()
	h.network.pattern = New(Options{}).pattern
	apply(t, h.ns, h.network, lined)
	netnstest.Inside(t, h.ns, func() error {
		for _, command := range [][]string{{"list", "tables"}, {"list", "ruleset"}, {"-j", "list", "ruleset"}} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if out, err := exec.CommandContext(ctx, nft, command...).CombinedOutput(); err != nil || ctx.Err() != nil {
				t.Errorf("nft %q: %v %.200s", command, err, out)
			}
			cancel()
		}
		return nil
	})
}
