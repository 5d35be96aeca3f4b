package main

import (
	"go/parser"
	"go/token"
	"testing"
)

// TestPatchesApply shows that each patch of each mutant matches the source once, and that what comes of it is Go: without
// it, a mutant would go unnoticed when the source moves on.
func TestPatchesApply(t *testing.T) {
	names := map[string]bool{}
	for _, m := range table {
		if names[m.name] {
			t.Errorf("two mutants are called %q", m.name)
		}
		names[m.name] = true
		if m.rules == "" || len(m.patches) == 0 {
			t.Errorf("%s: no rule or no patch", m.name)
		}
		files, err := patched("../..", append(append([]patch{}, m.base...), m.patches...))
		if err != nil {
			t.Errorf("%s: %v", m.name, err)
			continue
		}
		for name, text := range files {
			if _, err := parser.ParseFile(token.NewFileSet(), name, text, 0); err != nil {
				t.Errorf("%s: %v", m.name, err)
			}
		}
	}
}
