package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/mipv4/foreignagent"
	"mipvpn/mipv4/homeagent"
	"mipvpn/mipv4/tunnel"
	"mipvpn/mipv4/wire"
	"mipvpn/stack/agent"
	"mipvpn/tun/packet"
)

var stubHome = netip.MustParseAddr("10.0.8.100")

// stubMobility is the part that home agent and foreign agent have in common, with one mobile node.
type stubMobility struct {
	stubRole
	dropped bool
}

func (*stubMobility) Registrations() agent.Registrations {
	return agent.Registrations{Replies: map[wire.Code]uint64{0: 7, 131: 2}, Discarded: map[string]uint64{"untrusted": 3}}
}

func (*stubMobility) TunnelTraffic() (in, out agent.Traffic) {
	return agent.Traffic{Packets: 1, Octets: 100}, agent.Traffic{Packets: 2, Octets: 300}
}

func (a *stubMobility) Drop(home netip.Addr) int {
	if home != stubHome || a.dropped {
		return 0
	}
	a.dropped = true
	return 2
}

type stubHomeAgent struct{ stubMobility }

func (a *stubHomeAgent) Bindings(within netip.Prefix) []homeagent.Entry {
	if within.IsValid() && !within.Contains(stubHome) || a.dropped {
		return nil
	}
	return []homeagent.Entry{
		{HomeAddress: stubHome, CareOfAddress: netip.MustParseAddr("192.0.2.7"), Granted: 600, Left: 90 * time.Second,
			Tunnel: &homeagent.Tunnel{Encapsulation: tunnel.UDP, Remote: netip.MustParseAddrPort("192.0.2.30:61001"), ReverseTunnel: true, Switched: netip.MustParseAddr("192.0.2.10")}},
		{HomeAddress: stubHome, CareOfAddress: netip.MustParseAddr("192.0.2.8"), Granted: wire.LifetimeInfinite,
			Tunnel: &homeagent.Tunnel{Encapsulation: tunnel.IPIP, Remote: netip.MustParseAddrPort("192.0.2.8:0")}},
	}
}

func (a *stubHomeAgent) Len() int                         { return len(a.Bindings(netip.Prefix{})) }
func (*stubHomeAgent) SwitchedPackets() (to, from uint64) { return 4, 5 }

type stubForeignAgent struct{ stubMobility }

func (a *stubForeignAgent) VisitorList(within netip.Prefix) []foreignagent.Entry {
	if within.IsValid() && !within.Contains(stubHome) || a.dropped {
		return nil
	}
	return []foreignagent.Entry{{Granted: 300, Left: time.Minute, Visitor: &foreignagent.Visitor{Home: stubHome, HomeAgent: netip.MustParseAddr("10.0.1.10"),
		Station: foreignagent.Station{Hardware: packet.HardwareAddr{2, 0, 0, 0, 0, 7}}, Encapsulating: true}}}
}

func (a *stubForeignAgent) Visitors() int { return len(a.VisitorList(netip.Prefix{})) }

