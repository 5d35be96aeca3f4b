package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mipvpn/client/config"
)

// swanctlConf is a client's connection.
const swanctlConf = `connections { home {
	remote_addrs = gw.corp.example
	proposals = aes256gcm16-prfsha256-x25519
	local { auth = psk
		id = laptop@corp.example }
	remote { auth = psk
		id = gw.corp.example }
} }
secrets { ike { secret = "a pre-shared key that is long enough" } }
`

// Without --write nothing is written; with it the tables take the place of those in the configuration; no secret shows.
func TestImport(t *testing.T) {
	dir := t.TempDir()
	from := put(t, filepath.Join(dir, "swanctl.conf"), swanctlConf)
	path := filepath.Join(dir, "etc", "mipvpn.toml")
	r := initialised(t, "import", from)
	if r.code != exitDone || !strings.Contains(r.out, `address = "gw.corp.example"`) || !strings.Contains(r.err, `connections.home.proposals: taken as gateway.profile = "default"`) || !strings.Contains(r.err, `"gateway.psk"`) {
		t.Errorf("%d, %s, %s", r.code, r.out, r.err)
	}
	if r := initialised(t, "import", from, "--write", "--config", path); r.code != exitFailed || !strings.Contains(r.err, "mipvpn init --import") {
		t.Errorf("%d, %s", r.code, r.err)
	}
	// The rest by flags, and a home agent.
	r = initialised(t, "init", "--config", path, "--import", from, "--prefix", "10.0.0.0/16", "--internal-home-agent", "10.0.1.10", "--internal-home-address", "10.0.8.100", "--internal-spi", "1001",
		"--new-keys", "--no-external-home-agent", "--json")
	var doc written
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || r.code != exitDone || len(doc.Remarks) != 1 {
		t.Fatalf("%d, %v, %+v, %s", r.code, err, doc, r.err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Gateway.LocalIdentity != "laptop@corp.example" || string(c.Gateway.PSK) != "a pre-shared key that is long enough" {
		t.Errorf("%+v", c.Gateway)
	}
	// Another gateway, later.
	put(t, from, strings.ReplaceAll(swanctlConf, "gw.corp", "gw2.corp"))
	if r := initialised(t, "import", from, "--write", "--config", path); r.code != exitFailed || !strings.Contains(r.err, "there already") {
		t.Errorf("%d, %s", r.code, r.err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r = initialised(t, "import", from, "--write", "--force", "--config", path, "--json")
	var second imported
	if err := json.Unmarshal([]byte(r.out), &second); err != nil || second.File != path || second.Name != "home" || second.Schema != 1 {
		t.Errorf("%d, %v, %+v, %s", r.code, err, second, r.err)
	}
	if c, err := config.Load(path); err != nil || c.Gateway.Name != "gw2.corp.example" || c.Internal.SPI != 1001 {
		t.Errorf("%v", err)
	}
	// One that cannot be used changes nothing.
	put(t, from, strings.ReplaceAll(swanctlConf, "id = gw.corp.example", ""))
	after, err := os.ReadFile(path)
	if err != nil || string(before) == string(after) {
		t.Fatalf("%v, or nothing was changed", err)
	}
	if r := initialised(t, "import", from, "--write", "--force", "--config", path); r.code != exitFailed || !strings.Contains(r.err, "gateway.remote_identity: missing") {
		t.Errorf("%d, %s", r.code, r.err)
	}
	if now, err := os.ReadFile(path); err != nil || string(now) != string(after) {
		t.Errorf("%v, or it was changed", err)
	}
	if r := initialised(t, "import", from, "--connection", "away"); r.code != exitFailed || !strings.Contains(r.err, "there are home") {
		t.Errorf("%d, %s", r.code, r.err)
	}
	for _, r := range []result{r, initialised(t, "import", from, "--json")} {
		if strings.Contains(r.out+r.err, "long enough") {
			t.Error("the secret shows")
		}
	}
}
