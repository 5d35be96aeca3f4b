package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// reloadInside changes the client's configuration while it sends in the clear, proven to be inside: the kernel has other routes, another
// kill switch and another MTU then, and the gate's permit in it. Then a mistake, which changes nothing.
func reloadInside(t *testing.T, dir string, do func(...string) string) {
	t.Helper()
	file := filepath.Join(dir, "mipvpn.toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reload := func() string { return do("exec", "laptop", "--", "sh", "-c", "mipvpn reload 2>&1 || true") }
	const table = "[enterprise]\nprefixes = ["
	if !strings.Contains(string(text), table) {
		t.Fatalf("the laptop's configuration has no %q:\n%s", table, text)
	}
	changed := strings.Replace(string(text), table, table+`"172.30.0.0/16", `, 1) + "\n[device]\nmtu = 1300\n"
	write(changed)
	if said := reload(); !strings.HasPrefix(said, "changed: device.mtu, enterprise.prefixes") || !strings.Contains(said, "host") {
		t.Errorf("reload said %q", said)
	}
	if said := do("exec", "laptop", "--", "mipvpn", "ping", "--count", "2", "--interval", "100ms"); !strings.Contains(said, "mode c on eth1") || !strings.Contains(said, "every layer carries") {
		t.Errorf("after the reload, ping said %q", said)
	}
	if said := do("exec", "laptop", "--", "ip", "link", "show", "mip0"); !strings.Contains(said, "mtu 1300") {
		t.Errorf("the device has another MTU: %s", said)
	}
	if said := do("exec", "laptop", "--", "ip", "route", "get", "172.30.0.1"); !strings.Contains(said, "dev mip0") {
		t.Errorf("the new prefix has another way: %s", said)
	}
	write(changed + "mtoo = 1\n")
	if said := reload(); !strings.Contains(said, `device.mtoo: unknown key, did you mean "device.mtu"?`) || !strings.Contains(said, "nothing has been changed") {
		t.Errorf("a mistake is told as %q", said)
	}
	write(string(text))
	if said := reload(); !strings.HasPrefix(said, "changed: device.mtu, enterprise.prefixes") {
		t.Errorf("reload said %q", said)
	}
}
