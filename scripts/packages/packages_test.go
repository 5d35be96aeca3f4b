package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// No document is left out, for they name each other.
func TestPapers(t *testing.T) {
	found, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range found {
		found[i] = filepath.Base(f)
	}
	if !slices.Equal(found, papers) {
		t.Errorf("docs has %q, packages %q", found, papers)
	}
}

// TestTree lays out what a laptop and an agent's machine get, without building packages: `make packages` does that and compares.
func TestTree(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("packages are for Linux")
	}
	b := builder{root: "../..", dir: t.TempDir(), arch: runtime.GOARCH, version: "1.2"}
	when := time.Unix(1e9, 0)
	for _, p := range packs() {
		tree := t.TempDir()
		if err := b.tree(p.contents, tree); err != nil {
			t.Fatal(err)
		}
		seen := make(map[string]bool)
		for _, c := range p.contents {
			info, err := os.Stat(filepath.Join(tree, c.to))
			if err != nil || seen[c.to] || info.Mode().Perm() != c.mode.Perm() {
				t.Errorf("%s: %s: %v, seen before %v", p.name, c.to, err, seen[c.to])
			}
			seen[c.to] = true
			if !strings.HasPrefix(c.to, "/usr/") || strings.HasPrefix(c.to, "/usr/local") {
				t.Errorf("%s: %s is a person's place, or not kept where /usr is an image", p.name, c.to)
			}
		}
		for _, file := range []string{p.postinstall, p.preremove, p.postremove} {
			if info, err := os.Stat(file); file != "" && (err != nil || info.Mode().Perm()&0o111 == 0) {
				t.Errorf("%s: script %s: %v, mode %v", p.name, file, err, info.Mode())
			}
		}
		text := func(path string) string {
			t.Helper()
			data, err := os.ReadFile(filepath.Join(tree, path))
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
		if !strings.HasPrefix(text("/usr/share/bash-completion/completions/"+p.name), "# bash completion") {
			t.Errorf("%s: no bash completion", p.name)
		}
		switch p.name {
		case "mipvpn":
			if page := text("/usr/share/man/man5/mipvpn.toml.5"); !strings.Contains(page, "\\fBgateway.address\\fR") {
				t.Error("mipvpn.toml(5) does not describe gateway.address")
			}
			if page := text("/usr/share/man/man7/mipvpn-hooks.7"); !strings.Contains(page, "MIPVPN_EVENT") {
				t.Error("mipvpn-hooks(7) does not describe MIPVPN_EVENT")
			}
			if unit := text("/usr/lib/systemd/system/mipvpn.service"); !strings.Contains(unit, "ExecStart=/usr/bin/mipvpn daemon\n") {
				t.Error("mipvpn.service starts another program")
			}
		case "mipagent":
			if unit := text("/usr/lib/systemd/system/mipagent.service"); !strings.Contains(unit, "ExecStart=/usr/bin/mipagent ") || strings.Contains(unit, "/usr/local") {
				t.Errorf("mipagent.service starts another program:\n%s", unit)
			}
		}
		yaml := description(b, p, tree, when)
		for to := range seen {
			if !strings.Contains(yaml, "dst: "+to+"\n") {
				t.Errorf("%s: nfpm is not told of %s", p.name, to)
			}
		}
	}
	hand := t.TempDir()
	if err := b.tree(byHandFiles(), hand); err != nil {
		t.Fatal(err)
	}
	for _, c := range byHandFiles() {
		text, err := os.ReadFile(filepath.Join(hand, c.to))
		if err != nil || strings.HasSuffix(c.to, ".service") && (!strings.Contains(string(text), "=/usr/local/bin/mip") || strings.Contains(string(text), "=/usr/bin/mip")) {
			t.Errorf("%s for installation by hand: %v\n%s", c.to, err, text)
		}
	}
	scripts, err := os.ReadDir("../examples")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range scripts {
		if !strings.Contains(description(b, packs()[0], "x", when), "/usr/share/doc/mipvpn/examples/"+f.Name()) {
			t.Errorf("scripts/examples/%s is in no package", f.Name())
		}
	}
	// Every example of the source goes with some package.
	files, err := fs.Glob(os.DirFS("../../configs"), "*.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if c := "/usr/share/doc/mipagent/examples/" + f; !strings.Contains(description(b, packs()[1], "x", when), c) {
			t.Errorf("%s is in no package", f)
		}
	}
}
