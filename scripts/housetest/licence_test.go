package housetest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// licences are those that go with Apache-2.0, each by words of its own text.
var licences = []struct{ name, words string }{
	{"Apache-2.0", "Apache License"},
	{"MIT", "Permission is hereby granted, free of charge"},
	{"BSD", "Redistribution and use in source and binary forms"},
	{"ISC", "Permission to use, copy, modify, and"},
	{"MPL-2.0", "Mozilla Public License Version 2.0"},
}

// TestDependencyLicences shows that every module that goes into a program has a licence that goes with Apache-2.0.
func TestDependencyLicences(t *testing.T) {
	seen := map[string]bool{}
	for _, goos := range []string{"linux", "darwin", "windows"} {
		for _, p := range goList(t, goos, "-deps", "./...") {
			if p.Standard || p.Module == nil || p.Module.Path == module || seen[p.Module.Path] {
				continue
			}
			seen[p.Module.Path] = true
			if name, text := licenceOf(t, p.Module.Dir); name == "" {
				t.Errorf("module %s: licence not recognised as one that goes with Apache-2.0; its file begins %.80q", p.Module.Path, text)
			}
		}
	}
	if len(seen) == 0 {
		t.Fatal("no module was looked at")
	}
}

func licenceOf(t *testing.T, dir string) (name, text string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		base := strings.ToUpper(e.Name())
		if e.IsDir() || !(strings.HasPrefix(base, "LICEN") || strings.HasPrefix(base, "COPYING")) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text = string(b)
		words := strings.Join(strings.Fields(text), " ")
		for _, l := range licences {
			if strings.Contains(words, l.words) {
				return l.name, text
			}
		}
	}
	return "", text
}
