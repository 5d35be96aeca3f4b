package main

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/ipsec/esp"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
	"mipvpn/tun/packet"
)

// stubRole is what all roles have in common.
type stubRole struct{ drops packet.Drops }

func (*stubRole) Done() <-chan struct{}  { return nil }
func (*stubRole) Err() error             { return nil }
func (r *stubRole) Drops() *packet.Drops { return &r.drops }
func (*stubRole) Close() error           { return nil }
func (*stubRole) reload(*configuration) (func() error, error) {
	return func() error { return nil }, nil
}

// stubGateway is a role with one client.
type stubGateway struct {
	stubRole
	gone []ike.Identity
}

func (*stubGateway) Figures() []agent.SessionFigures {
	id, err := message.NewIdentity("laptop@corp.example")
	if err != nil {
		panic(err)
	}
	return []agent.SessionFigures{{
		Session: 6, Identity: id, Address: netip.MustParseAddr("10.0.8.100"), HomeAddress: netip.MustParseAddr("10.0.8.100"),
	}, {
		Session: 7, Identity: id, Address: netip.MustParseAddr("10.0.9.7"), Remote: netip.MustParseAddrPort("192.0.2.30:4500"),
		Suite: "a suite", Began: time.Unix(1e9, 0).UTC(), Lasted: 90 * time.Second,
		From: esp.Usage{Packets: 3, Bytes: 300}, To: esp.Usage{Packets: 5, Bytes: 5000},
	}}
}

func (*stubGateway) Totals() agent.GatewayTotals {
	return agent.GatewayTotals{Sessions: 1, HalfOpen: 2, Began: 4, Ended: 3, Rejected: map[string]uint64{"authentication": 9},
		From: esp.Usage{Packets: 3, Bytes: 300}, To: esp.Usage{Packets: 5, Bytes: 5000}}
}

func (*stubGateway) Visitors() int { return 8 }

func (g *stubGateway) Disconnect(id ike.Identity) int {
	if id.String() != "laptop@corp.example" {
		return 0
	}
	g.gone = append(g.gone, id)
	return 1
}

// TestControl shows what the commands that ask the running agents print, and that only the socket's owner may use it.
func TestControl(t *testing.T) {
	g := &stubGateway{}
	g.drops.Count(packet.DropNoBinding, 6)
	var reloadError error
	reloads := 0
	socket := filepath.Join(t.TempDir(), "s", "mipagent.sock")
	cfg := &configuration{Control: controlTable{Socket: &socket}, Metrics: metricsTable{Listen: netip.MustParseAddrPort("127.0.0.1:0")}}
	stop, err := serveControl(cfg, newControlServer(map[string]running{"gateway": g}, func() error { reloads++; return reloadError }), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has the mode %v, %v", info.Mode(), err)
	}
	code, out, errs := mipagent(t, "sessions", "--socket", socket)
	for _, want := range []string{"laptop@corp.example", "10.0.9.7", "192.0.2.30:4500", "1m30s", "300", "5000", "a suite", "10.0.8.100", " - "} {
		if !strings.Contains(out, want) {
			t.Errorf("sessions, exit code %d, lacks %q:\n%s%s", code, want, out, errs)
		}
	}
	code, out, errs = mipagent(t, "sessions", "--json", "--socket", socket)
	var d sessionsDocument
	if err := json.Unmarshal([]byte(out), &d); err != nil || code != exitDone || len(d.Sessions) != 2 || d.Schema != controlSchema || d.Sessions[1].OctetsIn != 300 ||
		d.Sessions[0].Home == nil || d.Sessions[0].Home.String() != "10.0.8.100" || d.Sessions[1].Home != nil {
		t.Errorf("sessions --json: exit code %d, %v\n%s%s", code, err, out, errs)
	}
	if code, out, errs = mipagent(t, "disconnect", "laptop@corp.example", "--socket", socket); code != exitDone || len(g.gone) != 1 {
		t.Errorf("disconnect: exit code %d, %s%s", code, out, errs)
	}
	if code, _, errs = mipagent(t, "disconnect", "nobody@corp.example", "--socket", socket); code != exitFailed || !strings.Contains(errs, "nobody@corp.example is not connected") {
		t.Errorf("disconnect of somebody else: exit code %d, %s", code, errs)
	}
	if code, _, errs = mipagent(t, "reload", "--socket", socket); code != exitDone || reloads != 1 {
		t.Errorf("reload: exit code %d, %s", code, errs)
	}
	reloadError = errors.New("gateway.toml:3: a mistake")
	if code, _, errs = mipagent(t, "reload", "--socket", socket); code != exitFailed || !strings.Contains(errs, "gateway.toml:3: a mistake") {
		t.Errorf("reload of a bad file: exit code %d, %s", code, errs)
	}
	if code, _, errs = mipagent(t, "sessions", "--socket", socket+"x"); code != exitFailed || !strings.Contains(errs, "is `mipagent run` running") {
		t.Errorf("without agents: exit code %d, %s", code, errs)
	}
}

