package config

import (
	"strings"
	"testing"
	"time"
)

func TestDetectionErrors(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, lines := range []string{
		`probe_time = "0s"`, `silence_pause = "10ms"`, `idle = "59s"`, `idle = 5`, `inside_domains = "corp.example"`, `inside_domains = [1]`,
		`inside_domains = [""]`, `inside_domains = ["corp..example"]`, `inside_domains = ["-corp.example"]`, `inside_domains = ["corp.example."]`,
		`inside_domains = ["*.example"]`, `inside_domains = ["10.0.0.1"]`, `inside_domains = ["` + long + `.example"]`,
		`inside_nais = ["laptop@corp.example"]`, `inside_nais = ["` + strings.Repeat("a.", 127) + `a"]`, `learn_gateways = "yes"`,
	} {
		if c, err := parse(with("detection", lines)); err == nil {
			t.Errorf("%s: accepted: %+v", lines, c.Detection)
		} else if key, _, _ := strings.Cut(lines, " "); !strings.Contains(err.Error(), "detection."+key) {
			t.Errorf("%s: %v", lines, err)
		}
	}
	c, err := parse(with("detection", `inside_domains = ["CORP.example", "xn--bcher-kva"]`+"\nidle = \"1m\""))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Detection.InsideDomains, " "); got != "corp.example xn--bcher-kva" || c.Location(1).Idle != time.Minute {
		t.Errorf("domains %q, idle %v", got, c.Location(1).Idle)
	}
}
