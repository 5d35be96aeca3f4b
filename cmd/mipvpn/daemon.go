package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mipvpn/client/config"
	"mipvpn/client/control"
	"mipvpn/client/metrics"
)

func (a *app) daemon() *cobra.Command {
	c := &cobra.Command{
		Use: "daemon", Short: "Run the client and answer on its socket", Args: cobra.NoArgs,
		Long: "Run the client in the foreground until it gets SIGTERM or SIGINT, logging to standard error. It needs the right\nto make TUN devices and raw sockets (root, or CAP_NET_ADMIN and CAP_NET_RAW).",
	}
	file := c.Flags().String("config", config.DefaultPath, "configuration file")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		load := func() (*config.Config, error) {
			cfg, err := config.Load(*file)
			if err == nil && cmd.Flags().Changed("socket") {
				cfg.Control.Socket = a.socket
			}
			return cfg, err
		}
		return failed(a.serve(cmd.Context(), load))
	}
	return c
}

// serve runs the client until ctx ends, with the configuration that load returns, now and when it is read again. The socket comes first: a
// second daemon must not touch the network.
func (a *app) serve(ctx context.Context, load func() (*config.Config, error)) (err error) {
	cfg, err := load()
	if err != nil {
		return fmt.Errorf("the configuration cannot be used\n%w", err)
	}
	level := zap.NewAtomicLevel()
	if l, err := zapcore.ParseLevel(cfg.Log.Level); err == nil {
		level.SetLevel(l)
	}
	log := newLog(a.err, level)
	s := &service{load: load, level: level, log: log, cfg: cfg}
	defer func() { s.cfg.Wipe() }()
	defer func() { _ = log.Sync() }()
	s.warn(cfg)
	authority, err := control.NewAuthority(cfg.Control.Users, cfg.Control.Groups)
	if err != nil {
		return err
	}
	l, err := control.Listen(cfg.Control.Socket, 0o666)
	if err != nil {
		return err
	}
	defer l.Close()
	if s.backend, err = a.start(cfg, log); err != nil {
		return fmt.Errorf("the client cannot start: %w", err)
	}
	s.startHooks()
	defer s.stopHooks() // behind the client's end, which is an event
	defer func() { err = errors.Join(err, s.backend.Close()) }()
	s.startMetrics()
	defer s.stopMetrics()
	defer notify(ctx, s.backend, log)()
	log.Info("daemon started", zap.String("socket", cfg.Control.Socket), zap.String("version", thisBuild().Version))
	defer log.Info("daemon ends")
	s.server = control.NewServer(s.backend, authority, log)
	s.server.OnReload(s.reload)
	defer s.reloadOnHangup(ctx)()
	return s.server.Serve(ctx, l)
}

// serveMetrics serves figures for Prometheus until stop is called. That it cannot is no reason to carry nothing.
func serveMetrics(place string, b backend, log *zap.Logger) (stop func()) {
	s, err := metrics.Serve(place, b, thisBuild().Version, log)
	if err != nil {
		log.Warn("there are no metrics: choose another place for metrics.listen", zap.Error(err))
		return func() {}
	}
	log.Info("metrics are served", zap.Stringer("at", s.Addr()))
	return func() {
		if err := s.Close(); err != nil {
			log.Warn("ending the server of metrics", zap.Error(err))
		}
	}
}

// newLog returns the daemon's log.
func newLog(w io.Writer, level zap.AtomicLevel) *zap.Logger {
	e := zap.NewProductionEncoderConfig()
	e.EncodeTime = zapcore.ISO8601TimeEncoder
	e.EncodeDuration = zapcore.StringDurationEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(e), zapcore.Lock(zapcore.AddSync(w)), level))
}
