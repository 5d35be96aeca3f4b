package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"mipvpn/client/control"
	"mipvpn/ipsec/ike"
	"mipvpn/ipsec/ike/message"
	"mipvpn/stack/agent"
)

// defaultSocket is where `mipagent sessions` and the other commands find the running agents.
const defaultSocket = "/run/mipagent/mipagent.sock"

// controlSchema is the version of the JSON documents.
const controlSchema = 1

// controlTimeout bounds how long a request on the control socket may take.
const controlTimeout = 10 * time.Second

// sessions is a role with clients: the VPN gateway.
type sessions interface {
	Figures() []agent.SessionFigures
	Totals() agent.GatewayTotals
	Visitors() int
	Disconnect(ike.Identity) int
}

// sessionDocument is one client's session in JSON.
type sessionDocument struct {
	Session    uint64         `json:"session"`
	Identity   string         `json:"identity"`
	Address    netip.Addr     `json:"address"`
	Home       *netip.Addr    `json:"home_address,omitempty"` // address, when it is used through the foreign agent in the gateway
	Remote     netip.AddrPort `json:"remote"`
	Suite      string         `json:"suite"`
	Since      time.Time      `json:"since"`
	Seconds    float64        `json:"seconds"`
	PacketsIn  uint64         `json:"packets_from_client"`
	OctetsIn   uint64         `json:"octets_from_client"`
	PacketsOut uint64         `json:"packets_to_client"`
	OctetsOut  uint64         `json:"octets_to_client"`
}

// sessionsDocument is the answer to GET /v1/sessions.
type sessionsDocument struct {
	Schema   int               `json:"schema"`
	Sessions []sessionDocument `json:"sessions"`
}

// disconnectRequest is the body of POST /v1/disconnect.
type disconnectRequest struct {
	Identity string `json:"identity"`
}

// disconnectDocument is the answer to it.
type disconnectDocument struct {
	Schema       int `json:"schema"`
	Disconnected int `json:"disconnected"`
}

// problemDocument is the answer to a request that failed.
type problemDocument struct {
	Error string `json:"error"`
}

// controlServer answers the commands of this program while the roles run.
type controlServer struct {
	roles   map[string]running
	gateway sessions // nil without that role
	reload  func() error
	metrics http.Handler
}

// newControlServer makes the server for the roles that run.
func newControlServer(roles map[string]running, reload func() error) *controlServer {
	s := &controlServer{roles: roles, reload: reload}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector{roles})
	s.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	for _, r := range roles {
		if g, ok := r.(sessions); ok {
			s.gateway = g
		}
	}
	return s
}

func (s *controlServer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/sessions", s.listSessions)
	mux.HandleFunc("POST /v1/disconnect", s.disconnect)
	mux.HandleFunc("GET /v1/bindings", s.listBindings)
	mux.HandleFunc("GET /v1/visitors", s.listVisitors)
	mux.HandleFunc("POST /v1/drop", s.drop)
	mux.HandleFunc("GET /v1/firewall", s.firewall)
	mux.HandleFunc("POST /v1/reload", s.doReload)
	mux.Handle("GET /metrics", s.metrics)
	return mux
}

func answer(w http.ResponseWriter, code int, document any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The other end has gone when this fails, and with it whom one could tell.
	_ = json.NewEncoder(w).Encode(document)
}

func (s *controlServer) listSessions(w http.ResponseWriter, _ *http.Request) {
	if s.gateway == nil {
		answer(w, http.StatusNotFound, problemDocument{"the role [gateway] does not run here"})
		return
	}
	document := sessionsDocument{Schema: controlSchema, Sessions: []sessionDocument{}}
	for _, f := range s.gateway.Figures() {
		var home *netip.Addr
		if f.HomeAddress.IsValid() {
			home = &f.HomeAddress
		}
		document.Sessions = append(document.Sessions, sessionDocument{
			Session: uint64(f.Session), Identity: f.Identity.String(), Address: f.Address, Home: home, Remote: f.Remote, Suite: f.Suite,
			Since: f.Began, Seconds: f.Lasted.Seconds(), PacketsIn: f.From.Packets, OctetsIn: f.From.Bytes,
			PacketsOut: f.To.Packets, OctetsOut: f.To.Bytes,
		})
	}
	answer(w, http.StatusOK, document)
}

