package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

func TestBlank(t *testing.T) {
	b := newBlanker()
	b.learn("Corp.Example")
	b.learn("gateway.corp.example")
	b.learn("CN=gateway, O=Corp")
	for _, c := range []struct{ text, want string }{
		{"10.0.1.10 via 192.0.2.1 dev eth0", "<private4-1> via <public4-1> dev eth0"},
		{"again 10.0.1.10/24 and 10.0.1.11:434", "again <private4-1>/24 and <private4-2>:434"},
		{"0.0.0.0 127.0.0.1 224.0.0.11 255.255.255.255", "0.0.0.0 127.0.0.1 224.0.0.11 255.255.255.255"},
		{"2001:db8::1 fe80::1%eth0 ::1 fd00::7/64 ff02::1", "<public6-1> <linklocal6-1>%eth0 ::1 <private6-1>/64 ff02::1"},
		{"2001:DB8:0:0::1", "<public6-1>"},
		{"::ffff:10.0.1.10", "<private4-1>"},
		{"link/ether 02:00:5e:10:00:01", "link/ether <hardware-1>"},
		{"at 12:34:56 and 2026-11-21T12:34:56Z", "at 12:34:56 and 2026-11-21T12:34:56Z"},
		{"laptop1@corp.example at GATEWAY.corp.EXAMPLE, www.corp.example", "<identity-1> at <name-1>, www.<name-2>"},
		{"alice.b@other.example", "<identity-2>"},
		{"proved by CN=gateway, O=Corp", "proved by <name-3>"},
		{"/home/alice/key and /home/bob", "/home/<user-1>/key and /home/<user-2>"},
		{"key_file = \"000102030405060708090a0b0c0d0e0f\"", "key_file = \"<hex-1>\""},
		{"version 1.26.0 of go1.26.0, 5.16", "version 1.26.0 of go1.26.0, 5.16"},
	} {
		if got := b.text(c.text); got != c.want {
			t.Errorf("%q became %q, expected %q", c.text, got, c.want)
		}
	}
}

var fourAlone = regexp.MustCompile(`[0-9.]+`)

func FuzzBlank(f *testing.F) {
	f.Add("10.0.1.10 2001:db8::1 02:00:5e:10:00:01 a@b.c")
	f.Add("1.2.3.4.5.6 ::ffff:1.2.3.4 CORP.example")
	f.Add("\xff10.0.0.1\xff <private4-1>")
	f.Fuzz(func(t *testing.T, text string) {
		b := newBlanker()
		b.learn("corp.example")
		out := b.text(text)
		if strings.Contains(asciiLower(out), "corp.example") {
			t.Fatalf("%q became %q", text, out)
		}
		for _, word := range fourAlone.FindAllString(out, -1) {
			if a, err := netip.ParseAddr(word); err == nil && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.String() != "255.255.255.255" {
				t.Fatalf("%q became %q, with %v", text, out, a)
			}
		}
		again := newBlanker()
		if first := again.text(text); again.text(text) != first {
			t.Fatalf("%q does not become the same again", text)
		}
	})
}

// entries returns the files of an archive.
func entries(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "mipvpn-bugreport/")] = string(data)
	}
}

// TestBugreport writes a report and looks for what must not be in it.
func TestBugreport(t *testing.T) {
	path := configure(t, strings.Replace(configuration, "schema = 1", "# ask alice about hunter2\nschema = 1", 1)+"[dns]\ndomains = [\"corp.example\"]\n")
	s := statuses()["outside"]
	s.VPN = &control.VPN{GatewayIdentity: "CN=gateway, O=Corp", Domains: []string{"lab.example"}}
	b := controltest.New(s)
	socket := serve(t, b, everybody(t))
	out := filepath.Join(t.TempDir(), "report.tar.gz")
	if r := mipvpn(t.Context(), socket, "bugreport", "--config", path, out); r.code != exitDone || !strings.Contains(r.out, "look at it before you send it") {
		t.Fatalf("%+v", r)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	files := entries(t, data)
	for _, name := range []string{"version.json", "status.json", "detect.json", "doctor.json", "config-check.txt", "log.txt", "addresses.txt", "routes.txt", "rules.txt", "mipvpn.toml"} {
		if files[name] == "" {
			t.Errorf("no %s", name)
		}
	}
	for name, text := range files {
		for _, never := range []string{"hunter2", "a long enough passphrase", "000102030405060708090a0b0c0d0e0f", "192.0.2.20", "10.0.1.10", "laptop@example.com", "gateway.example.com", "corp.example", "lab.example", "CN=gateway"} {
			if strings.Contains(text, never) {
				t.Errorf("%s has %q:\n%s", name, never, text)
			}
		}
	}
	if !strings.Contains(files["mipvpn.toml"], "[gateway]") || !strings.Contains(files["mipvpn.toml"], "spi = 256") || !strings.Contains(files["status.json"], `"state": "connected"`) {
		t.Errorf("too little is left:\n%s\n%s", files["mipvpn.toml"], files["status.json"])
	}
	if r := mipvpn(t.Context(), socket, "bugreport", "--config", path, out); r.code != exitFailed || !strings.Contains(r.err, "is there already") {
		t.Errorf("%+v", r)
	}
	r := mipvpn(t.Context(), "/nowhere", "bugreport", "--config", "/nowhere/mipvpn.toml", "--show-addresses", "-")
	files = entries(t, []byte(r.out))
	if r.code != exitDone || !strings.Contains(files["status.json"], "exit code 5") || !strings.Contains(files["mipvpn.toml"], "not to be had") {
		t.Errorf("without a daemon: exit %d, %q", r.code, files)
	}
}

// TestConfigurationText keeps what a person may have written in the wrong place.
func TestConfigurationText(t *testing.T) {
	text := string(configurationText([]byte("schema = 1 # secret: abc\n[gateway]\npsk = \"abc\"\npsk_file = \"psk\"\n[[x]]\npassword = \"abc\"\ncommand = [\"abc\"]\n")))
	if strings.Contains(text, "abc") || !strings.Contains(text, "psk_file = 'psk'") || strings.Count(text, "(kept back)") != 3 {
		t.Errorf("%s", text)
	}
	if text := string(configurationText([]byte("psk = abc"))); strings.Contains(text, "abc") || !strings.Contains(text, "no TOML") {
		t.Errorf("%s", text)
	}
}
