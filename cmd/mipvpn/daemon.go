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
	"mipvpn/client/hook"
	"mipvpn/client/metrics"
)

func (a *app) daemon() *cobra.Command {
	c := &cobra.Command{
		Use: "daemon", Short: "Run the client and answer on its socket", Args: cobra.NoArgs,
		Long: "Run the client in the foreground until it gets SIGTERM or SIGINT, logging to standard error. It needs the right\nto make TUN devices and raw sockets (root, or CAP_NET_ADMIN and CAP_NET_RAW).",
	}
	file := c.Flags().String("config", config.DefaultPath, "configuration file")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(*file)
		if err != nil {
			return failed(fmt.Errorf("the configuration cannot be used\n%w", err))
		}
		if cmd.Flags().Changed("socket") {
			cfg.Control.Socket = a.socket
		}
		return failed(a.serve(cmd.Context(), cfg, newLog(a.err, cfg.Log.Level)))
	}
	return c
}

// serve runs the client until ctx ends. The socket comes first: a second daemon must not touch the network.
func (a *app) serve(ctx context.Context, cfg *config.Config, log *zap.Logger) (err error) {
	defer cfg.Wipe()
	defer func() { _ = log.Sync() }()
	for _, w := range cfg.Warnings {
		log.Warn("configuration", zap.String("key", w.Key), zap.Int("line", w.Line), zap.String("message", w.Message))
	}
	authority, err := control.NewAuthority(cfg.Control.Users, cfg.Control.Groups)
	if err != nil {
		return err
	}
	l, err := control.Listen(cfg.Control.Socket, 0o666)
	if err != nil {
		return err
	}
	defer l.Close()
	b, err := a.start(cfg, log)
	if err != nil {
		return fmt.Errorf("the client cannot start: %w", err)
	}
	if cfg.Hooks.Run {
		hooks := hook.Start(b, hook.Config{Directory: cfg.Hooks.Directory, Timeout: cfg.Hooks.Timeout, Prefixes: cfg.Enterprise.Prefixes}, log)
		defer hooks.Close() // behind the client's end, which is an event
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if cfg.Metrics.Listen != "" {
		defer serveMetrics(cfg.Metrics.Listen, b, log)()
	}
	defer notify(ctx, b, log)()
	log.Info("daemon started", zap.String("socket", cfg.Control.Socket), zap.String("version", thisBuild().Version))
	defer log.Info("daemon ends")
	return control.NewServer(b, authority, log).Serve(ctx, l)
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
func newLog(w io.Writer, level string) *zap.Logger {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		l = zapcore.InfoLevel
	}
	e := zap.NewProductionEncoderConfig()
	e.EncodeTime = zapcore.ISO8601TimeEncoder
	e.EncodeDuration = zapcore.StringDurationEncoder
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(e), zapcore.Lock(zapcore.AddSync(w)), l))
}
