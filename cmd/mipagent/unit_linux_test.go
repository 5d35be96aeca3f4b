package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Shows: AGT-6 (the systemd unit is one that systemd understands, and gives few rights: least privilege).
func TestSystemdUnit(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd-analyze is not installed")
	}
	text, err := os.ReadFile("../../configs/systemd/mipagent.service")
	if err != nil {
		t.Fatal(err)
	}
	// The program is not installed here, and systemd looks for it.
	path := filepath.Join(t.TempDir(), "mipagent.service")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/mipagent ", "/bin/true ")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("systemd-analyze", "verify", path).CombinedOutput()
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "mipagent.service") { // what it says of units of this system is not ours
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
