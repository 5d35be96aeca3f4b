package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/dns"
)

// TestSystemNames shows that every mode of the configuration is one that the host's resolver knows, and that whatever the mode
// all ways are taken back.
func TestSystemNames(t *testing.T) {
	for _, mode := range dns.Modes() {
		n := systemNames(config.DNS{Mode: string(mode)})
		if n.Servers == nil || len(n.Host.Left) == 0 {
			t.Errorf("%s: %+v", mode, n)
		}
		s, err := n.Host.Settings(mode)
		if (s == nil) != (mode == dns.ModeOff) && err == nil {
			t.Errorf("%s: %v, %v", mode, s, err)
		}
	}
}

func TestNamesLine(t *testing.T) {
	forwarder := netip.MustParseAddr("127.0.77.53")
	for want, d := range map[string]*control.DNS{
		"": nil,
		"  names     corp.example by nobody yet: they are not resolved (resolv.conf asks 127.0.77.53); 3 unanswered\n": {
			By: "resolv.conf", Forwarder: forwarder, Domains: []string{"corp.example"}, Failed: 3,
		},
		"  names     all names by 10.0.1.53, 10.0.1.54 (systemd-resolved asks 127.0.77.53)\n": {
			By: "systemd-resolved", Forwarder: forwarder, Full: true, Domains: []string{"corp.example"},
			Servers: []netip.Addr{netip.MustParseAddr("10.0.1.53"), netip.MustParseAddr("10.0.1.54")},
		},
	} {
		if got := len(namesFields(d)); (got == 0) != (want == "") {
			t.Errorf("%d fields, expected %q", got, want)
		}
		var b bytes.Buffer
		if err := writeStatus(&b, screen{}, control.Status{DNS: d}); err != nil || !strings.Contains(b.String(), want) {
			t.Errorf("the status has no such line: %v\n%s", err, &b)
		}
	}
}

func TestDoctorNames(t *testing.T) {
	for want, d := range map[grade]*control.DNS{
		"": nil, checkWarning: {Domains: []string{"corp.example"}}, checkOK: {Domains: []string{"corp.example"}, Servers: []netip.Addr{netip.MustParseAddr("10.0.1.53")}},
	} {
		r := new(report)
		r.names(d)
		var got grade
		for _, f := range r.Checks {
			got += f.Result
		}
		if got != want {
			t.Errorf("%+v: %q, expected %q", d, got, want)
		}
	}
}
