package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
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

// The doctor asks the machine's resolver about a name of the company's, and tells whether the client was asked.
func TestDoctorAsksTheResolver(t *testing.T) {
	none := &net.DNSError{Err: "no such host", IsNotFound: true}
	for _, c := range []struct {
		name   string
		checks uint64 // how often the question comes to the client
		err    error
		want   grade
		says   string
	}{
		{"answered", 1, none, checkOK, "is answered"},
		{"with an address", 2, nil, checkOK, "is answered"},
		{"no server answers", 1, &net.DNSError{Err: "server misbehaving", IsTemporary: true}, checkWarning, "has no answer"},
		{"asked elsewhere", 0, none, checkWarning, "does not ask the client"},
		{"nobody asked", 0, errors.New("no name servers"), checkWarning, "does not ask the client"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := statuses()["inside"]
			s.DNS = &control.DNS{By: "resolv.conf", Forwarder: netip.MustParseAddr("127.0.77.53"), Domains: []string{"corp.example"}, Servers: []netip.Addr{netip.MustParseAddr("10.0.1.53")}, Inside: 7, Checks: 2}
			b := controltest.New(s)
			b.SetDetection(answered(control.VerdictInside))
			b.SetPings(patientPing)
			asked := ""
			var out, errs bytes.Buffer
			run(t.Context(), []string{"--socket", serve(t, b, everybody(t)), "doctor", "--json"}, terminal{out: &out, err: &errs, start: noClient,
				lookup: func(_ context.Context, name string) error {
					asked = name
					b.Change(func(s *control.Status) {
						after := *s.DNS
						after.Inside += 3 // of other programs
						after.Checks += c.checks
						s.DNS = &after
					}, control.Event{})
					return c.err
				}})
			if !strings.HasPrefix(asked, dns.CheckLabel) || !strings.HasSuffix(asked, ".corp.example.") {
				t.Errorf("asked about %q", asked)
			}
			k := found(t, result{out: out.String()}, "resolver")
			if len(k) != 1 || k[0].Result != c.want || !strings.Contains(k[0].Message, c.says) || (k[0].Advice == "") != (c.want == checkOK) {
				t.Errorf("%+v, want %s with %q", k, c.want, c.says)
			}
		})
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
