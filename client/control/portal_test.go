package control_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"mipvpn/client/control"
	"mipvpn/client/control/controltest"
)

// portals is a backend with one way.
type portals struct {
	*controltest.Backend
	mu     sync.Mutex
	calls  []string
	closed chan control.PortalWay
	ended  chan struct{}
	err    error
}

func (p *portals) OpenPortal(_ context.Context, peer control.Peer, iface string, limit time.Duration) (control.PortalWay, <-chan control.PortalWay, func(), error) {
	p.note("open %d %q %v", peer.UID, iface, limit)
	if p.err != nil {
		return control.PortalWay{}, nil, nil, p.err
	}
	return control.PortalWay{Schema: control.Schema, Interface: "wlan0", URL: "http://portal.example/"}, p.closed, func() { close(p.ended) }, nil
}

func (p *portals) JoinPortal(_ context.Context, peer control.Peer) error {
	p.note("join %d %d", peer.UID, peer.PID)
	return p.err
}

func (p *portals) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, fmt.Sprintf(format, args...))
}

// serve answers one connection of the peer.
func (p *portals) serve(t *testing.T, b control.Backend, peer control.Peer) *control.Client {
	t.Helper()
	authority, err := control.NewAuthority([]string{"1000"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	near, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		control.NewServer(b, authority, nil).ServeConn(context.Background(), far, peer)
	}()
	c := control.NewClient(near)
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return c
}

func newPortals() *portals {
	return &portals{Backend: controltest.New(control.Status{}), closed: make(chan control.PortalWay, 1), ended: make(chan struct{})}
}

// Shows: HST-5
func TestPortalIsHeldOpen(t *testing.T) {
	p := newPortals()
	c := p.serve(t, p, control.Peer{UID: 1000, PID: 7})
	last, err := c.Portal(context.Background(), "wlan0", time.Minute, func(w control.PortalWay) error {
		if w.URL != "http://portal.example/" || w.Interface != "wlan0" {
			t.Errorf("way %+v", w)
		}
		p.closed <- control.PortalWay{Schema: control.Schema, Interface: "wlan0", Closed: "the x-HA answers", Passed: true}
		close(p.closed)
		return nil
	})
	if err != nil || !last.Passed || last.Closed != "the x-HA answers" {
		t.Errorf("%+v, %v", last, err)
	}
	<-p.ended
	if got := strings.Join(p.calls, "; "); got != `open 1000 "wlan0" 1m0s` {
		t.Errorf("asked for %s", got)
	}
}

// The way goes with the connection that holds it.
//
// Shows: HST-5
func TestPortalGoesWithTheConnection(t *testing.T) {
	p := newPortals()
	c := p.serve(t, p, control.Peer{UID: 1000, PID: 7})
	enough := errors.New("enough")
	if _, err := c.Portal(context.Background(), "", 0, func(control.PortalWay) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("error %v", err)
	}
	<-p.ended // a way that stays lets the test run into its limit
}

func TestPortalRefusals(t *testing.T) {
	p := newPortals()
	p.err = fmt.Errorf("%w: no captive portal is known", control.ErrRefused)
	opened := func(control.PortalWay) error {
		t.Error("opened")
		return nil
	}
	if _, err := p.serve(t, p, control.Peer{UID: 1000}).Portal(context.Background(), "", 0, opened); err == nil || !strings.Contains(err.Error(), "no captive portal is known") {
		t.Errorf("refused by the backend: %v", err)
	}
	var e *control.Error
	if _, err := p.serve(t, p, control.Peer{UID: 1001}).Portal(context.Background(), "", 0, opened); !errors.As(err, &e) || e.Kind != control.KindPermission {
		t.Errorf("a stranger: %v", err)
	}
	if err := p.serve(t, p, control.Peer{UID: 1000, PID: 8}).JoinPortal(context.Background()); err == nil {
		t.Error("joined")
	}
	if _, err := p.serve(t, controltest.New(control.Status{}), control.Peer{UID: 1000}).Portal(context.Background(), "", 0, opened); err == nil {
		t.Error("opened by a backend that cannot")
	}
	if err := p.serve(t, controltest.New(control.Status{}), control.Peer{UID: 1000}).JoinPortal(context.Background()); err == nil {
		t.Error("joined at a backend that cannot")
	}
	for _, line := range []string{
		`{"schema":1,"op":"status","interface":"wlan0"}`, `{"schema":1,"op":"portal","timeout_ms":-1}`, `{"schema":1,"op":"portal","timeout_ms":3600001}`,
		`{"schema":1,"op":"portal","for":"inside"}`, `{"schema":1,"op":"portal_join","timeout_ms":5}`,
		`{"schema":1,"op":"portal","interface":"` + strings.Repeat("w", 65) + `"}`,
	} {
		if r, err := control.ParseRequest([]byte(line)); !errors.Is(err, control.ErrRequest) {
			t.Errorf("%s: %+v, %v", line, r, err)
		}
	}
	if r, err := control.ParseRequest([]byte(`{"schema":1,"op":"portal","interface":"wlan0","timeout_ms":60000}`)); err != nil || r.Interface != "wlan0" {
		t.Errorf("%+v, %v", r, err)
	}
}
