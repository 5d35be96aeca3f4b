package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mipvpn/tun/hostnet"
	"mipvpn/tun/link"
)

// fakeFirewall is a firewall that remembers what it was given.
type fakeFirewall struct {
	loaded []link.Settings
	line   hostnet.Line
	err    error
}

func (f *fakeFirewall) Load(s link.Settings) error {
	f.loaded = append(f.loaded, s)
	return f.err
}

func (f *fakeFirewall) Line() (hostnet.Line, error) { return f.line, f.err }

// Shows: HST-2 (the kill switch is loaded at the system's start without a daemon, secrets or a device)
func TestFirewallLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mipvpn.toml")
	write := func(tunnel string) {
		t.Helper()
		text := `schema = 1
[enterprise]
prefixes = ["10.0.0.0/16"]
prefixes6 = ["2001:db8::/32"]
tunnel = "` + tunnel + `"
[internal_home_agent]
address = "10.0.1.10"
home_address = "10.0.8.100"
spi = 256
key_file = "missing"
[external_home_agent]
address = "192.0.2.20"
home_address = "198.51.100.100"
spi = 257
key_file = "missing"
[gateway]
address = "192.0.2.10"
local_identity = "laptop@example.com"
remote_identity = "gateway.example.com"
psk_file = "missing"
`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &fakeFirewall{}
	load := func() (int, string) {
		var errs bytes.Buffer
		code := run(t.Context(), []string{"firewall", "load", "--config", path}, terminal{
			out: &errs, err: &errs, start: noClient, line: func() firewall { return f },
		})
		return code, errs.String()
	}
	for _, tunnel := range []string{"split", "full"} {
		write(tunnel)
		f.loaded = nil
		if code, text := load(); code != exitDone || len(f.loaded) != 1 {
			t.Fatalf("%s: exit code %d, %s", tunnel, code, text)
		}
		s := f.loaded[0]
		if !s.KillSwitch || s.Full != (tunnel == "full") || s.Device != "mip0" || s.Local ||
			!slices.Equal(s.Routes, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}) || !slices.Equal(s.Blocked, []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}) ||
			!slices.Contains(s.Shielded, netip.MustParseAddr("198.51.100.100")) {
			t.Errorf("%s: loaded %+v", tunnel, s)
		}
	}
	f.err = fmt.Errorf("write the kill switch: %w", os.ErrPermission)
	if code, text := load(); code != exitPermission || !strings.Contains(text, "write the kill switch") {
		t.Errorf("without the right: exit code %d, %s", code, text)
	}
	write("half")
	if code, text := load(); code != exitFailed || !strings.Contains(text, `"half"`) {
		t.Errorf("with a bad configuration: exit code %d, %s", code, text)
	}
}

func TestFirewallShow(t *testing.T) {
	f := &fakeFirewall{line: hostnet.Line{Stands: true, Everywhere: true, Rules: []hostnet.LineRule{
		{Table: "inet", Chain: "output", Text: "into the device: accept"},
		{Table: "netdev", Chain: "judge", Text: "to 10.0.0.0/16: drop", Counts: true, Packets: 12},
	}}}
	show := func(args ...string) (int, string) {
		var out bytes.Buffer
		code := run(t.Context(), append([]string{"firewall", "show"}, args...), terminal{
			out: &out, err: &out, start: noClient, line: func() firewall { return f },
		})
		return code, out.String()
	}
	want := `The kill switch stands, on every interface, those to come included.
inet output
  into the device: accept
netdev judge
  to 10.0.0.0/16: drop (12 packets)
`
	if code, text := show(); code != exitDone || text != want {
		t.Errorf("exit code %d, got\n%s\nwant\n%s", code, text, want)
	}
	code, text := show("--json")
	var doc shownLine
	if err := json.Unmarshal([]byte(text), &doc); err != nil || code != exitDone || doc.Schema != 1 || !doc.Stands || len(doc.Rules) != 2 || *doc.Rules[1].Packets != 12 || doc.Rules[0].Packets != nil {
		t.Errorf("exit code %d (%v), got\n%s", code, err, text)
	}
	f.line = hostnet.Line{}
	if _, text := show(); !strings.Contains(text, "does not stand") {
		t.Errorf("without a line:\n%s", text)
	}
	f.err = errors.New("nothing works")
	if code, _ := show(); code != exitFailed {
		t.Errorf("with an error: exit code %d", code)
	}
}
