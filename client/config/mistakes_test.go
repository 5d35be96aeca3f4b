package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/ipsec/pki/pkitest"
)

// All mistakes of a file are told at once, those of one list too, and lines that are no TOML do not hide the others; nothing is told that only
// follows from another mistake.
func TestEveryMistakeAtOnce(t *testing.T) {
	text := `mode = "ccc
[enterprise]
prefixes = ["10.0.0.1/16", "10.2.0.0/16", 7]
[internal_home_agent]
address = 10.0.1.10
home_address = "10.0.8.100"
spi = 1
key_file = "short.key"
lifetime = "1h"
lifetime = "2h"
[gateway]
address = "192.0.2.10"
local_identity = "laptop@example.com"
remote_identiy = "gateway.example.com"
liveness = 30
dead = "10s"
[authentication]
rounds = ["psx", "eap-tsl"]
[detection]
t_monitor = "1s"
grace = "2m"
[dns]
servers = ["10.0.1.53", "x"]
[mechanisms]
zero_overhead = "alway"
`
	_, err := Parse("f", []byte(text), readSecret)
	var errs Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var got []string
	for _, e := range errs {
		message, _, _ := strings.Cut(e.Error(), "; valid is")
		got = append(got, message)
	}
	want := []string{
		`f: schema: missing`,
		`f:1: not TOML: `,
		`f:3: enterprise.prefixes: found "10.0.0.1/16" in the list, which has bits behind its length; its network is "10.0.0.0/16"; found the number 7 in the list`,
		`f:5: not TOML: `,
		`f:7: internal_home_agent.spi: found the number 1`,
		`f:8: internal_home_agent.key_file: the key has 40 bits`,
		`f:10: not TOML: `,
		`f:11: gateway.remote_identity: missing`,
		`f:14: gateway.remote_identiy: unknown key, did you mean "gateway.remote_identity"?`,
		`f:15: gateway.liveness: found the number 30 without a unit`,
		`f:18: authentication.rounds: found "psx" in the list, did you mean "psk"?; found "eap-tsl" in the list, did you mean "eap-tls"?`,
		`f:20: detection.t_monitor: found 1s`,
		`f:23: dns.servers: found the text "x" in the list`,
		`f:25: mechanisms.zero_overhead: found the text "alway", did you mean "always"?`,
	}
	same := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		same = same && strings.HasPrefix(got[i], want[i])
	}
	if !same {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, tc := range []struct {
		name, text string
		keys       []string
	}{
		{"a list without end: what is meant cannot be told", "schema = 1\n[enterprise]\nprefixes = [\"10.0.0.0/8\"\n[gateway]\naddress = 3\n", []string{""}},
		{"a header without end, likewise", "schema = 1\n[enterprise\nprefixes = 3\n", []string{""}},
		{"what stands instead of a key is lost", strings.Replace(minimal, "home_address = \"10.0.8.100\"", "nai = laptop", 1), []string{""}},
	} {
		_, err := Parse("f", []byte(tc.text), readSecret)
		var errs Errors
		if !errors.As(err, &errs) {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range errs {
			keys = append(keys, e.Key)
		}
		if !slices.Equal(keys, tc.keys) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	many := "schema = 1\n" + strings.Repeat("x = = 1\n", 3*maxSyntax)
	if _, err := Parse("f", []byte(many), readSecret); !errors.As(err, &errs) || len(errs) != maxSyntax {
		t.Errorf("%d errors", len(errs))
	}
}

// Load looks at the files that are read when the VPN is set up, too.
func TestFilesOfCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"i-ha.key", "x-ha.key", "gateway.psk"} {
		write(name, []byte(secrets[name]), 0o600)
	}
	ca := pkitest.NewRoot("corp", time.Now(), pkitest.P256)
	laptop := ca.Issue(pkitest.P256, []string{"laptop@example.com"})
	write("ca.pem", pkitest.PEM(ca.Certificate), 0o644)
	text := strings.Replace(minimal, "psk_file = \"gateway.psk\"\n", "", 1) + "[authentication]\nrounds = [\"certificate\", \"eap-mschapv2\"]\ncertificate = \"laptop.pem\"\nkey = \"laptop.key\"\npin = \"file:pin\"\npassword = \"file:password\"\n[trust]\nanchors = [\"ca.pem\"]\n"
	write("mipvpn.toml", []byte(text), 0o644)
	path := filepath.Join(dir, "mipvpn.toml")
	broken := func(want ...string) {
		t.Helper()
		_, err := Load(path)
		var errs Errors
		if err != nil && !errors.As(err, &errs) {
			t.Fatal(err)
		}
		var keys []string
		for _, e := range errs {
			keys = append(keys, strings.TrimPrefix(e.Key, "authentication."))
		}
		if !slices.Equal(keys, want) {
			t.Errorf("%v\nwant %v", err, want)
		}
	}
	broken("certificate", "key", "pin", "password")
	write("laptop.pem", []byte("no certificate"), 0o644)
	write("laptop.key", pkitest.KeyPEM(laptop.Key), 0o644)
	write("pin", []byte("1234"), 0o600)
	write("password", []byte("x"), 0o640)
	broken("certificate", "key", "password")
	write("laptop.pem", pkitest.PEM(laptop.Certificate), 0o644)
	write("laptop.key", pkitest.KeyPEM(laptop.Key), 0o600)
	write("password", []byte("x"), 0o600)
	broken()
	write("mipvpn.toml", []byte(strings.Replace(text, "key = \"laptop.key\"\n", "", 1)), 0o644)
	broken("certificate") // it has the key as well, and everybody may read it
	write("laptop.pem", []byte("PKCS#12"), 0o600)
	broken()
}
