package metrics

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/stack"
)

// fixed is a client that says the same each time.
type fixed struct {
	status control.Status
	counts Counts
	err    error
}

func (f *fixed) Status(context.Context) (control.Status, error) { return f.status, f.err }
func (f *fixed) Counts(context.Context) (Counts, error)         { return f.counts.Clone(), f.err }

func textOf(t *testing.T, h http.Handler, host string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	r.Host = host
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func busy() *fixed {
	age, left := 12.5, 47.5
	f := &fixed{status: control.Status{
		State: control.StateConnected, Mode: "cvc", ModePolicy: "auto", Monitor: 60, Exposure: 41500, Since: time.Unix(1700000000, 0),
		Proof:      control.Proof{Verdict: control.VerdictInside, Age: &age, ExpiresIn: &left},
		Interfaces: []control.Interface{{Name: "eth0", Proof: control.Proof{Verdict: control.VerdictInside}}, {Name: "wlan0", Proof: control.Proof{Verdict: control.VerdictOutside}}},
		Layers:     []control.Layer{{Kind: "underlay"}, {Kind: "x-mip", Lifetime: 300}},
		Power:      &control.Power{Battery: true, Sparing: 4},
		PathMTU:    &control.PathMTU{MTU: 1386},
		VPN:        &control.VPN{Established: true, Downgraded: true},
		Problems:   []control.Problem{{Message: "the name of a \"network\""}},
		Counters:   control.Counters{TxPackets: 3, TxBytes: 300, RxPackets: 4, RxBytes: 400, Drops: map[string]uint64{"gate_closed": 7}},
	}}
	f.counts.Handoff("", "c", 0)
	f.counts.Handoff("c", "cvc", 30*time.Millisecond)
	f.counts.Handoff("cvc", "cvc", 2*time.Minute)
	f.counts.Registered("i-HA", 0)
	f.counts.Registered("i-HA", 0)
	f.counts.Registered("x-HA", 131)
	f.counts.Silent("x-HA")
	f.counts.Forged("i-HA")
	f.counts.Tunnel(VPNEstablished)
	f.counts.Event("handoff")
	f.counts.Restored = 2
	f.counts.Layers = map[string]stack.Traffic{LayerUser: {TxPackets: 3, TxBytes: 300, RxPackets: 4, RxBytes: 400}, LayerUnderlay: {TxPackets: 5, TxBytes: 777}}
	return f
}

// TestCollector shows each figure in Prometheus' format.
func TestCollector(t *testing.T) {
	code, text := textOf(t, Handler(NewCollector(busy(), "1.2")), "localhost")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, text)
	}
	for _, want := range []string{
		`mipvpn_client_responsive 1`, `mipvpn_client_build_info{version="1.2"} 1`,
		`mipvpn_client_state{state="connected"} 1`, `mipvpn_client_state{state="blocked"} 0`, `mipvpn_client_state_since_seconds 1.7e+09`,
		`mipvpn_client_mode{mode="cvc"} 1`, `mipvpn_client_mode{mode="c"} 0`, `mipvpn_client_mode_policy{policy="auto"} 1`,
		`mipvpn_client_verdict{verdict="inside"} 1`, `mipvpn_client_interfaces{verdict="outside"} 1`,
		`mipvpn_client_proof_age_seconds 12.5`, `mipvpn_client_proof_expires_in_seconds 47.5`, `mipvpn_client_plaintext_exposure_seconds 41.5`,
		`mipvpn_client_t_monitor_seconds 60`, `mipvpn_client_problems 1`, `mipvpn_client_path_mtu_octets 1386`,
		`mipvpn_client_registration_lifetime_seconds{layer="x-mip"} 300`,
		`mipvpn_client_handoffs_total{from="",to="c"} 1`, `mipvpn_client_handoffs_total{from="cvc",to="cvc"} 1`,
		`mipvpn_client_handoff_outage_seconds_bucket{le="0.025"} 0`, `mipvpn_client_handoff_outage_seconds_bucket{le="0.05"} 1`,
		`mipvpn_client_handoff_outage_seconds_bucket{le="60"} 1`, `mipvpn_client_handoff_outage_seconds_bucket{le="+Inf"} 2`,
		`mipvpn_client_handoff_outage_seconds_sum 120.03`, `mipvpn_client_handoff_outage_seconds_count 2`,
		`mipvpn_client_registration_replies_total{agent="i-ha",code="0"} 2`, `mipvpn_client_registration_replies_total{agent="x-ha",code="131"} 1`,
		`mipvpn_client_registrations_unanswered_total{agent="x-ha"} 1`, `mipvpn_client_registration_replies_unverified_total{agent="i-ha"} 1`,
		`mipvpn_client_vpn_established 1`, `mipvpn_client_vpn_downgraded 1`, `mipvpn_client_vpn_events_total{event="established"} 1`,
		`mipvpn_client_vpn_events_total{event="failed"} 0`, `mipvpn_client_events_total{kind="handoff"} 1`, `mipvpn_client_restored_settings_total 2`,
		`mipvpn_client_packets_total{direction="sent",layer="user"} 3`, `mipvpn_client_octets_total{direction="sent",layer="underlay"} 777`,
		`mipvpn_client_octets_total{direction="sent",layer="x-mip"} 0`, `mipvpn_client_packets_total{direction="sent",layer="vpn"} 0`,
		`mipvpn_client_on_battery 1`, `mipvpn_client_metered 0`, `mipvpn_client_sparing_factor 4`, `mipvpn_client_vpn_events_total{event="child_rekeyed"} 0`, `mipvpn_client_octets_total{direction="received",layer="user"} 400`,
		`mipvpn_client_dropped_packets_total{reason="gate_closed"} 7`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("missing: %s", want)
		}
	}
	for _, secret := range []string{"eth0", "wlan0", "network\\\"", "192.", "10."} {
		for line := range strings.Lines(text) {
			if _, labels, ok := strings.Cut(line, "{"); ok && strings.Contains(labels, secret) && !strings.Contains(labels, "le=\"") {
				t.Errorf("a label tells of %q: %s", secret, line)
			}
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// TestCollectorWithoutAnswer shows that a client that does not answer is told from one that is down.
func TestCollectorWithoutAnswer(t *testing.T) {
	code, text := textOf(t, Handler(NewCollector(&fixed{err: errors.New("closed")}, "1.2")), "localhost")
	if code != http.StatusOK || !strings.Contains(text, "mipvpn_client_responsive 0\n") || strings.Contains(text, "mipvpn_client_state") {
		t.Errorf("status %d, text:\n%s", code, text)
	}
	if _, text = textOf(t, Handler(NewCollector(&fixed{status: control.Status{State: control.StateDown}}, "1.2")), "localhost"); !strings.Contains(text, `mipvpn_client_state{state="down"} 1`) ||
		strings.Contains(text, "proof_age") {
		t.Errorf("of a client that is down:\n%s", text)
	}
}

// TestCloneIsApart shows that a copy does not see what is counted later.
func TestCloneIsApart(t *testing.T) {
	c := busy().counts
	before := c.Clone()
	c.Handoff("c", "cvc", time.Second)
	c.Registered("i-HA", 0)
	c.Event("handoff")
	c.Tunnel(VPNFailed)
	if before.Handoffs[Handoff{"c", "cvc"}] != 1 || before.Outages.cumulative()[1] != 1 || before.Registrations[Registration{"i-HA", 0}] != 2 || before.Events["handoff"] != 1 ||
		before.VPN[VPNFailed] != 0 {
		t.Errorf("the copy has changed: %+v", before)
	}
}

// get asks a server for its metrics by a Host header.
func get(t *testing.T, s *Server, host, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, s.Addr().Network(), s.Addr().String())
	}}}
	request, err := http.NewRequest(http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// TestServe asks on a loopback address and on a unix socket, as a person would and as a web page could.
func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "metrics.sock")
	for _, c := range []struct {
		place, host, path string
		code              int
	}{
		{"127.0.0.1:0", "127.0.0.1:9464", "/metrics", http.StatusOK},
		{"127.0.0.1:0", "localhost", "/metrics", http.StatusOK},
		{"127.0.0.1:0", "[::1]:9464", "/metrics", http.StatusOK},
		{"127.0.0.1:0", "attacker.example", "/metrics", http.StatusForbidden},
		{"127.0.0.1:0", "192.0.2.1:9464", "/metrics", http.StatusForbidden},
		{"127.0.0.1:0", "localhost", "/", http.StatusNotFound},
		{socket, "mipvpn", "/metrics", http.StatusOK},
	} {
		s, err := Serve(c.place, busy(), "1.2", zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		code, text := get(t, s, c.host, c.path)
		if code != c.code || strings.Contains(text, "mipvpn_client_responsive 1") != (c.code == http.StatusOK) {
			t.Errorf("%s, Host %s: status %d, expected %d:\n%s", c.place, c.host, code, c.code, text)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if network, address, _ := config.ParseListen(c.place); network == "unix" {
			if _, err := net.Dial(network, address); err == nil {
				t.Error("the socket answers after Close")
			}
		}
	}
	for _, place := range []string{"0.0.0.0:9464", "192.0.2.1:9464", "localhost:9464", "metrics.sock", ""} {
		if s, err := Serve(place, busy(), "1.2", zap.NewNop()); !errors.Is(err, config.ErrListen) {
			t.Errorf("%q: %v, expected ErrListen", place, err)
			if err == nil {
				s.Close()
			}
		}
	}
	first, err := Serve("127.0.0.1:0", busy(), "1.2", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, err := Serve(first.Addr().String(), busy(), "1.2", zap.NewNop()); err == nil {
		t.Error("two servers listen on one address")
	}
}
