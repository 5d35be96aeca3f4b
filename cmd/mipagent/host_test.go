package main

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestPlaces shows that each role has numbers of its own, the same in whatever process it runs.
func TestPlaces(t *testing.T) {
	dir, seen := examples(t), make(map[string]bool)
	for _, text := range []string{"foreign-agent", "gateway", "internal-home-agent", "external-home-agent"} {
		c, err := loadConfig(filepath.Join(dir, text+".toml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range c.roles() {
			place := slices.Index(places, r.name)
			if place < 0 {
				t.Fatalf("role %s has no place", r.name)
			}
			if n := numbers(place).Name; seen[n] {
				t.Errorf("%s has the numbers of another role", r.name)
			} else {
				seen[n] = true
			}
		}
	}
	if len(seen) != len(places) {
		t.Errorf("%d roles of %d", len(seen), len(places))
	}
}
