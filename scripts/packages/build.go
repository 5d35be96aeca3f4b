package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
)

// builder makes what packages hold, for one architecture. Programs of another machine cannot be run here, so that pages and completions
// come from those of this one; they are the same.
type builder struct {
	// root is the source, dir a folder for what is built.
	root, dir, arch, version string
}

// binary builds a program.
func (b builder) binary(name string) ([]byte, error) { return b.built(name, b.arch) }

func (b builder) built(name, arch string) ([]byte, error) {
	out := filepath.Join(b.dir, arch, name)
	if _, err := os.Stat(out); err != nil {
		cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, "./cmd/"+name)
		cmd.Dir, cmd.Env = b.root, append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
		if text, err := cmd.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build %s for %s: %w\n%s", name, arch, err, text)
		}
	}
	return os.ReadFile(out)
}

// output runs a program and returns what it writes.
func (b builder) output(name string, args ...string) ([]byte, error) {
	return b.outputOf(nil, name, args...)
}

func (b builder) outputOf(in []byte, name string, args ...string) ([]byte, error) {
	if _, err := b.built(name, runtime.GOARCH); err != nil {
		return nil, err
	}
	var complaint bytes.Buffer
	cmd := exec.Command(filepath.Join(b.dir, runtime.GOARCH, name), args...)
	cmd.Stdin = bytes.NewReader(in)
	cmd.Env, cmd.Stderr = append(os.Environ(), "MIPVPN_SOCKET="), &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w\n%s", name, args, err, complaint.Bytes())
	}
	return out, nil
}

func (b builder) page(name string, section int, short, from string) ([]byte, error) {
	markdown, err := os.ReadFile(filepath.Join(b.root, from))
	if err != nil {
		return nil, err
	}
	return b.outputOf(markdown, "mipvpn", "manual", name, strconv.Itoa(section), short)
}

// installed has a unit name the program where a package puts it.
func installed(unit []byte) []byte {
	return bytes.ReplaceAll(unit, []byte("/usr/local/bin/"), []byte("/usr/bin/"))
}

// byHand has a unit name the program where a person puts it.
func byHand(unit []byte) []byte {
	return bytes.ReplaceAll(installed(unit), []byte("/usr/bin/"), []byte("/usr/local/bin/"))
}

// tree lays files out below a folder.
func (b builder) tree(contents []content, below string) error {
	for _, c := range contents {
		var data []byte
		var err error
		if c.make != nil {
			data, err = c.make(b)
		} else {
			data, err = os.ReadFile(filepath.Join(b.root, c.from))
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.to, err)
		}
		if c.edit != nil {
			data = c.edit(data)
		}
		if err := writeFile(filepath.Join(below, c.to), data, c.mode); err != nil {
			return err
		}
	}
	return nil
}

// writeFile writes a file with that mode, whatever the umask, and the folders above it.
func writeFile(at string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(at, data, mode); err != nil {
		return err
	}
	return os.Chmod(at, mode)
}
