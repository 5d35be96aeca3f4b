package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"mipvpn/client/permission"
	"mipvpn/detect/location"
)

func TestSecretsDoNotShow(t *testing.T) {
	c, err := parse(minimal)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s %x %q %d", c, c, c.Gateway, c.Gateway.PSK, c.Gateway.PSK, c.Gateway.PSK, c.Gateway.PSK)
	p, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown += string(p)
	for _, part := range []string{"horse", "686f727365", "[99 111", "0, 1, 2", "[0 1 2", "000102"} {
		if strings.Contains(shown, part) {
			t.Errorf("a secret shows (%q) in %s", part, shown)
		}
	}
	if !strings.Contains(shown, "secret of 28 octets") {
		t.Errorf("%s", shown)
	}
	psk := c.Gateway.PSK
	c.Wipe()
	for i, b := range psk {
		if b != 0 {
			t.Fatalf("octet %d is still there after Wipe", i)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("mipvpn.toml", minimal, 0o644)
	for _, name := range []string{"i-ha.key", "x-ha.key", "gateway.psk"} {
		write(name, secrets[name], 0o600)
	}
	path := filepath.Join(dir, "mipvpn.toml")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Gateway.PSK) != "correct horse battery staple" {
		t.Errorf("PSK %v", c.Gateway.PSK)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o666, 0o610, 0o601} {
		if runtime.GOOS == "windows" { // which has no modes: client/permission
			break
		}
		write("gateway.psk", secrets["gateway.psk"], mode)
		_, err := Load(path)
		if err == nil || !strings.Contains(err.Error(), "mipvpn.toml:22: gateway.psk_file: open to others") ||
			!strings.Contains(err.Error(), fmt.Sprintf("%04o", mode)) {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if _, err := ReadSecretFile(filepath.Join(dir, "gateway.psk")); !errors.Is(err, permission.ErrOthers) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	write("gateway.psk", secrets["gateway.psk"], 0o400)
	if _, err := Load(path); err != nil {
		t.Errorf("mode 0400: %v", err)
	}
	if _, err := ReadSecretFile(dir); err == nil {
		t.Error("a directory was read as a secret")
	}
	write("big", strings.Repeat("00", maxSecret), 0o600)
	if _, err := ReadSecretFile(filepath.Join(dir, "big")); err == nil {
		t.Error("a secret without end was read")
	}
	write("long.toml", minimal+strings.Repeat("# more\n", maxFile/7), 0o600)
	if _, err := Load(filepath.Join(dir, "long.toml")); !errors.Is(err, ErrInvalid) {
		t.Errorf("a configuration without end: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) || errors.Is(err, ErrInvalid) {
		t.Errorf("no configuration: %v", err)
	}
}

func TestParseSecrets(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   string
		key  string
		psk  string
	}{
		{"hexadecimal", "00ff10", "\x00\xff\x10", "00ff10"},
		{"with 0x", "0x00ff10\n", "\x00\xff\x10", "\x00\xff\x10"},
		{"with 0X and spaces", " 0X00 ff\t10\r\n", "\x00\xff\x10", " 0X00 ff\t10"},
		{"text", "pass word\r\n", "", "pass word"},
		{"nothing", "", "", ""},
		{"line break", "\n\n", "", ""},
		{"0x alone", "0x", "", ""},
		{"0x and no digits", "0xzz", "", ""},
	} {
		key, err := ParseKey([]byte(tc.in))
		if string(key) != tc.key || (err == nil) != (tc.key != "") {
			t.Errorf("%s: key %x, %v", tc.name, []byte(key), err)
		}
		psk, err := ParsePSK([]byte(tc.in))
		if string(psk) != tc.psk || (err == nil) != (tc.psk != "") {
			t.Errorf("%s: psk %q, %v", tc.name, string(psk), err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(with("detection", `t_moniter = 3`)))
	f.Add([]byte("schema = 1\ngateway = { address = \"1.2.3.4\", x.y = 3 }\n[[log]]\n[[log]]\nlevel=1979-05-27T07:32:00Z"))
	f.Add([]byte("schema = 1\n\"a.b\".\"\" = [[[]]]\n[\"\".\"\"]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data, readSecret)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err != nil {
			errs, ok := errors.AsType[Errors](err)
			if !ok || len(errs) == 0 || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%T %v", err, err)
			}
			lines := strings.Count(string(data), "\n") + 1
			for _, e := range errs {
				if e.Line < 0 || e.Line > lines || e.Error() == "" {
					t.Fatalf("%+v of %d lines", e, lines)
				}
			}
			return
		}
		if _, err := location.New(c.Location(1)); err != nil {
			t.Errorf("accepted, but the detector refuses it: %v", err)
		}
		if c.Detection.Monitor < location.MinMonitor || len(c.Internal.Key) < 16 || len(c.Gateway.PSK) == 0 || len(c.Enterprise.Prefixes) == 0 {
			t.Errorf("accepted: %+v", c)
		}
	})
}
