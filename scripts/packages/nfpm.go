package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// pack makes a .deb or .rpm of a tree in dist.
func (b builder) pack(p pack, tree, packager, dist string, when time.Time) error {
	file := tree + ".yaml"
	if err := os.WriteFile(file, []byte(description(b, p, tree, when)), 0o600); err != nil {
		return err
	}
	return execute("go", "tool", "-modfile="+filepath.Join(b.root, "scripts/packages.mod"), "nfpm", "package", "--config", file, "--packager", packager, "--target", dist)
}

// description is the package as nfpm wants it told.
func description(b builder, p pack, tree string, when time.Time) string {
	var y bytes.Buffer
	fmt.Fprintf(&y, "mtime: %s\nrpm: {buildhost: localhost}\nname: %s\narch: %s\nplatform: linux\nversion: %q\nversion_schema: none\nsection: net\npriority: optional\nlicense: Apache-2.0\nmaintainer: mipvpn <mipvpn@localhost>\ndescription: |\n  %s\n  %s\n",
		when.UTC().Format(time.RFC3339), p.name, b.arch, b.version, p.summary, p.description)
	if len(p.recommends) > 0 {
		fmt.Fprintf(&y, "recommends: [%s]\n", strings.Join(p.recommends, ", "))
	}
	y.WriteString("contents:\n")
	for _, c := range p.contents {
		fmt.Fprintf(&y, "- src: %s\n  dst: %s\n  file_info: {mode: 0%o}\n", filepath.Join(tree, c.to), c.to, c.mode)
	}
	var scripts []string
	for name, file := range map[string]string{"postinstall": p.postinstall, "preremove": p.preremove, "postremove": p.postremove} {
		if file != "" {
			scripts = append(scripts, fmt.Sprintf("  %s: %s\n", name, filepath.Join(b.root, "scripts/packages", file)))
		}
	}
	slices.Sort(scripts)
	if len(scripts) > 0 {
		y.WriteString("scripts:\n" + strings.Join(scripts, ""))
	}
	return y.String()
}

// check unpacks the .deb packages and compares them with the trees that they were made of, where dpkg-deb is there.
func check(dist, work, arch string) error {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		fmt.Println("dpkg-deb is not here: the packages have not been looked at")
		return nil
	}
	for _, p := range packs() {
		found, err := filepath.Glob(filepath.Join(dist, p.name+"_*_"+arch+".deb"))
		if err != nil || len(found) != 1 {
			return fmt.Errorf("%s for %s: expected one .deb in %s, found %q", p.name, arch, dist, found)
		}
		unpacked := filepath.Join(work, arch, p.name+"-unpacked")
		if err := execute("dpkg-deb", "--extract", found[0], unpacked); err != nil {
			return err
		}
		for _, c := range p.contents {
			want, err := os.ReadFile(filepath.Join(work, arch, p.name, c.to))
			if err != nil {
				return err
			}
			have, err := os.ReadFile(filepath.Join(unpacked, c.to))
			if err != nil || !bytes.Equal(want, have) {
				return fmt.Errorf("%s: %s is not what it was made of: %v", found[0], c.to, err)
			}
		}
	}
	return nil
}