// Shows: AGT-6 (mipagent bindings, visitors and drop: what they print for people and for programs, and what they say of mistakes).
func TestMobilityCommands(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "mipagent.sock")
	cfg := &configuration{Control: controlTable{Socket: &socket}}
	stop, err := serveControl(cfg, newControlServer(map[string]running{"home_agent.internal": &stubHomeAgent{}, "foreign_agent": &stubForeignAgent{}}, nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	run := func(want int, args ...string) string {
		t.Helper()
		code, out, errs := mipagent(t, append(args, "--socket", socket)...)
		if code != want {
			t.Fatalf("%v: exit code %d, want %d\n%s%s", args, code, want, out, errs)
		}
		return out + errs
	}
	contains := func(text string, all ...string) {
		t.Helper()
		for _, want := range all {
			if !strings.Contains(text, want) {
				t.Errorf("%q is not in:\n%s", want, text)
			}
		}
	}
	contains(run(exitDone, "bindings"), "home_agent.internal", "10.0.8.100", "192.0.2.7", "udp", "192.0.2.30:61001", "10m0s", "1m30s", "ipip", " - ")
	var b bindingsDocument
	if err := json.Unmarshal([]byte(run(exitDone, "bindings", "--json", "10.0.8.100")), &b); err != nil || len(b.Bindings) != 2 || b.Schema != controlSchema ||
		*b.Bindings[0].Granted != 600 || *b.Bindings[0].Left != 90 || b.Bindings[0].Switched == nil || b.Bindings[1].Granted != nil || b.Bindings[1].Left != nil {
		t.Errorf("bindings --json: %v\n%+v", err, b)
	}
	if err := json.Unmarshal([]byte(run(exitDone, "bindings", "--json", "10.0.8.101")), &b); err != nil || len(b.Bindings) != 0 {
		t.Errorf("bindings of another mobile node: %v, %+v", err, b)
	}
	for network, want := range map[string]int{"10.0.8.0/24": 2, "10.0.8.77/24": 2, "10.0.9.0/24": 0} {
		if err := json.Unmarshal([]byte(run(exitDone, "bindings", "--json", network)), &b); err != nil || len(b.Bindings) != want {
			t.Errorf("bindings of %s: %v, %+v", network, err, b)
		}
	}
	contains(run(exitDone, "visitors"), "foreign_agent", "10.0.8.100", "10.0.1.10", "02:00:00:00:00:07", "5m0s", "1m0s")
	var v visitorsDocument
	if err := json.Unmarshal([]byte(run(exitDone, "visitors", "--json")), &v); err != nil || len(v.Visitors) != 1 || !v.Visitors[0].Encapsulating || *v.Visitors[0].Granted != 300 {
		t.Errorf("visitors --json: %v\n%+v", err, v)
	}
	contains(run(exitFailed, "drop", "laptop"), `"laptop": expected a home address`)
	contains(run(exitFailed, "drop", "10.0.8.101"), "10.0.8.101 is not registered here")
	contains(run(exitDone, "drop", "10.0.8.100"), "10.0.8.100: 2 dropped at foreign_agent", "10.0.8.100: 2 dropped at home_agent.internal")
	contains(run(exitFailed, "drop", "10.0.8.100"), "is not registered here")
	contains(run(exitFailed, "bindings", "nobody"), `"nobody": expected an IPv4 address, or a network such as 10.0.8.0/24`)
	for _, body := range []string{"", "{", "[]", `{"home_address":7}`, `{"home_address":"::1"}`, `{}`} {
		var d dropDocument
		if err := callControl(t.Context(), socket, http.MethodPost, "/v1/drop", strings.NewReader(body), &d); err == nil {
			t.Errorf("%q was taken", body)
		}
	}
	other := filepath.Join(t.TempDir(), "other.sock")
	stopOther, err := serveControl(&configuration{Control: controlTable{Socket: &other}}, newControlServer(map[string]running{"gateway": &stubMobilityless{}}, nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stopOther()
	for _, args := range [][]string{{"bindings"}, {"visitors"}, {"drop", "10.0.8.100"}} {
		if code, _, errs := mipagent(t, append(args, "--socket", other)...); code != exitFailed || !strings.Contains(errs, "here") {
			t.Errorf("%v where no agent runs: exit code %d, %s", args, code, errs)
		}
	}
}

// Shows: GDL-6 (a home agent with very many bindings lists those that are asked for, and never all of them in one piece).
func TestTooManyToList(t *testing.T) {
	for n, want := range map[int]bool{0: false, maxListed: false, maxListed + 1: true} {
		r := httptest.NewRecorder()
		if got := tooMany(r, n); got != want || want != (r.Code == http.StatusRequestEntityTooLarge) {
			t.Errorf("%d: %t, code %d", n, got, r.Code)
		}
	}
}

// stubMobilityless is a role that has nothing to do with registrations.
type stubMobilityless struct{ stubGateway }

// Shows: AGT-6 (Prometheus metrics of home agent and foreign agent: bindings, registrations by code, drops by reason, tunnel octets).
func TestMobilityMetrics(t *testing.T) {
	h, f := &stubHomeAgent{}, &stubForeignAgent{}
	h.drops.Count(packet.DropNoBinding, 6)
	text := metricsOf(t, newControlServer(map[string]running{"home_agent.internal": h, "foreign_agent": f}, nil))
	for _, want := range []string{
		`mipvpn_agent_dropped_packets_total{reason="no_binding",role="home_agent.internal"} 6`,
		`mipvpn_home_agent_bindings{role="home_agent.internal"} 2`, `mipvpn_foreign_agent_visitors{role="foreign_agent"} 1`,
		`mipvpn_agent_registration_replies_total{code="131",role="home_agent.internal"} 2`, `mipvpn_agent_registration_replies_total{code="0",role="foreign_agent"} 7`,
		`mipvpn_agent_registration_messages_discarded_total{reason="untrusted",role="home_agent.internal"} 3`,
		`mipvpn_agent_tunnel_octets_total{direction="received",role="foreign_agent"} 100`, `mipvpn_agent_tunnel_octets_total{direction="sent",role="home_agent.internal"} 300`,
		`mipvpn_agent_tunnel_packets_total{direction="sent",role="home_agent.internal"} 2`,
		`mipvpn_agent_switched_packets_total{direction="to_mobile_node",role="home_agent.internal"} 4`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
}
