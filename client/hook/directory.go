package hook

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mipvpn/client/permission"
)

// leftovers are the endings of files that editors and package tools leave behind.
var leftovers = []string{"~", ".bak", ".orig", ".rej", ".swp", ".tmp", ".dpkg-dist", ".dpkg-new", ".dpkg-old", ".dpkg-tmp", ".rpmnew", ".rpmorig", ".rpmsave"}

// list returns the programs of a directory in the order of their names, and for each other file that looks like one why it is
// not run. Files whose name begins with a dot, leftovers of editors and files that nobody may execute are not looked at: so a hook
// is turned off.
func list(dir string) (files []string, refused map[string]string) {
	refused = make(map[string]string)
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			refused[dir] = err.Error()
		}
		return nil, refused
	}
	if len(entries) == 0 {
		return nil, refused
	}
	if err := permission.Unchangeable(dir); err != nil {
		refused[dir] = err.Error()
		return nil, refused
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || leftover(e.Name()) {
			continue
		}
		file := filepath.Join(dir, e.Name())
		info, err := os.Stat(file) // a link counts as what it leads to
		switch {
		case err != nil:
			refused[file] = err.Error()
		case !info.Mode().IsRegular() || !executable(info):
		default:
			if err := permission.Unchangeable(file); err != nil {
				refused[file] = err.Error()
				continue
			}
			files = append(files, file)
		}
	}
	return files, refused
}

func leftover(name string) bool {
	for _, l := range leftovers {
		if strings.HasSuffix(name, l) {
			return true
		}
	}
	return false
}
