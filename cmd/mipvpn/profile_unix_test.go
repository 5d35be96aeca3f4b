//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// within runs one command line with a file of the choice of its own.
func within(ctx context.Context, state, socket string, start func(*config.Config, *zap.Logger) (backend, error), args ...string) result {
	var out, errs strings.Builder
	code := run(ctx, append([]string{"--socket", socket}, args...), terminal{out: &out, err: &errs, start: start, state: state})
	return result{code, out.String(), errs.String()}
}

// TestProfiles has a daemon use another profile and keep the choice; one with mistakes, or that is not there, changes nothing. Without a daemon a
// choice is for the next one.
func TestProfiles(t *testing.T) {
	path := configure(t, configuration)
	dir := filepath.Dir(path)
	state, socket := filepath.Join(dir, "state", "profile.json"), filepath.Join(dir, "s")
	if err := os.Mkdir(filepath.Join(dir, "profiles.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`"key"`, `"../key"`, `"psk"`, `"../psk"`, "10.0.8.100", "10.0.8.101").Replace(configuration)
	put(t, filepath.Join(dir, "profiles.d", "home.toml"), text)
	put(t, filepath.Join(dir, "profiles.d", "bad.toml"), strings.Replace(text, "spi = 256", "spi = 3", 1))

	b := &changeable{Backend: controltest.New(control.Status{Schema: 1, State: control.StateDown}), taken: make(chan *config.Config, 1)}
	begun := make(chan string, 1)
	start := func(c *config.Config, _ *zap.Logger) (backend, error) {
		b.cfg = c
		begun <- c.Internal.HomeAddress.String()
		return b, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan result, 1)
	go func() { ended <- within(ctx, state, socket, start, "daemon", "--config", path) }()
	if address := <-begun; address != "10.0.8.100" {
		t.Errorf("begins with %s", address)
	}
	mipvpn := func(args ...string) result { return within(t.Context(), state, socket, nil, args...) }
	inUse := func(want, text string) {
		t.Helper()
		var s control.Status
		if r := mipvpn("status", "--json"); json.Unmarshal([]byte(r.out), &s) != nil || s.Profile != want {
			t.Errorf("want %s in use: %+v", want, r)
		}
		if r := mipvpn("status"); strings.Contains(r.out, "profile") != (text != "") || !strings.Contains(r.out, text) {
			t.Errorf("want %q said: %+v", text, r)
		}
	}
	inUse("default", "")
	r := mipvpn("profile", "list")
	if r.code != exitDone || !strings.Contains(r.out, "* default  "+path+"\n") || !strings.Contains(r.out, "  home     "+filepath.Join(dir, "profiles.d", "home.toml")+"\n") {
		t.Errorf("%+v", r)
	}
	for _, bad := range []struct{ name, want string }{{"bad", "internal_home_agent.spi: found the number 3"}, {"nothing", "there are default, bad, home"}} {
		if r := mipvpn("profile", "use", bad.name); r.code != exitFailed || !strings.Contains(r.err, bad.want) {
			t.Errorf("%+v", r)
		}
	}
	if r := mipvpn("profile", "use", ""); r.code != exitUsage || !strings.Contains(r.err, "the profile's name is empty") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(state); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a choice was kept: %v", err)
	}
	inUse("default", "")
	if r := mipvpn("profile", "use", "home"); r.code != exitDone || !strings.HasPrefix(r.out, "home is in use; changed: internal_home_agent.home_address") {
		t.Fatalf("%+v", r)
	}
	if cfg := <-b.taken; cfg.Internal.HomeAddress.String() != "10.0.8.101" {
		t.Errorf("%+v", cfg.Internal)
	}
	inUse("home", "home\n")
	if r := mipvpn("reload"); r.code != exitDone || r.out != "nothing has changed\n" {
		t.Errorf("a reload takes another profile: %+v", r)
	}
	inUse("home", "home\n")
	var doc control.Profiles
	if r := mipvpn("profile", "list", "--json"); json.Unmarshal([]byte(r.out), &doc) != nil || doc.Schema != 1 || len(doc.Profiles) != 3 || !doc.Profiles[2].Chosen || doc.Profiles[0].Chosen {
		t.Errorf("%+v", r)
	}
	if r := mipvpn("profile", "show"); r.code != exitDone || !strings.Contains(r.out, "home.toml is valid") {
		t.Errorf("%+v", r)
	}
	if r := mipvpn("profile", "show", "bad"); r.code != exitFailed || !strings.Contains(r.err, "found the number 3") {
		t.Errorf("%+v", r)
	}
	stop()
	if r := <-ended; r.code != exitDone {
		t.Errorf("%+v", r)
	}

	// The next daemon has it, too, until another one is chosen without one.
	next := func() (string, result) {
		t.Helper()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() { ended <- within(ctx, state, socket, start, "daemon", "--config", path) }()
		select {
		case address := <-begun:
			stop()
			return address, <-ended
		case r := <-ended:
			return "", r
		}
	}
	if address, r := next(); address != "10.0.8.101" || r.code != exitDone {
		t.Errorf("%s, %+v", address, r)
	}
	if r := mipvpn("profile", "use", "bad", "--config", path); r.code != exitFailed || !strings.Contains(r.err, "nothing has been changed") {
		t.Errorf("%+v", r)
	}
	if r := mipvpn("profile", "use", "default", "--config", path); r.code != exitDone || r.out != "default is used when the daemon starts\n" {
		t.Errorf("%+v", r)
	}
	if address, r := next(); address != "10.0.8.100" || r.code != exitDone {
		t.Errorf("%s, %+v", address, r)
	}

	// A profile that is gone is no reason to use another company's.
	if r := mipvpn("profile", "use", "home", "--config", path); r.code != exitDone {
		t.Errorf("%+v", r)
	}
	if err := os.Remove(filepath.Join(dir, "profiles.d", "home.toml")); err != nil {
		t.Fatal(err)
	}
	if address, r := next(); address != "" || r.code != exitFailed || !strings.Contains(r.err, "mipvpn profile use") {
		t.Errorf("%s, %+v", address, r)
	}
	if r := mipvpn("profile", "list", "--config", path); r.code != exitDone || strings.Contains(r.out, "*") {
		t.Errorf("%+v", r)
	}
	if r := mipvpn("doctor", "--config", path); !strings.Contains(r.out, "no such profile") {
		t.Errorf("%+v", r)
	}
}
