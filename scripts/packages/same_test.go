package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// small is a package as packs returns them, of two short files.
var small = pack{
	name: "small", summary: "to be compared", description: "Two files.", units: true,
	contents: []content{
		{to: "/usr/bin/small", from: "scripts/packages/mipvpn.prerm", mode: program},
		{to: "/usr/lib/systemd/system/small.service", from: "configs/systemd/mipagent.service", mode: public, edit: installed},
	},
	postinstall: "mipvpn.postinst", preremove: "mipvpn.prerm", postremove: "mipvpn.postrm",
}

// made makes every kind of package of small, of files that were written at that time, and returns what is in each.
func made(t *testing.T, written time.Time) map[string][]byte {
	t.Helper()
	b := builder{root: "../..", arch: "amd64", version: "1.2"}
	tree, dist, when := filepath.Join(t.TempDir(), "small"), t.TempDir(), time.Unix(1e9, 0)
	if err := b.tree(small.contents, tree); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(tree, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Chtimes(path, written, written))
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, packager := range []string{"rpm", "deb"} {
		if err := b.pack(small, tree, packager, dist, when); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.extension(small, tree, filepath.Join(dist, "small.sysext.tar.gz"), when); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dist, "*"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = data
	}
	return all
}

// The same source makes the same octets, whenever and of files of whatever age; an extension of the system holds what it must.
func TestSameOctets(t *testing.T) {
	if _, err := exec.Command("go", "tool", "-modfile=../packages.mod", "nfpm", "--version").Output(); err != nil {
		t.Skipf("nfpm cannot be built here: %v", err)
	}
	one, two := made(t, time.Unix(1.1e9, 0)), made(t, time.Unix(1.2e9, 0))
	if len(one) != 3 {
		t.Fatalf("made %q, want three packages", slices.Sorted(maps.Keys(one)))
	}
	for name, data := range one {
		if !bytes.Equal(data, two[name]) {
			t.Errorf("%s differs from one time to the next", name)
		}
	}
	// The head of an archive of ar's: 8 octets, then a name of 16 and the time of 12.
	if head := string(one["small_1.2_amd64.deb"][8+16 : 8+16+12]); strings.TrimSpace(head) != "1000000000" {
		t.Errorf("the .deb is of the time %q, want that of the source", head)
	}
	packed, err := gzip.NewReader(bytes.NewReader(one["small.sysext.tar.gz"]))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.ModTime.Unix() != 1e9 || h.Mode&0o022 != 0 {
			t.Errorf("%s is of user %d, time %v, mode %o", h.Name, h.Uid, h.ModTime, h.Mode)
		}
		if h.Name == "small/usr/lib/extension-release.d/extension-release.small" {
			text, err := io.ReadAll(r)
			if err != nil || !strings.Contains(string(text), "ID=_any\nARCHITECTURE=x86-64\n") {
				t.Errorf("the extension says %q, %v", text, err)
			}
		}
	}
	for _, want := range []string{"small/", "small/usr/bin/small", "small/usr/lib/systemd/system/small.service", "small/usr/lib/extension-release.d/extension-release.small"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not in the extension: %q", want, names)
		}
	}
	if err := (builder{arch: "s390x"}).extension(small, t.TempDir(), filepath.Join(t.TempDir(), "x"), time.Time{}); err == nil {
		t.Error("an extension for an architecture that systemd's name is not known of")
	}
}
