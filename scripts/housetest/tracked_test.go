package housetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs are the first octets of files that compilers write: ELF, Mach-O, PE and archives of objects.
var programs = []string{"\x7fELF", "\xcf\xfa\xed\xfe", "\xca\xfe\xba\xbe", "MZ", "!<arch>\n"}

// TestNoProgramsAreTracked shows that no program that was built in the tree has become part of it.
func TestNoProgramsAreTracked(t *testing.T) {
	out, err := exec.Command("git", "-C", root, "ls-files", "-z").Output()
	if err != nil {
		t.Skipf("git does not say which files are the project's: %v", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		f, err := os.Open(filepath.Join(root, name))
		if err != nil {
			continue // taken away, not yet committed
		}
		head := make([]byte, 8)
		n, _ := f.Read(head)
		f.Close()
		for _, p := range programs {
			if bytes.HasPrefix(head[:n], []byte(p)) {
				t.Errorf("%s is a program: git rm --cached %s", name, name)
			}
		}
	}
}