func (s *controlServer) disconnect(w http.ResponseWriter, r *http.Request) {
	var request disconnectRequest
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&request); err != nil {
		answer(w, http.StatusBadRequest, problemDocument{"the request: " + err.Error()})
		return
	}
	id, err := message.NewIdentity(request.Identity)
	switch {
	case err != nil:
		answer(w, http.StatusBadRequest, problemDocument{err.Error()})
	case s.gateway == nil:
		answer(w, http.StatusNotFound, problemDocument{"the role [gateway] does not run here"})
	default:
		answer(w, http.StatusOK, disconnectDocument{Schema: controlSchema, Disconnected: s.gateway.Disconnect(id)})
	}
}

func (s *controlServer) doReload(w http.ResponseWriter, _ *http.Request) {
	if err := s.reload(); err != nil {
		answer(w, http.StatusUnprocessableEntity, problemDocument{err.Error()})
		return
	}
	answer(w, http.StatusOK, struct {
		Schema int `json:"schema"`
	}{controlSchema})
}

// serveControl serves the control socket, and the metrics where the configuration says so, until stop is called.
func serveControl(c *configuration, s *controlServer, log *zap.Logger) (stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, server := range servers {
			server.Close()
		}
	}
	serve := func(l net.Listener, h http.Handler) {
		server := &http.Server{Handler: h, ReadHeaderTimeout: controlTimeout, ReadTimeout: controlTimeout, WriteTimeout: controlTimeout}
		servers = append(servers, server)
		go func() {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				log.Error("the control server has ended", zap.Stringer("at", l.Addr()), zap.Error(err))
			}
		}()
	}
	socket := defaultSocket
	if c.Control.Socket != nil {
		socket = *c.Control.Socket
	}
	if socket != "" {
		l, err := control.Listen(socket, 0o600)
		switch {
		case err == nil:
			serve(l, s.handler())
		case c.Control.Socket != nil:
			return nil, fmt.Errorf("[control]: %w", err)
		default: // nobody has asked for it
			log.Warn("there is no control socket", zap.Error(err))
		}
	}
	if c.Metrics.Listen.IsValid() {
		l, err := net.Listen("tcp", c.Metrics.Listen.String())
		if err != nil {
			stop()
			return nil, fmt.Errorf("[metrics]: listen: %w", err)
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", s.metrics)
		serve(l, mux)
	}
	return stop, nil
}

// callControl sends a request to the agents that run and decodes the answer into document.
func callControl(ctx context.Context, socket, method, path string, body io.Reader, document any) error {
	var d net.Dialer
	client := http.Client{Timeout: controlTimeout, Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		DisableKeepAlives: true,
	}}
	request, err := http.NewRequestWithContext(ctx, method, "http://mipagent"+path, body)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return unanswered(socket, err)
	}
	defer response.Body.Close()
	in := json.NewDecoder(io.LimitReader(response.Body, 64<<20))
	if response.StatusCode != http.StatusOK {
		var problem problemDocument
		if err := in.Decode(&problem); err != nil || problem.Error == "" {
			return fmt.Errorf("%s: %s", socket, response.Status)
		}
		return errors.New(problem.Error)
	}
	if err := in.Decode(document); err != nil {
		return fmt.Errorf("%s: the answer: %w", socket, err)
	}
	return nil
}

// unanswered says why there is no answer on a socket, and what to do.
func unanswered(socket string, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the request, which is no concern of the person's
	}
	advice := "is `mipagent run` running? Where its configuration has another control.socket, --socket names that"
	switch {
	case socket == "":
		return errors.New("--socket is empty: expected the path of the running agents' control socket")
	case errors.Is(err, fs.ErrPermission):
		advice = "run it as root, or as the user that the agents run as"
	case errors.Is(err, context.Canceled):
		advice = "the command was interrupted"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		advice = "the agents did not answer in time; their log may say why"
	}
	return fmt.Errorf("no answer on %s: %w: %s", socket, err, advice)
}
