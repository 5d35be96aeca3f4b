package main

import (
	"go.uber.org/zap"

	"mipvpn/client/metrics"
)

// startMetrics begins to serve figures for Prometheus as configured. That it cannot is no reason to carry nothing.
func (s *service) startMetrics() {
	var err error
	if s.metrics, err = s.serveMetrics(s.cfg.Metrics.Listen); err != nil {
		s.log.Warn("there are no metrics: choose another place for metrics.listen", zap.Error(err))
	}
}

// serveMetrics serves figures at the place, and nothing where that is empty.
func (s *service) serveMetrics(place string) (*metrics.Server, error) {
	if place == "" {
		return nil, nil
	}
	m, err := metrics.Serve(place, s.backend, thisBuild().Version, s.log)
	if err == nil {
		s.log.Info("metrics are served", zap.Stringer("at", m.Addr()))
	}
	return m, err
}

// stopMetrics ends what serves them when the daemon ends.
func (s *service) stopMetrics() { s.endMetrics(s.metrics) }

// endMetrics ends one server of figures, nil for none.
func (s *service) endMetrics(m *metrics.Server) {
	if m == nil {
		return
	}
	if err := m.Close(); err != nil {
		s.log.Warn("ending the server of metrics", zap.Error(err))
	}
}
