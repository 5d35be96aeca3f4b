package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sourced writes a configuration whose keys come from a file, a credential and a program, and returns its path.
func sourced(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text := strings.Replace(minimal, `psk_file = "gateway.psk"`, `psk_file = "credential:gateway-psk"`, 1)
	before, after, _ := strings.Cut(text, "[external_home_agent]")
	key := strings.SplitN(after[strings.Index(after, "key_file = "):], "\n", 2)[0]
	text = before + "[external_home_agent]" + strings.Replace(after, key, `key_file = "command:print-key x-ha"`, 1)
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("mipvpn.toml", text)
	for _, name := range []string{"i-ha.key", "x-ha.key", "key", "internal.key", "external.key"} {
		write(name, strings.Repeat("11", 16))
	}
	return filepath.Join(dir, "mipvpn.toml")
}

// Shows: IKE-2 (keys come from files, from the service manager's credentials and from programs; a look at a configuration runs nothing)
func TestKeysFromElsewhere(t *testing.T) {
	path := sourced(t)
	t.Setenv(credentialsVariable, "")
	if _, err := Load(path); err != nil {
		t.Errorf("without credentials and programs: %v", err)
	}
	run := func(_ context.Context, words []string) ([]byte, error) {
		if strings.Join(words, " ") != "print-key x-ha" {
			t.Errorf("runs %q", words)
		}
		return []byte(strings.Repeat("22", 16) + "\n"), nil
	}
	if _, err := LoadWith(path, run); err == nil || !strings.Contains(err.Error(), "gateway.psk_file: credential:gateway-psk: "+ErrNoCredentials.Error()) {
		t.Errorf("the daemon without credentials: %v", err)
	}
	credentials := t.TempDir()
	t.Setenv(credentialsVariable, credentials)
	if _, err := LoadWith(path, run); err == nil || !strings.Contains(err.Error(), "handed over none of this name") {
		t.Errorf("the daemon without this credential: %v", err)
	}
	if err := os.WriteFile(filepath.Join(credentials, "gateway-psk"), []byte("a long enough passphrase\n"), 0o440); err != nil {
		t.Fatal(err)
	}
	c, err := LoadWith(path, run)
	if err != nil {
		t.Fatal(err)
	}
	if string(c.Gateway.PSK) != "a long enough passphrase" || c.External.Key[0] != 0x22 || len(c.External.Key) != 16 {
		t.Error("the keys are other ones")
	}
	failing := func(context.Context, []string) ([]byte, error) { return nil, errors.New("no card") }
	if _, err := LoadWith(path, failing); err == nil || !strings.Contains(err.Error(), "external_home_agent.key_file: no card") {
		t.Errorf("a program that fails: %v", err)
	}
}

func TestReadCredential(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(credentialsVariable, filepath.Join(dir, "credentials"))
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"outside": 10, "credentials/good": maxSecret, "credentials/long": maxSecret + 1} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, n), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := ReadSecretFile(SourceCredential + "good"); err != nil || len(b) != maxSecret {
		t.Errorf("%d octets, %v", len(b), err)
	}
	for _, bad := range []string{"", ".", "..", "../outside", "a/../../outside", `..\outside`, "long", "missing"} {
		if b, err := ReadSecretFile(SourceCredential + bad); err == nil {
			t.Errorf("%q gives %d octets", bad, len(b))
		}
	}
}

// FuzzReadCredential: no name leads out of the directory.
func FuzzReadCredential(f *testing.F) {
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "outside"), []byte("x"), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "credentials"), 0o700); err != nil {
		f.Fatal(err)
	}
	f.Setenv(credentialsVariable, filepath.Join(dir, "credentials"))
	for _, s := range []string{"../outside", "", "..", "a\x00b", "./../outside"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if b, err := ReadCredential(name); err == nil {
			t.Errorf("%q gives %d octets", name, len(b))
		}
	})
}
