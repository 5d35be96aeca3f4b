package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mipvpn/client/config"
	"mipvpn/client/config/profile"
	"mipvpn/client/control"
	"mipvpn/client/secret"
)

func (a *app) daemon() *cobra.Command {
	c := &cobra.Command{
		Use: "daemon", Short: "Run the client and answer on its socket", Args: cobra.NoArgs,
		Long: "Run the client in the foreground until it gets SIGTERM or SIGINT, logging to standard error. It needs the right\nto make TUN devices and raw sockets (root, or CAP_NET_ADMIN and CAP_NET_RAW).",
	}
	file := c.Flags().String("config", config.DefaultPath, "configuration file")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		profiles, err := a.profiles(*file)
		if err != nil {
			return failed(err)
		}
		read := func(path string) (*config.Config, error) {
			cfg, err := config.LoadWith(path, secret.Run)
			if err == nil && cmd.Flags().Changed("socket") {
				cfg.Control.Socket = a.socket
			}
			return cfg, err
		}
		return failed(a.serve(cmd.Context(), profiles, read))
	}
	return c
}

// serve runs the client until ctx ends, with the profile that is chosen as read returns it, now and when it is read again. The socket
// comes first: a second daemon must not touch the network.
func (a *app) serve(ctx context.Context, profiles profile.Set, read func(path string) (*config.Config, error)) (err error) {
	s := &service{profiles: profiles, read: read, level: zap.NewAtomicLevel()}
	p, cfg, err := s.load(profiles.Chosen)
	if err != nil {
		return fmt.Errorf("the configuration cannot be used\n%w", err)
	}
	if l, err := zapcore.ParseLevel(cfg.Log.Level); err == nil {
		s.level.SetLevel(l)
	}
	log := newLog(a.err, s.level)
	s.log, s.cfg = log, cfg
	s.inUse.Store(&p.Name)
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
	s.allow(authority)
	s.server.OnReload(s.reload)
	s.server.OnProfiles(s)
	defer s.reloadOnHangup(ctx)()
	return s.server.Serve(ctx, l)
}
