package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mipvpn/client/config"
	"mipvpn/ipsec/pki/pkitest"
)

// given are the flags that are enough.
func given(path string, more ...string) []string {
	return append([]string{"init", "--config", path, "--prefix", "10.0.0.0/16", "--internal-home-agent", "10.0.1.10", "--internal-home-address", "10.0.8.100",
		"--internal-spi", "1001", "--gateway", "192.0.2.10", "--identity", "laptop@corp.example", "--gateway-identity", "gateway.corp.example"}, more...)
}

// initialised runs `init` without a terminal.
func initialised(t *testing.T, args ...string) result {
	t.Helper()
	return mipvpn(t.Context(), "/nowhere", args...)
}

// put writes a file.
func put(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// conversation answers questions in turn, and notes them. A question for a secret is answered likewise.
type conversation struct {
	answers []string
	asked   []string
}

func (c *conversation) next(text string) (string, error) {
	c.asked = append(c.asked, text)
	if len(c.answers) == 0 {
		return "", io.ErrUnexpectedEOF
	}
	answer := c.answers[0]
	c.answers = c.answers[1:]
	return answer, nil
}

// talk runs `init` on a terminal.
func (c *conversation) talk(ctx context.Context, args ...string) result {
	var out, errs bytes.Buffer
	code := run(ctx, args, terminal{out: &out, err: &errs,
		question: func(_ context.Context, text string) (string, error) { return c.next(text) },
		prompt: func(_ context.Context, text string) ([]byte, error) {
			answer, err := c.next(text)
			return []byte(answer), err
		}})
	return result{code, out.String(), errs.String()}
}

const someKey = "000102030405060708090a0b0c0d0e0f"

// All that is missing is named at once, by flag, and nothing is written.
func TestInitNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	r := initialised(t, "init", "--config", filepath.Join(dir, "mipvpn.toml"))
	for _, want := range []string{"--prefix: ", "--internal-home-agent: ", "--internal-home-address: ", "--internal-spi: ", "--internal-key, or --new-keys: ", "--external-home-agent and what belongs to it, or --no-external-home-agent",
		"--gateway: ", "--identity: ", "--gateway-identity: ", "--psk, or --new-keys: "} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in %s", want, r.err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 || r.code != exitUsage || r.out != "" {
		t.Errorf("%d, %v, %v, %s", r.code, entries, err, r.out)
	}
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"--prefix", "10.0.0.1/8"}, "--prefix: enterprise.prefixes: found"},
		{[]string{"--set", "x"}, "has no ="},
		{[]string{"--set", "device.mut=3"}, `did you mean "device.mtu"`},
		{[]string{"--no-external-home-agent", "--external-spi", "300"}, "exclude each other"},
	} {
		if r := initialised(t, append([]string{"init", "--config", filepath.Join(dir, "mipvpn.toml")}, bad.args...)...); r.code != exitUsage || !strings.Contains(r.err, bad.want) {
			t.Errorf("%q: %d, %s", bad.args, r.code, r.err)
		}
	}
}

// With flags alone a configuration is made that can be used; keys that are there already are, too.
func TestInitFromFlags(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mipvpn.toml")
	key := put(t, filepath.Join(dir, "given"), someKey)
	put(t, filepath.Join(dir, "gateway.psk"), "correct horse battery staple\n")
	args := given(path, "--json", "--internal-key", key, "--new-keys", "--external-home-agent", "xha.corp.example", "--external-home-address", "198.51.100.100", "--external-spi", "2001",
		"--dns-domain", "corp.example", "--dns-server", "10.0.1.53", "--set", `detection.t_monitor="90s"`, "--up-at-start")
	r := initialised(t, args...)
	if r.code != exitDone {
		t.Fatalf("%d: %s", r.code, r.err)
	}
	var doc written
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		t.Fatal(err)
	}
	x := filepath.Join(dir, "x-ha.key")
	if doc.Schema != 1 || doc.File != path || !slices.Equal(doc.Written, []string{filepath.Join(dir, "i-ha.key"), x, path}) ||
		!slices.Equal(doc.Kept, []string{filepath.Join(dir, "gateway.psk")}) || !slices.Equal(doc.New, []string{x}) || !strings.Contains(doc.Next[0], x) || len(doc.Warnings) != 0 {
		t.Errorf("%+v", doc)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.External.Name != "xha.corp.example" || len(c.External.Key) != 16 || len(c.Internal.Key) != 16 || c.Internal.Key[1] != 1 || !c.UpAtStart || c.Detection.Monitor.Seconds() != 90 {
		t.Errorf("%+v", c)
	}
	if again := initialised(t, args...); again.code != exitFailed || !strings.Contains(again.err, "there already") || !strings.Contains(again.err, "--force") {
		t.Errorf("%d: %s", again.code, again.err)
	}
	if again := initialised(t, append(args, "--force")...); again.code != exitDone {
		t.Errorf("%d: %s", again.code, again.err)
	}
	again, err := config.Load(path)
	if err != nil || string(again.External.Key) != string(c.External.Key) {
		t.Errorf("%v, or the key that was there is another one now", err)
	}
	if strings.Contains(r.out+r.err, someKey) {
		t.Error("a key shows")
	}
}

