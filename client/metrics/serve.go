package metrics

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"mipvpn/client/config"
	"mipvpn/client/control"
)

// serverTime is how long a request may take, and its answer.
const serverTime = 10 * time.Second

// socketMode lets everybody read, as status does.
const socketMode fs.FileMode = 0o666

// Server answers GET /metrics.
type Server struct {
	server *http.Server
	at     net.Addr
	done   chan struct{}
}

// Serve answers at the place (config.ParseListen) until Close is called. Errors: config.ErrListen; the address is in use.
func Serve(place string, source Source, version string, log *zap.Logger) (*Server, error) {
	network, address, err := config.ParseListen(place)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	h := Handler(NewCollector(source, version))
	var l net.Listener
	if network == "unix" {
		l, err = control.Listen(address, socketMode)
	} else {
		h = named(h)
		l, err = net.Listen(network, address)
	}
	if err != nil {
		return nil, fmt.Errorf("metrics: listen: %w", err)
	}
	s := &Server{
		server: &http.Server{Handler: h, ReadHeaderTimeout: serverTime, ReadTimeout: serverTime,
			WriteTimeout: serverTime, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(zap.NewNop())},
		at: l.Addr(), done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", zap.Error(err))
		}
	}()
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.at }

// Close ends the server.
func (s *Server) Close() error {
	err := s.server.Close()
	<-s.done
	return err
}

// Handler answers GET /metrics with what the collector tells, and nothing else.
func Handler(c prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	return mux
}

// named refuses names in the Host header but localhost: a web page that has its own name lead to the loopback address (DNS rebinding)
// could read the metrics otherwise.
func named(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !control.NamesLoopback(r.Host) {
			http.Error(w, "ask by a loopback address or localhost", http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
