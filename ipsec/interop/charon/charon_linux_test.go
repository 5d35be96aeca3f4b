package charon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The folder has everything that charon is shown, secrets are readable by their owner alone, and what a test adds comes
// behind the configuration, where it wins.
func TestFolder(t *testing.T) {
	o := Options{Configuration: "../../../configs/strongswan", Dir: t.TempDir(), Extra: "# extra", ExtraDaemon: "# last",
		Secrets: []Secret{{Name: "laptop", Owners: []string{"laptop@corp.example", "gateway.corp.example"}, Key: []byte{1, 0xab}}}}
	if err := o.write(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		t.Helper()
		path := filepath.Join(o.Dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	original, err := os.ReadFile(filepath.Join(o.Configuration, "swanctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if read("swanctl/swanctl.conf") != string(original) {
		t.Error("swanctl.conf is not the one of the configuration")
	}
	if text := read("strongswan.conf"); !strings.HasSuffix(text, "# last") || !strings.Contains(text, "kernel-libipsec") {
		t.Errorf("strongswan.conf is\n%s", text)
	}
	secrets := read("swanctl/conf.d/secrets.conf")
	for _, want := range []string{"ike-laptop {", "secret = 0x01ab", `id-0 = "laptop@corp.example"`, `id-1 = "gateway.corp.example"`} {
		if !strings.Contains(secrets, want) {
			t.Errorf("secrets.conf has no %q:\n%s", want, secrets)
		}
	}
	if read("swanctl/conf.d/zz-extra.conf") != o.Extra {
		t.Error("what was added is not there")
	}
	if err := o.write(); err == nil {
		t.Error("a folder in use is written over")
	}
}