// A key that cannot be used, and a configuration that cannot, change nothing.
func TestInitChangesNothingOnFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sub", "mipvpn.toml")
	for _, bad := range []struct {
		args []string
		want string
	}{
		{[]string{"--internal-key", put(t, filepath.Join(dir, "text"), "no digits")}, "something other than pairs of hexadecimal digits"},
		{[]string{"--internal-key", put(t, filepath.Join(dir, "short"), "0011")}, "the key has 16 bits"},
		{[]string{"--internal-key", filepath.Join(dir, "nowhere")}, "no such file"},
	} {
		r := initialised(t, given(path, append(bad.args, "--new-keys", "--no-external-home-agent")...)...)
		if r.code != exitFailed || !strings.Contains(r.err, bad.want) {
			t.Errorf("%q: %d, %s", bad.args, r.code, r.err)
		}
		if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 0 {
			t.Errorf("%q: %v, %v", bad.args, entries, err)
		}
	}
	if r := initialised(t, given(filepath.Join(dir, "text", "mipvpn.toml"), "--yes")...); r.code != exitFailed || !strings.Contains(r.err, "not a directory") {
		t.Errorf("%d, %s", r.code, r.err)
	}
}

// On a terminal it asks for what is not given, again where an answer cannot be used, and hides keys.
func TestInitAsks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mipvpn.toml")
	c := &conversation{answers: []string{
		"10.0.0.1/16", "10.0.0.0/16, 10.2.0.0/16", // the first has host bits
		"10.0.1.10", "", "laptop@corp.example", "1001", "not a key", someKey, // an assigned home address, by NAI
		"", // no x-HA
		"gw.corp.example", "", "", "", "a pre-shared key that is long enough",
		"corp.example", "",
	}}
	r := c.talk(t.Context(), "init", "--config", path)
	if r.code != exitDone || len(c.answers) != 0 {
		t.Fatalf("%d, %s; left %q after %q", r.code, r.err, c.answers, c.asked)
	}
	for _, want := range []string{"its network is \"10.0.0.0/16\"", "that is something other than pairs of hexadecimal digits"} {
		if !strings.Contains(r.err, want) {
			t.Errorf("no %q in %s", want, r.err)
		}
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.HasExternal() || cfg.Internal.NAI != "laptop@corp.example" || cfg.Internal.HomeAddress.IsValid() || cfg.Gateway.LocalIdentity != "laptop@corp.example" ||
		cfg.Gateway.RemoteIdentity != "gw.corp.example" || string(cfg.Gateway.PSK) != "a pre-shared key that is long enough" || len(cfg.Enterprise.Prefixes) != 2 {
		t.Errorf("%+v", cfg)
	}
	for _, want := range []string{path + " is written and valid.", "mipvpn up", "warning: dns.servers: "} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in %s", want, r.out)
		}
	}
	if strings.Contains(r.out+r.err, "long enough") || strings.Contains(r.out+r.err, someKey) {
		t.Error("a secret shows")
	}
	if r := (&conversation{}).talk(t.Context(), "init", "--config", filepath.Join(dir, "other.toml")); r.code != exitFailed || !strings.Contains(r.err, "nothing was written") {
		t.Errorf("a terminal that is closed: %d, %s", r.code, r.err)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

// Certificates are copied beside the configuration under names of their own, private ones for their owner alone.
func TestInitWithCertificates(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "etc", "mipvpn.toml")
	ca := pkitest.PEM(pkitest.NewRoot("corp", time.Now(), pkitest.P256).Certificate)
	r := initialised(t, given(path, "--new-keys", "--no-external-home-agent", "--authentication", "certificate,eap-mschapv2", "--user", "alice",
		"--certificate", put(t, filepath.Join(dir, "cert.p12"), "p12"), "--ca", put(t, filepath.Join(dir, "ca.pem"), string(ca)))...)
	if r.code != exitDone {
		t.Fatalf("%d, %s", r.code, r.err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if c.Authentication.Certificate != filepath.Join(dir, "etc", "laptop.p12") || c.Authentication.User != "alice" || !slices.Equal(c.Trust.AnchorFiles, []string{"company-ca.pem"}) || c.Gateway.PSKFile != "" {
		t.Errorf("%+v %+v", c.Authentication, c.Trust)
	}
	if info, err := os.Stat(c.Authentication.Certificate); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// A line is read octet by octet, so that nothing of the next one is lost.
func TestReadLine(t *testing.T) {
	in := strings.NewReader("one\r\ntwo\n" + strings.Repeat("x", longestLine+1) + "\n")
	for _, want := range []string{"one", "two"} {
		if got, err := readLine(t.Context(), in); got != want || err != nil {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := readLine(t.Context(), in); err == nil {
		t.Error("a line without end was read")
	}
	if _, err := readLine(t.Context(), strings.NewReader("x")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	silent, writer := io.Pipe()
	defer writer.Close()
	if _, err := readLine(ctx, silent); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
