package company

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestUnits holds that the programs run in the lab with the capabilities that their units give them, and that the units are some.
// Shows: HST-7 (least privilege: every demo runs the daemon with the unit's capabilities alone)
func TestUnits(t *testing.T) {
	bounding := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`)
	for _, name := range []string{"mipvpn.service", "mipagent.service"} {
		path := "../../../../configs/systemd/" + name
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := bounding.FindSubmatch(text)
		if found == nil {
			t.Errorf("%s bounds no capabilities", name)
			continue
		}
		unit := strings.Fields(string(found[1]))
		slices.Sort(unit)
		lab := slices.Clone(Capabilities)
		slices.Sort(lab)
		if !slices.Equal(unit, lab) {
			t.Errorf("%s has %q, the lab runs its program with %q", name, unit, lab)
		}
		if !strings.Contains(string(text), "\nNoNewPrivileges=yes\n") || !strings.Contains(string(text), "\nProtectSystem=strict\n") {
			t.Errorf("%s gives more than it has to", name)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Log("systemd-analyze is not here to read the units")
		return
	}
	// Programs and users that are not installed here are none of the unit's faults.
	for _, of := range [][]string{{"mipvpn.service"}, {"mipvpn-answer.service", "--user"}} {
		args := append([]string{"verify", "--man=no", "../../../../configs/systemd/" + of[0]}, of[1:]...)
		cmd := exec.Command("systemd-analyze", args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, _ := cmd.CombinedOutput()
		for _, l := range strings.Split(string(out), "\n") {
			if strings.Contains(l, "configs/systemd") && !strings.Contains(l, "not executable") || strings.Contains(l, "Failed to") {
				t.Error(l)
			}
		}
	}
}
