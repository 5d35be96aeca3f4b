package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"mipvpn/client"
	"mipvpn/client/control"
	"mipvpn/client/e2e"
	"mipvpn/stack/simnet"
)

// aKey is a key that nothing must show.
const aKey = "00112233445566778899aabbccddeeff"

// writeFiles writes files with their modes below dir and takes away those that have no text.
func writeFiles(t *testing.T, dir string, mode os.FileMode, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if text == "" {
			continue
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// nodeText is a file with one mobile node.
func nodeText(home string, spi int, key string) string {
	return fmt.Sprintf("schema = 1\n\n[[mobile_node]]\nhome_address = %q\nspi = %d\n%s\n", home, spi, key)
}

const nodesConfig = `schema = 1
[home_agent.internal]
address = "10.0.1.10"
home_networks = ["10.0.8.0/24"]
trusted_networks = ["10.0.0.0/16"]
mobile_nodes = "nodes.d"
`

// Shows: AGT-6 (mobile nodes from one file or from a directory of many small ones, with keys in them or beside them).
func TestMobileNodeFiles(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, 0o600, map[string]string{
		"a.toml":                 nodesConfig,
		"nodes.d/10-laptop.toml": nodeText("10.0.8.100", 1001, "key = \""+aKey+"\""),
		"nodes.d/20-more.toml":   nodeText("10.0.8.101", 1002, "key_file = \"more.key\"") + "\n[[mobile_node]]\nhome_address = \"10.0.8.100\"\nspi = 1003\nkey_file = \"more.key\"\n",
		"nodes.d/more.key":       "0x" + aKey + "\n", // as mipvpn init writes it
		"nodes.d/.hidden.toml":   "not TOML at all [",
		"nodes.d/20-more.toml~":  "not TOML at all [",
	})
	for _, path := range []string{"nodes.d", filepath.Join(dir, "nodes.d"), "one.toml"} {
		writeFiles(t, dir, 0o600, map[string]string{"a.toml": strings.Replace(nodesConfig, "nodes.d", path, 1),
			"one.toml": nodeText("10.0.8.100", 1001, "key = \""+aKey+"\"") + nodeText("10.0.8.101", 1001, "key_file = \"nodes.d/more.key\"")[len("schema = 1\n"):]})
		cfg, err := loadConfig(filepath.Join(dir, "a.toml"))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		h, err := cfg.homeAgentConfig(cfg.HomeAgent.Internal, true)
		if err != nil || len(h.MobileNodes) != 2 || len(h.MobileNodes[0].Associations) != map[bool]int{true: 1, false: 2}[path == "one.toml"] || h.MobileNodes[1].HomeAddress.String() != "10.0.8.101" {
			t.Errorf("%s: mobile nodes %+v, %v", path, h.MobileNodes, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "nodes.d")); err != nil {
		t.Fatal(err)
	}
	writeFiles(t, dir, 0o600, map[string]string{"a.toml": nodesConfig, "nodes.d/README": "nobody yet"})
	if _, err := loadConfig(filepath.Join(dir, "a.toml")); err != nil {
		t.Errorf("an empty directory: %v", err)
	}
}

// Mistakes in files with mobile nodes are told with file and line, several at once, and without keys.
func TestBadMobileNodeFiles(t *testing.T) {
	good := nodeText("10.0.8.100", 1001, "key = \""+aKey+"\"")
	for _, c := range []struct {
		name, text string
		mode       os.FileMode
		want       []string
	}{
		{"unknown key", strings.Replace(good, "spi", "spy", 1), 0o600, []string{"nodes.d/x.toml:5: unknown key mobile_node.spy"}},
		{"bad address", strings.Replace(good, "10.0.8.100", "10.0.8.300", 1), 0o600, []string{"nodes.d/x.toml:4: mobile_node.home_address"}},
		{"schema", strings.Replace(good, "schema = 1", "", 1), 0o600, []string{"nodes.d/x.toml: schema = 0 was found"}},
		{"elsewhere", strings.Replace(good, "10.0.8.100", "10.0.9.100", 1), 0o600, []string{"nodes.d/x.toml:3: mobile_node 10.0.9.100", "in none of the home networks [10.0.8.0/24]"}},
		{"both", good + "key_file = \"k\"\n", 0o600, []string{"nodes.d/x.toml:3: ", "expected key or key_file"}},
		{"none", nodeText("10.0.8.100", 1001, ""), 0o600, []string{"nodes.d/x.toml:3: ", "no key file is named"}},
		{"open", good, 0o644, []string{"it has keys in it: open to others: ", "nodes.d/x.toml has mode 0644 (chmod 600 "}},
		{"digits", strings.Replace(good, "eeff", "eef", 1), 0o600, []string{"nodes.d/x.toml:3: ", "key: expected an even number of hexadecimal digits"}},
		{"weak", strings.Replace(good, "8899aabbccddeeff", "", 1), 0o600, []string{"nodes.d/x.toml:3: ", "too weak for an internal home agent"}},
		{"SPI twice", good + good[len("schema = 1\n"):], 0o600, []string{"nodes.d/x.toml:8: ", "SPI 1001 is there twice"}},
		{"two mistakes", strings.Replace(good, "1001", "7", 1) + strings.Replace(good, "1001", "8", 1)[len("schema = 1\n"):], 0o600,
			[]string{"nodes.d/x.toml:3: mobile_node 10.0.8.100: ", "SPI 7", "nodes.d/x.toml:8: mobile_node 10.0.8.100: ", "SPI 8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			writeFiles(t, dir, c.mode, map[string]string{"nodes.d/x.toml": c.text})
			writeFiles(t, dir, 0o600, map[string]string{"a.toml": nodesConfig})
			code, _, stderr := mipagent(t, "check", filepath.Join(dir, "a.toml"))
			for _, want := range append(c.want, "a.toml:2: ") {
				if code != exitFailed || !strings.Contains(stderr, want) {
					t.Errorf("exit code %d, message\n%swant %q in it", code, stderr, want)
				}
			}
			if strings.Contains(stderr, "00112233") {
				t.Errorf("the message shows the key: %s", stderr)
			}
		})
	}
	for name, text := range map[string]string{
		"names no file":           strings.Replace(nodesConfig, `mobile_nodes = "nodes.d"`, "", 1),
		"nodes.d: no such file":   nodesConfig,
		"key belongs into the fi": nodesConfig + "[[home_agent.internal.mobile_node]]\nhome_address = \"10.0.8.100\"\nspi = 1001\nkey = \"" + aKey + "\"\n",
	} {
		dir := t.TempDir()
		writeFiles(t, dir, 0o600, map[string]string{"a.toml": text})
		if code, _, stderr := mipagent(t, "check", filepath.Join(dir, "a.toml")); code != exitFailed || !strings.Contains(stderr, name) {
			t.Errorf("exit code %d, %s, want %q in it", code, stderr, name)
		}
	}
	if text := fmt.Sprintf("%v %s %+v %q", keyDigits(aKey), keyDigits(aKey), mobileNodeTable{Key: aKey}, keyDigits(aKey)); strings.Contains(text, "0011") {
		t.Errorf("a key shows itself: %s", text)
	}
}

// Any file is one with mobile nodes or an error; each mobile node has a place.
func FuzzParseMobileNodes(f *testing.F) {
	f.Add([]byte(nodeText("10.0.8.100", 1001, "key = \""+aKey+"\"")))
	f.Add([]byte("schema = 1\nmobile_node = [{home_address = \"10.0.8.1\"}]\n"))
	f.Add([]byte("schema = 1\n[[mobile_node]]\n[[ mobile_node ]]\nspi = 3\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		nodes, err := parseMobileNodes("f", data)
		if err != nil && len(nodes) != 0 {
			t.Fatalf("%d mobile nodes and %v", len(nodes), err)
		}
		for _, n := range nodes {
			if !strings.HasPrefix(n.place, "f:") {
				t.Fatalf("place %q", n.place)
			}
		}
	})
}

// Shows: AGT-6 (`mipagent reload` while a client is connected: mobile nodes come and go in a directory, the client's binding stays; a
// mistake changes nothing; a mobile node that is struck off loses its binding and comes back with its file).
func TestReloadMobileNodes(t *testing.T) {
	roles := strings.Replace(threeRoles, "[[home_agent.internal.mobile_node]]\nhome_address = \"10.0.8.100\"\nspi = %d\nkey_file = \"internal.key\"\n", "mobile_nodes = \"nodes.d\" # SPI %d\n", 1)
	dir, node := t.TempDir(), e2e.ClientConfig()
	t.Setenv("STATE_DIRECTORY", t.TempDir())
	mine := nodeText("10.0.8.100", e2e.InternalSPI, fmt.Sprintf("key = %q", hex.EncodeToString(node.Internal.Key)))
	writeFiles(t, dir, 0o600, map[string]string{
		"nodes.d/laptop.toml": mine, "external.key": hex.EncodeToString(node.External.Key), "gateway.psk": string(node.Gateway.PSK),
		"all.toml": fmt.Sprintf(roles, e2e.InternalSPI, e2e.ExternalSPI),
	})
	cfg, err := loadConfig(filepath.Join(dir, "all.toml"))
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		l := simnet.NewLab(5)
		defer l.Close()
		core, logs := observer.New(zapcore.InfoLevel)
		ctx, cancel := context.WithCancel(t.Context())
		hup, ended := make(chan os.Signal), make(chan error, 1)
		go func() { ended <- runRoles(ctx, cfg, lab(l.InternalHA, l.ExternalHA, l.Gateway), hup, zap.New(core)) }()
		defer func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}()
		time.Sleep(time.Second)
		c, err := client.Start(l.Laptop, node, zap.NewNop(), client.WithDrops(l.Laptop.Drops()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l.Plug(l.Wlan0, l.Cafe)
		for i := 0; ; i++ {
			if s, err := c.Status(ctx); err != nil || i == 60 {
				t.Fatalf("state %s after a minute: %v", s.State, err)
			} else if s.State == control.StateConnected {
				break
			}
			time.Sleep(time.Second)
		}
		reload := func(files map[string]string, want string, bindings int) {
			t.Helper()
			writeFiles(t, dir, 0o600, files)
			before := logs.FilterMessageSnippet(want).Len()
			hup <- os.Interrupt
			time.Sleep(time.Second)
			if logs.FilterMessageSnippet(want).Len() == before {
				t.Errorf("nothing like %q is logged: %v", want, logs.All())
			}
			dropped := logs.FilterMessage("binding dropped").Len()
			if bindings != 1-dropped {
				t.Errorf("%d bindings were dropped in all", dropped)
			}
		}
		reload(map[string]string{"nodes.d/new.toml": nodeText("10.0.8.101", 1001, "key = \""+aKey+"\"")}, "home agent has another configuration", 1)
		reload(map[string]string{"nodes.d/new.toml": nodeText("10.0.8.101", 7, "key = \""+aKey+"\"")}, "the configuration is not taken", 1)
		reload(map[string]string{"nodes.d/new.toml": nodeText("10.0.8.101", 1001, "key = \""+aKey+"\""), "nodes.d/laptop.toml": ""}, "home agent has another configuration", 0)
		if n := logs.FilterMessage("binding dropped").All(); len(n) != 1 || n[0].ContextMap()["home_address"] != "10.0.8.100" {
			t.Errorf("dropped: %v", n)
		}
		registered := logs.FilterMessage("binding registered").Len()
		reload(map[string]string{"nodes.d/laptop.toml": mine}, "home agent has another configuration", 0)
		if err := errors.Join(c.Down(ctx), c.Up(ctx)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if s, err := c.Status(ctx); err != nil || s.State != control.StateConnected || logs.FilterMessage("binding registered").Len() == registered {
			t.Errorf("the mobile node did not come back: state %s, %v", s.State, err)
		}
	})
}
