package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	version := flag.String("version", "", "version of the packages; by default that of the source control")
	arches := flag.String("arch", "amd64,arm64", "architectures, with commas between")
	formats := flag.String("format", "deb,rpm", "kinds of packages, with commas between")
	dist := flag.String("o", "dist", "folder that is written")
	flag.Parse()
	if err := run(*version, strings.Split(*arches, ","), strings.Split(*formats, ","), *dist); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		os.Exit(1)
	}
}

func run(version string, arches, formats []string, dist string) error {
	if version == "" {
		version = described()
	}
	work, err := os.MkdirTemp("", "mipvpn-packages")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := errors.Join(os.RemoveAll(dist), os.MkdirAll(dist, 0o755)); err != nil {
		return err
	}
	for _, arch := range arches {
		b := builder{root: ".", dir: filepath.Join(work, "bin"), arch: arch, version: version}
		for _, p := range packs() {
			tree := filepath.Join(work, arch, p.name)
			if err := b.tree(p, tree); err != nil {
				return err
			}
			file := filepath.Join(work, arch, p.name+".yaml")
			if err := os.WriteFile(file, []byte(description(b, p, tree)), 0o600); err != nil {
				return err
			}
			for _, packager := range formats {
				if err := execute("go", "tool", "-modfile=scripts/packages.mod", "nfpm", "package", "--config", file, "--packager", packager, "--target", dist); err != nil {
					return err
				}
			}
		}
		archive := filepath.Join(dist, fmt.Sprintf("mipvpn_%s_linux_%s.tar.gz", version, arch))
		if err := execute("tar", "--create", "--gzip", "--owner=0", "--group=0", "--file", archive, "--directory", filepath.Join(b.dir, arch), "mipvpn", "mipagent", "miplab"); err != nil {
			return err
		}
		if slices.Contains(formats, "deb") {
			if err := check(dist, work, arch); err != nil {
				return err
			}
		}
	}
	made, err := filepath.Glob(filepath.Join(dist, "*"))
	fmt.Println(strings.Join(made, "\n"))
	return err
}

// described returns the version of the source control in a form that packages can have, older than any release.
func described() string {
	out, err := exec.Command("git", "log", "-1", "--format=%cd.%h", "--date=format:%Y%m%d").Output()
	if err != nil {
		return "0.0.0~unknown"
	}
	return "0.0.0~git" + strings.TrimSpace(string(out))
}

func execute(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// description is the package as nfpm wants it told.
func description(b builder, p pack, tree string) string {
	var y bytes.Buffer
	fmt.Fprintf(&y, "name: %s\narch: %s\nplatform: linux\nversion: %q\nversion_schema: none\nsection: net\npriority: optional\nlicense: Apache-2.0\nmaintainer: mipvpn <mipvpn@localhost>\ndescription: |\n  %s\n  %s\n",
		p.name, b.arch, b.version, p.summary, p.description)
	if len(p.recommends) > 0 {
		fmt.Fprintf(&y, "recommends: [%s]\n", strings.Join(p.recommends, ", "))
	}
	y.WriteString("contents:\n")
	for _, c := range p.contents {
		if c.mode.IsDir() {
			fmt.Fprintf(&y, "- dst: %s\n  type: dir\n  file_info: {mode: 0%o}\n", c.to, c.mode.Perm())
			continue
		}
		kind := ""
		if c.config {
			kind = "  type: config|noreplace\n"
		}
		fmt.Fprintf(&y, "- src: %s\n  dst: %s\n%s  file_info: {mode: 0%o}\n", filepath.Join(tree, c.to), c.to, kind, c.mode)
	}
	var scripts []string
	for name, file := range map[string]string{"postinstall": p.postinstall, "preremove": p.preremove} {
		if file != "" {
			scripts = append(scripts, fmt.Sprintf("  %s: %s\n", name, filepath.Join("scripts/packages", file)))
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
			if c.mode.IsDir() {
				if _, err := os.Stat(filepath.Join(unpacked, c.to)); err != nil {
					return fmt.Errorf("%s: %w", found[0], err)
				}
				continue
			}
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