// TestControlRequests shows that strange requests change nothing and are answered with what is wrong.
func TestControlRequests(t *testing.T) {
	g := &stubGateway{}
	socket := filepath.Join(t.TempDir(), "mipagent.sock")
	cfg := &configuration{Control: controlTable{Socket: &socket}}
	stop, err := serveControl(cfg, newControlServer(map[string]running{"gateway": g}, nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, body := range []string{"", "{", "[]", `{"identity":7}`, `{"identity":""}`, `{"identity":"` + strings.Repeat("x", 5000) + `"}`} {
		var d disconnectDocument
		if err := callControl(t.Context(), socket, http.MethodPost, "/v1/disconnect", strings.NewReader(body), &d); err == nil {
			t.Errorf("%.20q was taken", body)
		}
	}
	if len(g.gone) != 0 {
		t.Errorf("disconnected %v", g.gone)
	}
	var none struct{}
	if err := callControl(t.Context(), socket, http.MethodGet, "/v1/disconnect", nil, &none); err == nil {
		t.Error("GET disconnects")
	}
	if _, err := serveControl(cfg, newControlServer(nil, nil), zap.NewNop()); err == nil || !strings.Contains(err.Error(), "[control]") {
		t.Errorf("a second one on the same socket: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.sock")
	stopOther, err := serveControl(&configuration{Control: controlTable{Socket: &other}}, newControlServer(nil, nil), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer stopOther()
	if err := callControl(t.Context(), other, http.MethodGet, "/v1/sessions", nil, &none); err == nil || !strings.Contains(err.Error(), "[gateway] does not run here") {
		t.Errorf("without a gateway: %v", err)
	}
}

// TestMetrics shows each counter in Prometheus' format.
func TestMetrics(t *testing.T) {
	g := &stubGateway{}
	g.drops.Count(packet.DropNoBinding, 6)
	s := newControlServer(map[string]running{"gateway": g}, nil)
	text := metricsOf(t, s)
	for _, want := range []string{
		`mipvpn_agent_dropped_packets_total{reason="` + packet.DropNoBinding.String() + `",role="gateway"} 6`,
		"mipvpn_gateway_sessions 1", "mipvpn_gateway_half_open 2", "mipvpn_gateway_visitors 8", "mipvpn_gateway_sessions_began_total 4", "mipvpn_gateway_sessions_ended_total 3",
		`mipvpn_gateway_rejected_messages_total{kind="authentication"} 9`, `mipvpn_gateway_octets_total{direction="from_client"} 300`,
		`mipvpn_gateway_packets_total{direction="to_client"} 5`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s:\n%s", want, text)
		}
	}
}

// metricsOf returns what GET /metrics answers.
func metricsOf(t *testing.T, s *controlServer) string {
	t.Helper()
	r := httptest.NewRecorder()
	s.handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(r.Result().Body)
	if err != nil || r.Code != http.StatusOK {
		t.Fatalf("%d, %v", r.Code, err)
	}
	return string(body)
}
