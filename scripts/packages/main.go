package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
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
	when, err := sourceTime()
	if err != nil {
		return err
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
			if err := b.tree(p.contents, tree); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			for _, packager := range formats {
				if err := b.pack(p, tree, packager, dist, when); err != nil {
					return err
				}
			}
			if p.units {
				if err := b.extension(p, tree, filepath.Join(dist, fmt.Sprintf("%s_%s_%s.sysext.tar.gz", p.name, version, arch)), when); err != nil {
					return err
				}
			}
		}
		tree := filepath.Join(work, arch, "by-hand")
		if err := b.tree(byHandFiles(), tree); err != nil {
			return err
		}
		if err := archive(filepath.Join(dist, fmt.Sprintf("mipvpn_%s_linux_%s.tar.gz", version, arch)), tree, ".", when); err != nil {
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

// sourceTime is the time that all files in packages have, so that the same source makes the same octets whenever it is built: that of the
// last change, or what SOURCE_DATE_EPOCH says, or the beginning of time where no source control is.
func sourceTime() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		out, err := exec.Command("git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Unix(0, 0), nil
		}
		text = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH: found %q, expected seconds since 1970", text)
	}
	return time.Unix(seconds, 0), nil
}

func execute(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
