//go:build unix

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/zap"

	"mipvpn/client"
	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// changeable is a client that takes whatever configuration it is given, but for other home addresses.
type changeable struct {
	*controltest.Backend
	cfg   *config.Config
	taken chan *config.Config
}

func (c *changeable) Reload(_ context.Context, cfg *config.Config, anew bool) (control.Reload, error) {
	r := control.Reload{Schema: 1, Changed: config.Changes(c.cfg, cfg), Renewed: []string{}, Warnings: []string{}}
	if cfg.Internal.HomeAddress != c.cfg.Internal.HomeAddress && !anew {
		return control.Reload{}, fmt.Errorf("%w internal_home_agent.home_address", client.ErrAnew)
	}
	if len(r.Changed) > 0 {
		c.cfg = cfg
		c.taken <- cfg
	}
	return r, nil
}

// TestReload has a daemon read its configuration again: what it changes, what a bad one says, and that all stays as it was then.
func TestReload(t *testing.T) {
	path := configure(t, configuration)
	socket := filepath.Join(filepath.Dir(path), "s")
	ctx, stop := context.WithCancel(t.Context())
	b := &changeable{Backend: controltest.New(control.Status{Schema: 1, State: control.StateDown}), taken: make(chan *config.Config, 1)}
	ended := make(chan int, 1)
	started := make(chan struct{})
	go func() {
		ended <- run(ctx, []string{"--socket", socket, "daemon", "--config", path}, terminal{out: io.Discard, err: io.Discard, start: func(c *config.Config, _ *zap.Logger) (backend, error) {
			b.cfg = c
			close(started)
			return b, nil
		}})
	}()
	<-started
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitDone || r.out != "nothing has changed\n" {
		t.Errorf("%+v", r)
	}
	write(configuration + "[log]\nlevel = \"debug\"\n[hooks]\nrun = false\n")
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitDone || r.out != "changed: hooks.run, log.level\n" {
		t.Errorf("%+v", r)
	}
	if cfg := <-b.taken; cfg.Log.Level != "debug" || string(cfg.Gateway.PSK) != "a long enough passphrase" {
		t.Errorf("taken %+v", cfg.Log)
	}
	write(strings.Replace(configuration, "spi = 256", "spi = 3\nspy = 4", 1))
	r := mipvpn(t.Context(), socket, "reload")
	if r.code != exitFailed || !strings.Contains(r.err, "nothing has been changed") || !strings.Contains(r.err, ":7: internal_home_agent.spi: found the number 3") ||
		!strings.Contains(r.err, ":8: internal_home_agent.spy: unknown key") {
		t.Errorf("%+v", r)
	}
	write(configuration + "[control]\nusers = [\"nobody-of-this-name\"]\n")
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitFailed || !strings.Contains(r.err, "nobody-of-this-name") {
		t.Errorf("%+v", r)
	}
	write(strings.Replace(configuration, "10.0.8.100", "10.0.8.101", 1))
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitFailed || !strings.Contains(r.err, "internal_home_agent.home_address") {
		t.Errorf("%+v", r)
	}
	r = mipvpn(t.Context(), socket, "reload", "--anew", "--json")
	var doc control.Reload
	if err := json.Unmarshal([]byte(r.out), &doc); err != nil || r.code != exitDone || len(doc.Changed) == 0 || doc.Schema != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	<-b.taken
	write(strings.Replace(configuration, "10.0.8.100", "10.0.8.101", 1) + "[log]\nlevel = \"error\"\n")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if cfg := <-b.taken; cfg.Log.Level != "error" {
		t.Errorf("after SIGHUP %+v", cfg.Log)
	}
	other := strings.Replace(configuration, "10.0.8.100", "10.0.8.101", 1)
	figures := func(name string) string { return filepath.Join(filepath.Dir(path), name) }
	for _, c := range []struct{ listen, answers, refuses string }{
		{figures("m"), figures("m"), ""},
		{figures("n"), figures("n"), figures("m")},
		{"", "", figures("n")},
		{figures("m"), figures("m"), ""},
	} {
		text := other
		if c.listen != "" {
			text += fmt.Sprintf("[metrics]\nlisten = %q\n", c.listen)
		}
		write(text)
		if r := mipvpn(t.Context(), socket, "reload"); r.code != exitDone || !strings.Contains(r.out, "metrics.listen") {
			t.Fatalf("figures at %q: %+v", c.listen, r)
		}
		<-b.taken
		if err := connects(c.answers); c.answers != "" && err != nil {
			t.Error(err)
		}
		if c.refuses != "" && connects(c.refuses) == nil {
			t.Errorf("figures are still served at %s", c.refuses)
		}
	}
	write(other + fmt.Sprintf("[metrics]\nlisten = %q\n", socket))
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitFailed || !strings.Contains(r.err, "metrics.listen") || !strings.Contains(r.err, "nothing has been changed") {
		t.Errorf("a place that is taken: %+v", r)
	}
	write(configuration + fmt.Sprintf("[metrics]\nlisten = %q\n", figures("n")))
	if r := mipvpn(t.Context(), socket, "reload"); r.code != exitFailed || !strings.Contains(r.err, "internal_home_agent.home_address") {
		t.Errorf("another place, and what the client refuses: %+v", r)
	}
	if connects(figures("n")) == nil {
		t.Error("figures are served where a reload that was refused had them")
	}
	if err := connects(figures("m")); err != nil {
		t.Errorf("after reloads that were refused: %v", err)
	}
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
}

// connects connects to a unix socket, and goes again.
func connects(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	return c.Close()
}

// TestReloadOfWhatCannot: a client of another kind says that it takes no other configuration.
func TestReloadOfWhatCannot(t *testing.T) {
	s := &service{backend: controltest.New(control.Status{})}
	if _, err := s.reload(t.Context(), false); err == nil || !strings.Contains(err.Error(), "restart the daemon") {
		t.Error(err)
	}
	if got := reloadLine(control.Reload{Changed: []string{"dns.domains"}, Renewed: []string{"dns"}}); got != "changed: dns.domains; set up anew: dns" {
		t.Error(got)
	}
}
