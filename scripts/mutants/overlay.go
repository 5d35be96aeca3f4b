package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// patch replaces a string that stands in a file, named from the root of the project, exactly once.
type patch struct{ file, old, new string }

// patched returns the files that the patches change, as they are to be, by name. root is where the project is.
func patched(root string, patches []patch) (map[string]string, error) {
	text := map[string]string{}
	for _, p := range patches {
		s, ok := text[p.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, p.file))
			if err != nil {
				return nil, err
			}
			s = string(b)
		}
		if n := strings.Count(s, p.old); n != 1 {
			return nil, fmt.Errorf("%s has %q %d times, once was expected: has the code changed? The patch in scripts/mutants/table.go must follow", p.file, p.old, n)
		}
		text[p.file] = strings.Replace(s, p.old, p.new, 1)
	}
	return text, nil
}

// overlay writes patched copies into the directory, and the file that tells the go command of them, whose name it returns.
func overlay(dir string, patches []patch) (string, error) {
	text, err := patched(".", patches)
	if err != nil {
		return "", err
	}
	files := map[string]string{}
	for name, s := range text {
		real, err := filepath.Abs(name)
		if err != nil {
			return "", err
		}
		copied := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(copied, []byte(s), 0o644); err != nil {
			return "", err
		}
		files[real] = copied
	}
	b, err := json.Marshal(map[string]any{"Replace": files})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "overlay.json")
	return name, os.WriteFile(name, b, 0o644)
}
