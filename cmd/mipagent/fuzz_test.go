package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// Any file is a configuration or an error that says so.
func FuzzParseConfig(f *testing.F) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("schema = 1\n[gateway]\npeer = 3\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig("f", data)
		if (c == nil) == (err == nil) || err != nil && !errors.Is(err, errConfig) {
			t.Fatalf("%+v, %v", c, err)
		}
	})
}
