package main

import (
	"context"
	"os"
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

// TestReload shows that SIGHUP has the file read again: a client goes on, a mistake changes nothing in any role and is said, and a client
// that is struck off is disconnected and kept out.
//
// Shows: AGT-6 (all roles take a new configuration, or none does)
func TestReload(t *testing.T) {
	cfg := loadRoles(t, threeRoles)
	text, err := os.ReadFile(cfg.file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(s string) {
		if err := os.WriteFile(cfg.file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
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
		c, err := client.Start(l.Laptop, e2e.ClientConfig(), zap.NewNop(), client.WithDrops(l.Laptop.Drops()))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		l.Plug(l.Wlan0, l.Cafe)
		await := func(state control.State) control.Status {
			t.Helper()
			for i := 0; ; i++ {
				s, err := c.Status(ctx)
				if err != nil || i == 60 {
					t.Fatalf("state %s after a minute, want %s: %v", s.State, state, err)
				}
				if s.State == state {
					return s
				}
				time.Sleep(time.Second)
			}
		}
		spis := func(s control.Status) string { return strings.Join(s.Layers[2].SPIs, " ") }
		first := spis(await(control.StateConnected))
		reload := func(text, want string) {
			t.Helper()
			write(text)
			hup <- os.Interrupt // whatever it is, it says the same
			time.Sleep(time.Second)
			if logs.FilterMessageSnippet(want).Len() == 0 {
				t.Errorf("nothing like %q is logged: %v", want, logs.All())
			}
		}
		reload(strings.Replace(string(text), `networks = ["10.0.0.0/16"]`, `networks = ["10.0.0.0/16", "172.16.0.0/12"]`, 1), "the configuration was read again")
		reload(strings.Replace(string(text), "[gateway]", "[gatewya]", 1), "the configuration is not taken")

		// What is right in the other tables is not taken either, be the mistake in the first or in the last.
		taken := func() int { return logs.FilterMessageSnippet("another configuration").Len() }
		n, lifetime := taken(), strings.Replace(string(text), "[home_agent.internal]\n", "[home_agent.internal]\nmax_lifetime = \"5m\"\n", 1)
		for _, c := range []struct{ text, why string }{
			{strings.Replace(lifetime, "pool = ", "device = \"other0\"\npool = ", 1), "[gateway]: agent: this change takes a restart"},
			{strings.Replace(string(text), "trusted_networks", "device = \"other0\"\ntrusted_networks", 1), "[home_agent.internal]: agent: this change takes a restart"},
			{lifetime[:strings.Index(lifetime, "[gateway]")], "[gateway] is gone from the file"},
			{lifetime + foreignAgentRole, "[foreign_agent] is new"},
		} {
			reload(c.text, "the configuration is not taken")
			refusals := logs.FilterMessageSnippet("the configuration is not taken").All()
			if why := refusals[len(refusals)-1].ContextMap()["error"].(string); !strings.Contains(why, c.why) {
				t.Errorf("refused with %q, want %q", why, c.why)
			}
		}
		if taken() != n {
			t.Errorf("roles have taken a configuration that others refuse: %v", logs.All())
		}
		if again := spis(await(control.StateConnected)); again != first {
			t.Errorf("the SPIs were %s and are %s", first, again)
		}
		reload(strings.Replace(string(text), "laptop@corp.example", "other@corp.example", 1), "another configuration")
		time.Sleep(10 * time.Second)
		if s, err := c.Status(ctx); err != nil || s.State == control.StateConnected {
			t.Errorf("a client that was struck off is %s, %v", s.State, err)
		}
		reload(string(text), "another configuration")
		await(control.StateConnected)
	})
}

// TestFixedTables holds that a change of a table that is read at the start alone is told, and its defaults written out are none.
func TestFixedTables(t *testing.T) {
	read := func(text string) *configuration {
		c, err := parseConfig("mipagent.toml", []byte("schema = 1\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	running := read("")
	for text, want := range map[string]string{
		"": "",
		"[log]\nlevel = \"info\"\nformat = \"console\"\n[control]\nsocket = \"" + defaultSocket + "\"": "",
		"[log]\nlevel = \"debug\"":               "log",
		"[log]\nformat = \"json\"":               "log",
		"[control]\nsocket = \"\"":               "control",
		"[metrics]\nlisten = \"127.0.0.1:9435\"": "metrics",
	} {
		if got := strings.Join(running.fixed(read(text)), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
