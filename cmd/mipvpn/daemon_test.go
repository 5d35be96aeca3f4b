package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

const configuration = `schema = 1
[enterprise]
prefixes = ["10.0.0.0/16"]
[internal_home_agent]
address = "10.0.1.10"
home_address = "10.0.8.100"
spi = 256
key_file = "key"
[external_home_agent]
address = "192.0.2.20"
home_address = "198.51.100.100"
spi = 257
key_file = "key"
[gateway]
address = "192.0.2.10"
local_identity = "laptop@example.com"
remote_identity = "gateway.example.com"
psk_file = "psk"
`

// configure writes a configuration with its secrets and returns its path.
func configure(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"mipvpn.toml": text, "key": "000102030405060708090a0b0c0d0e0f", "psk": "a long enough passphrase"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mipvpn.toml")
}

func TestConfigCheck(t *testing.T) {
	valid := configure(t, configuration)
	if r := mipvpn(t.Context(), "/nowhere", "config", "check", valid); r.code != exitDone || r.out != valid+" is valid\n" || r.err != "" {
		t.Errorf("%+v", r)
	}
	warned := configure(t, strings.Replace(configuration, "192.0.2.20", "10.0.1.10", 1))
	r := mipvpn(t.Context(), "/nowhere", "config", "check", warned)
	if r.code != exitDone || !strings.Contains(r.err, warned+":10: warning: external_home_agent.address: both home agents have the address 10.0.1.10") {
		t.Errorf("%+v", r)
	}
	wrong := configure(t, strings.Replace(configuration, "spi = 256", "spi = 3\nspy = 4", 1))
	r = mipvpn(t.Context(), "/nowhere", "config", "check", wrong)
	if r.code != exitFailed || r.out != "" || !strings.Contains(r.err, wrong+":7: internal_home_agent.spi: found the number 3; valid is a whole number from 256 to 4294967295") ||
		!strings.Contains(r.err, wrong+`:8: internal_home_agent.spy: unknown key, did you mean "internal_home_agent.spi"?`) {
		t.Errorf("%+v", r)
	}
	r = mipvpn(t.Context(), "/nowhere", "config", "check", "--json", wrong)
	var doc checked
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil {
		t.Fatal(err)
	}
	if r.code != exitFailed || doc.Schema != 1 || doc.Valid || len(doc.Errors) != 2 || doc.Errors[0].Line != 7 || doc.Errors[0].Key != "internal_home_agent.spi" ||
		doc.Errors[0].Valid == "" || len(doc.Warnings) != 0 {
		t.Errorf("exit %d, %+v", r.code, doc)
	}
	if r := mipvpn(t.Context(), "/nowhere", "config", "check", "/nowhere/mipvpn.toml"); r.code != exitFailed || !strings.Contains(r.err, "no such file") {
		t.Errorf("%+v", r)
	}
}

// TestDaemon runs the daemon with a client that is none, and the command line against it.
func TestDaemon(t *testing.T) {
	path := configure(t, configuration)
	hooks, told := hooksDirectory(t)
	figures := filepath.Join(t.TempDir(), "metrics.sock")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fmt.Appendf(text, "[hooks]\ndirectory = %q\n[metrics]\nlisten = %q\n", hooks, figures), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(filepath.Dir(path), "run", "s")
	ctx, stop := context.WithCancel(t.Context())
	b := controltest.New(control.Status{Schema: 1, State: control.StateDetecting})
	started := make(chan *config.Config, 1)
	logs := &lines{want: -1}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"--socket", socket, "daemon", "--config", path}, terminal{out: io.Discard, err: logs, start: func(c *config.Config, _ *zap.Logger) (backend, error) {
			started <- c
			return b, nil
		}})
	}()
	cfg := <-started
	if cfg.Control.Socket != socket || string(cfg.Gateway.PSK) != "a long enough passphrase" {
		t.Errorf("started with %+v", cfg)
	}
	if r := mipvpn(t.Context(), socket, "status", "--check"); r.code != exitNotConnected {
		t.Errorf("%+v", r)
	}
	second := run(t.Context(), []string{"--socket", socket, "daemon", "--config", path}, terminal{out: io.Discard, err: io.Discard, start: func(*config.Config, *zap.Logger) (backend, error) {
		t.Error("a second client was started")
		return nil, errors.New("second")
	}})
	if second != exitFailed {
		t.Errorf("a second daemon: exit %d", second)
	}
	b.Change(func(s *control.Status) { s.State = control.StateConnected }, control.Event{Kind: "state", State: control.StateConnected})
	if text := figuresAt(t, figures); !strings.Contains(text, `mipvpn_client_state{state="connected"} 1`) {
		t.Errorf("metrics:\n%s", text)
	}
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
	if _, err := os.Lstat(figures); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of the metrics is left: %v", err)
	}
	if runtime.GOOS != "windows" {
		if got, err := os.ReadFile(told); err != nil || string(got) != "state connected\n" {
			t.Errorf("the hook was told %q, %v", got, err)
		}
	}
	if b.Subscribers() != 0 {
		t.Error("the client was not ended")
	}
	if _, ok := <-func() <-chan control.Event { c, _ := b.Subscribe(); return c }(); ok {
		t.Error("the client was not closed")
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	for _, octet := range cfg.Gateway.PSK {
		if octet != 0 {
			t.Fatal("the pre-shared key was not wiped")
		}
	}
	if log := logs.String(); !strings.Contains(log, "daemon started") || !strings.Contains(log, "daemon ends") || strings.Contains(log, "passphrase") {
		t.Errorf("log %q", log)
	}
}

// figuresAt returns the metrics that a unix socket serves.
func figuresAt(t *testing.T, socket string) string {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Get("http://localhost/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hooksDirectory returns a directory with a hook, and the file that it writes events to.
func hooksDirectory(t *testing.T) (dir, told string) {
	t.Helper()
	dir, told = t.TempDir(), filepath.Join(t.TempDir(), "told")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := fmt.Sprintf("#!/bin/sh\necho \"$1 $MIPVPN_STATE\" >>%s\n", told)
	if err := os.WriteFile(filepath.Join(dir, "tell"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir, told
}

func TestDaemonThatCannotStart(t *testing.T) {
	good, bad := configure(t, configuration), configure(t, "schema = 1\nmood = \"auto\"\n")
	user := configure(t, configuration+"[control]\nusers = [\"no such user\"]\n")
	for _, tc := range []struct {
		name, path string
		fail       error
		code       int
		want       string
	}{
		{"configuration", bad, nil, exitFailed, `mipvpn.toml:2: mood: unknown key, did you mean "mode"?`},
		{"user", user, nil, exitFailed, `user "no such user"`},
		{"permission", good, fs.ErrPermission, exitPermission, "the client cannot start: permission denied"},
		{"failure", good, errors.New("tunl0 would decapsulate"), exitFailed, "the client cannot start: tunl0 would decapsulate"},
	} {
		var errs bytes.Buffer
		socket := filepath.Join(filepath.Dir(tc.path), "s")
		code := run(t.Context(), []string{"--socket", socket, "daemon", "--config", tc.path}, terminal{out: io.Discard, err: &errs,
			start: func(*config.Config, *zap.Logger) (backend, error) { return nil, tc.fail }})
		if code != tc.code || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%s: exit %d, %s", tc.name, code, &errs)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the socket is left: %v", tc.name, err)
		}
	}
}
