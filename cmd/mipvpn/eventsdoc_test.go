package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every kind of event that the client has is in docs/scripting.md.
func TestEventsDocument(t *testing.T) {
	document, err := os.ReadFile("../../docs/scripting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(document), "\n## Events\n")
	section, _, ended := strings.Cut(section, "\n## ")
	if !ok || !ended {
		t.Fatal("docs/scripting.md has no section Events")
	}
	files, err := filepath.Glob("../../client/*.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]bool)
	event := regexp.MustCompile(`control\.Event\{[^{}]*\bKind:\s*"([a-z_]+)"`)
	for _, f := range files {
		source, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, m := range event.FindAllSubmatch(source, -1) {
			kinds[string(m[1])] = true
		}
	}
	if len(kinds) < 30 {
		t.Fatalf("the client has %d kinds of events, want 30 at least: is there another way to make them?", len(kinds))
	}
	for k := range kinds {
		if !strings.Contains(section, "`"+k+"`") {
			t.Errorf("docs/scripting.md, Events, does not name the kind %q", k)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(section, -1) {
		if k := m[1]; !kinds[k] {
			t.Errorf("docs/scripting.md, Events, names the kind %q, which the client has not", k)
		}
	}
}
