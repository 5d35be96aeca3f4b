package client

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	"mipvpn/client/config"
)

// TestEveryKeyHasAConsequence: a key that has none in the list would ask for a restart of the daemon.
func TestEveryKeyHasAConsequence(t *testing.T) {
	for _, k := range config.Keys() {
		key, table := k.Name, cmp.Or(k.Table(), k.Name)
		if !slices.ContainsFunc(consequences, func(c struct {
			key string
			is  consequence
		}) bool {
			return c.key == key || c.key == table
		}) {
			t.Errorf("%s: say in consequences (reload.go) what another value is followed by", key)
		}
	}
	for i, c := range consequences {
		if !slices.ContainsFunc(config.Keys(), func(k config.Key) bool { return k.Name == c.key || k.Table() == c.key }) {
			t.Errorf("%s is no key", c.key)
		}
		for _, before := range consequences[:i] {
			if c.key == before.key || strings.HasPrefix(c.key, before.key+".") {
				t.Errorf("%s stands behind %s, which takes its place", c.key, before.key)
			}
		}
	}
	for key, want := range map[string]consequence{"detection.inside_domains": used, "detection.t_monitor": renewPaths, "dns.listen": renewDNS, "metrics.listen": used, "control.socket": needsRestart} {
		if got := consequenceOf(key); got != want {
			t.Errorf("%s is followed by %b, want %b", key, got, want)
		}
	}
	if got := consequenceOf("no.such_key"); got != needsRestart {
		t.Errorf("an unknown key is followed by %b", got)
	}
}
