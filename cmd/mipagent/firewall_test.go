package main

import (
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/stack/agent"
)

// exposedHomeAgent is a home agent that has seen something.
type exposedHomeAgent struct {
	stubHomeAgent
	exposure agent.Exposure
}

func (a *exposedHomeAgent) Exposure() agent.Exposure { return a.exposure }

// Shows: AGT-2, AGT-6 (mipagent check-firewall on the home agent: it fails when something has arrived from outside, names it, and says
// what it cannot know).
func TestCheckFirewallOnHomeAgent(t *testing.T) {
	since := time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	quiet := agent.Exposure{Address: netip.MustParseAddr("10.0.1.10"), Internal: true, TrustedNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Since: since}
	seen := quiet
	seen.Untrusted, seen.Last = 3, []agent.Arrival{{At: since.Add(time.Minute), Source: netip.MustParseAddrPort("203.0.113.50:4321")}}
	outer := agent.Exposure{Address: netip.MustParseAddr("192.0.2.20"), Since: since}
	for _, c := range []struct {
		name string
		e    agent.Exposure
		code int
		want []string
	}{
		{"quiet", quiet, exitDone, []string{"home_agent.internal: 10.0.1.10 trusts [10.0.0.0/16]", "ok     no registration request from any other network has arrived since 2026-11-21T20:00:00Z", "does not show that nothing can"}},
		{"seen", seen, exitFailed, []string{"FAILS  3 registration requests", "2026-11-21T20:01:00Z from 203.0.113.50:4321", "RFC 5265 §3.1"}},
		{"external", outer, exitDone, []string{"192.0.2.20 is an external home agent"}},
	} {
		socket := filepath.Join(t.TempDir(), "mipagent.sock")
		stop, err := serveControl(&configuration{Control: controlTable{Socket: &socket}}, newControlServer(map[string]running{"home_agent.internal": &exposedHomeAgent{exposure: c.e}}, nil), zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		code, out, errs := mipagent(t, "check-firewall", "--socket", socket)
		stop()
		for _, want := range c.want {
			if code != c.code || !strings.Contains(out+errs, want) {
				t.Errorf("%s: exit code %d, want %d and %q in\n%s%s", c.name, code, c.code, want, out, errs)
			}
		}
	}
	var b strings.Builder
	d := firewallDocument{HomeAgents: []exposureDocument{{Role: "r", Internal: true, Trusted: quiet.TrustedNetworks}}}
	if err := reportExposure(&b, d, []localNetwork{{"eth1", netip.MustParsePrefix("203.0.113.1/24")}, {"eth0", netip.MustParsePrefix("10.0.1.10/24")}}); err != nil ||
		!strings.Contains(b.String(), "203.0.113.0/24 on eth1, which is not trusted") || strings.Contains(b.String(), "eth0") {
		t.Errorf("interfaces: %v\n%s", err, &b)
	}
}

// What comes back fails the check; what could not be sent says nothing.
func TestReportProbes(t *testing.T) {
	target := netip.MustParseAddr("10.0.1.10")
	for _, c := range []struct {
		results []probeResult
		bad     bool
		want    string
	}{
		{[]probeResult{{Probe: "a"}, {Probe: "b", Unsent: "no"}}, false, "ok        a: nothing came back from 10.0.1.10"},
		{[]probeResult{{Probe: "a"}, {Probe: "b", Answer: "yes"}}, true, "FAILS     b: yes"},
		{[]probeResult{{Probe: "b", Unsent: "no"}}, true, "not sent  b: no"},
	} {
		var b strings.Builder
		err := reportProbes(&b, target, c.results)
		var f failure
		if c.bad != errors.As(err, &f) || !strings.Contains(b.String(), c.want) {
			t.Errorf("%+v: %v\n%s", c.results, err, &b)
		}
	}
	if r := probeFirewall(t.Context(), netip.MustParseAddr("2001:db8::1"), netip.Addr{}, time.Second); len(r) != 1 || !strings.Contains(r[0].Unsent, "expected the IPv4 address") {
		t.Errorf("a probe of an IPv6 address: %+v", r)
	}
}
