package config

import (
	"strings"
	"testing"
)

// Shows: DET-18, MOD-switch (the x-HA may be left out, whole, where nothing needs it; and what the mechanisms forbid is not pinned)
func TestWithoutExternalHomeAgent(t *testing.T) {
	begin := strings.Index(minimal, "[external_home_agent]")
	if begin < 0 {
		t.Fatal("no x-HA in the minimal configuration")
	}
	rest := minimal[begin+1:]
	without := minimal[:begin] + rest[strings.Index(rest, "["):]
	top := func(lines string) string {
		return strings.Replace(without, "schema = 1\n", "schema = 1\n"+lines+"\n", 1)
	}
	c, err := parse(without)
	if err != nil || c.HasExternal() {
		t.Fatalf("has an x-HA: %v, %v", c.HasExternal(), err)
	}
	if c, err := parse(minimal); err != nil || !c.HasExternal() {
		t.Errorf("minimal: %v", err)
	}
	for _, bad := range []struct{ name, text, want string }{
		{"half a table", strings.Replace(minimal, rest[:strings.Index(rest, "\n")], "external_home_agent]\n", 1)[:begin] + "[external_home_agent]\nspi = 2000\n" + rest[strings.Index(rest, "["):], "external_home_agent.address: missing"},
		{"off", without + "\n[mechanisms]\nendpoint_update = \"off\"\n", "outside nothing could be carried"},
		{"cvc", top(`mode = "cvc"`), "needs the x-HA"},
		{"switching", without + "\n[mechanisms]\nzero_overhead = \"always\"\nvendor = 1\n", "zero_overhead"},
		{"vc and off", strings.Replace(minimal, "schema = 1\n", "schema = 1\nmode = \"vc\"\n", 1) + "\n[mechanisms]\nendpoint_update = \"off\"\n", "mode"},
		{"cvc and always", strings.Replace(minimal, "schema = 1\n", "schema = 1\nmode = \"cvc\"\n", 1) + "\n[mechanisms]\nendpoint_update = \"always\"\n", "mode"},
		{"vf and off", strings.Replace(minimal, "schema = 1\n", "schema = 1\nmode = \"vf\"\n", 1) + "\n[mechanisms]\ngateway_agent = \"off\"\n", "mode"},
		{"vc and always an agent", strings.Replace(minimal, "schema = 1\n", "schema = 1\nmode = \"vc\"\n", 1) + "\n[mechanisms]\ngateway_agent = \"always\"\n", "mode"},
	} {
		if _, err := parse(bad.text); err == nil || !strings.Contains(err.Error(), bad.want) {
			t.Errorf("%s: %v, want something with %q", bad.name, err, bad.want)
		}
	}
}
