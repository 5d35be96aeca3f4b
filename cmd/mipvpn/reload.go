package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"mipvpn/client/config"
	"mipvpn/client/config/profile"
	"mipvpn/client/control"
	"mipvpn/client/control/polkit"
	"mipvpn/client/hook"
	"mipvpn/client/metrics"
	"mipvpn/detect/resolve"
)

func (a *app) reload() *cobra.Command {
	c := &cobra.Command{
		Use: "reload", Short: "Have the daemon read its configuration again", Args: cobra.NoArgs,
		Long: "Have the daemon read its configuration again, and show what has changed. Connections of applications go on. A configuration\nwith mistakes changes nothing, and all of them are shown. What would end connections, such as another home address, is\ndone with --anew only; enterprise traffic stays blocked meanwhile. Passwords and PINs that were typed in are kept. SIGHUP\ndoes the same without --anew.",
	}
	asJSON := jsonFlag(c)
	anew := c.Flags().Bool("anew", false, "also take what ends connections of applications")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.ask(cmd.Context(), func(c *control.Client) error {
			r, err := c.Reload(cmd.Context(), *anew)
			if err != nil {
				return err
			}
			if *asJSON {
				return writeJSON(a.out, r)
			}
			for _, w := range r.Warnings {
				fmt.Fprintf(a.err, "warning: %s\n", printable(w))
			}
			_, err = fmt.Fprintln(a.out, reloadLine(r))
			return err
		})
	}
	return c
}

// reloadLine says what a new configuration has changed.
func reloadLine(r control.Reload) string {
	switch {
	case len(r.Changed) == 0:
		return "nothing has changed"
	case len(r.Renewed) == 0:
		return "changed: " + strings.Join(r.Changed, ", ")
	}
	return fmt.Sprintf("changed: %s; set up anew: %s", strings.Join(r.Changed, ", "), strings.Join(r.Renewed, ", "))
}

// reconfigurable is a backend that takes another configuration while it runs (client.Client.Reload).
type reconfigurable interface {
	Reload(ctx context.Context, cfg *config.Config, anew bool) (control.Reload, error)
}

// service is the daemon around the client, as far as its configuration can change.
type service struct {
	backend backend
	server  *control.Server
	level   zap.AtomicLevel
	log     *zap.Logger
	// profiles are the configurations that there are, and read reads one.
	profiles profile.Set
	read     func(path string) (*config.Config, error)
	// inUse is the name of the one in use.
	inUse atomic.Pointer[string]

	mu      sync.Mutex // one change at a time
	cfg     *config.Config
	hooks   *hook.Runner
	metrics *metrics.Server // nil while none are served
}

// startHooks begins to run programs as configured.
func (s *service) startHooks() {
	if s.cfg.Hooks.Run {
		s.hooks = hook.Start(s.backend, hook.Config{Directory: s.cfg.Hooks.Directory, Timeout: s.cfg.Hooks.Timeout, Prefixes: s.cfg.Enterprise.Prefixes}, s.log)
	}
}

// stopHooks ends that.
func (s *service) stopHooks() {
	if s.hooks != nil {
		s.hooks.Close()
		s.hooks = nil
	}
}

// warn logs what a configuration allows but probably does not mean.
func (s *service) warn(cfg *config.Config) {
	for _, w := range cfg.Warnings {
		s.log.Warn("configuration", zap.String("key", w.Key), zap.Int("line", w.Line), zap.String("message", w.Message))
	}
}

// allow has the server obey those whom the configuration names, and have polkit decide about others.
func (s *service) allow(authority control.Authority) {
	s.server.SetAuthority(authority)
	if s.cfg.Control.Polkit {
		s.server.SetJudge(polkit.New(resolve.SystemBus))
	} else {
		s.server.SetJudge(nil)
	}
}

// reload reads the configuration again; it is the server's Reloader. An error leaves all as it was.
func (s *service) reload(ctx context.Context, anew bool) (control.Reload, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.take(ctx, anew, s.profiles.Chosen)
}

// load reads the profile that which returns.
func (s *service) load(which func() (profile.Profile, error)) (profile.Profile, *config.Config, error) {
	p, err := which()
	if err != nil {
		return p, nil, err
	}
	cfg, err := s.read(p.File)
	return p, cfg, err
}

// take has the client take the profile that which returns. mu is held.
func (s *service) take(ctx context.Context, anew bool, which func() (profile.Profile, error)) (control.Reload, error) {
	b, able := s.backend.(reconfigurable)
	if !able {
		return control.Reload{}, errors.New("this client does not take another configuration: restart the daemon")
	}
	p, cfg, err := s.load(which)
	if err != nil {
		return control.Reload{}, fmt.Errorf("the configuration cannot be used, and nothing has been changed\n%w", err)
	}
	authority, err := control.NewAuthority(cfg.Control.Users, cfg.Control.Groups)
	if err != nil {
		cfg.Wipe()
		return control.Reload{}, fmt.Errorf("%w; nothing has been changed", err)
	}
	elsewhere := cfg.Metrics.Listen != s.cfg.Metrics.Listen
	var figures *metrics.Server
	if elsewhere {
		if figures, err = s.serveMetrics(cfg.Metrics.Listen); err != nil {
			cfg.Wipe()
			return control.Reload{}, fmt.Errorf("%w: choose another place for metrics.listen; nothing has been changed", err)
		}
	}
	r, err := b.Reload(ctx, cfg, anew)
	if err == nil {
		s.inUse.Store(&p.Name)
	}
	if err != nil || len(r.Changed) == 0 {
		s.endMetrics(figures)
		cfg.Wipe()
		return r, err
	}
	s.warn(cfg)
	s.cfg.Wipe()
	s.cfg = cfg
	s.allow(authority)
	if level, err := zapcore.ParseLevel(cfg.Log.Level); err == nil {
		s.level.SetLevel(level)
	}
	changed := func(prefix string) bool {
		return slices.ContainsFunc(r.Changed, func(k string) bool { return strings.HasPrefix(k, prefix) })
	}
	if changed("hooks.") || changed("enterprise.prefixes") {
		s.stopHooks()
		s.startHooks()
	}
	if elsewhere {
		s.endMetrics(s.metrics)
		s.metrics = figures
	}
	return r, nil
}

// reloadOnHangup reads the configuration again at each SIGHUP until ctx ends; the function returned waits for that.
func (s *service) reloadOnHangup(ctx context.Context) (wait func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	var done sync.WaitGroup
	done.Go(func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				if _, err := s.reload(ctx, false); err != nil {
					s.log.Error("the configuration was not read again", zap.Error(err))
				}
			}
		}
	})
	return done.Wait
}
