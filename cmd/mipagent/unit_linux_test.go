package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Shows: AGT-6 (the systemd units are ones that systemd understands, and give few rights: least privilege).
func TestSystemdUnit(t *testing.T) {
	for _, name := range []string{"mipagent.service", "mipagent@.service"} {
		t.Run(name, func(t *testing.T) { testUnit(t, name) })
	}
}

// TestUnitsDiffer shows that the unit of one role may do what that of all roles may.
func TestUnitsDiffer(t *testing.T) {
	rights := func(name string) (list []string) {
		text, err := os.ReadFile("../../configs/systemd/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			if !strings.HasPrefix(l, "#") && !strings.HasPrefix(l, "Description=") && !strings.HasPrefix(l, "Exec") && !strings.Contains(l, "Directory=") {
				list = append(list, l)
			}
		}
		return list
	}
	if one, all := rights("mipagent@.service"), rights("mipagent.service"); !slices.Equal(one, all) {
		t.Errorf("mipagent@.service:\n%s\nmipagent.service:\n%s", strings.Join(one, ""), strings.Join(all, ""))
	}
}

func testUnit(t *testing.T, name string) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	text, err := os.ReadFile("../../configs/systemd/" + name)
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here, and systemd looks for it.
	path := filepath.Join(t.TempDir(), strings.Replace(name, "@", "@gateway", 1))
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/mipagent ", "/bin/true ")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, filepath.Base(path)) { // what it says of units of this system is not ours
			t.Errorf("systemd-analyze verify: %v: %s", err, line)
		}
	}
	// Of 100, where 0 is a service that can do nothing; one without any restriction has 96. Releases of systemd count a little
	// differently.
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=40", path).CombinedOutput()
	switch {
	case strings.Contains(string(out), "unrecognized option"):
		t.Skip("this systemd-analyze cannot look at a file")
	case err != nil:
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
