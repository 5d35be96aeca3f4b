package strongswan

import (
	"os"
	"path/filepath"
	"testing"
)

// The connection that strongSwan's own client is tested with (stack/agent), with its secret in an included file, is carried over whole.
func TestConnectionOfCharon(t *testing.T) {
	text, err := os.ReadFile(filepath.FromSlash("../../../stack/agent/testdata/charon-client/swanctl.conf"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "conf.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"swanctl.conf": string(text), "conf.d/psk.conf": "secrets {\n\tike-laptop {\n\t\tid = laptop0@corp.example\n\t\tsecret = 0sAAECAwQFBgcICQoLDA0ODw==\n\t}\n}\n"} {
		if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := Read(filepath.Join(dir, "swanctl.conf"), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Remarks) != 0 || r.Name != "company" {
		t.Errorf("%s: %+v", r.Name, r.Remarks)
	}
	g := whole(t, r.Draft).Gateway
	if g.Address.String() != "192.0.2.10" || g.LocalIdentity != "laptop0@corp.example" || g.RemoteIdentity != "gateway.corp.example" || len(g.PSK) != 16 || len(g.RemoteSubnets) != 1 {
		t.Errorf("%+v", g)
	}
}
