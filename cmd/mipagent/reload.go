package main

import (
	"errors"
	"fmt"

	"go.uber.org/zap"

	"mipvpn/stack/agent"
)

// reloadOf is the reload of an agent that checks its configuration and takes it.
func reloadOf[C any](a interface {
	CheckReload(C) error
	Reload(C) (dropped int, err error)
}, cfg C) (take func() error, err error) {
	if err := a.CheckReload(cfg); err != nil {
		return nil, err
	}
	return func() error {
		_, err := a.Reload(cfg)
		return err
	}, nil
}

// reload reads the file again and gives the roles their new configuration. All are asked first: with a mistake, or a change that takes
// a restart, in one table nothing is changed in any. What can still go wrong then is the host's doing (its routes): the other
// roles have the new configuration all the same.
func (c *configuration) reload(roles map[string]running, log *zap.Logger) error {
	fresh, err := loadConfig(c.file)
	if err != nil {
		return err
	}
	var refused []error
	takes, seen := make(map[string]func() error), make(map[string]bool)
	for _, r := range fresh.roles() {
		seen[r.name] = true
		role := roles[r.name]
		if role == nil {
			refused = append(refused, fmt.Errorf("[%s] is new: it begins with the next start of mipagent", r.name))
			continue
		}
		take, err := role.reload(fresh)
		if err != nil {
			refused = append(refused, fmt.Errorf("[%s]: %w", r.name, err))
		}
		takes[r.name] = take
	}
	for name := range roles {
		if !seen[name] {
			refused = append(refused, fmt.Errorf("[%s] is gone from the file: it ends with the next stop of mipagent", name))
		}
	}
	for _, name := range c.fixed(fresh) {
		refused = append(refused, fmt.Errorf("[%s]: %w", name, agent.ErrRestart))
	}
	if len(refused) > 0 {
		return errors.Join(refused...)
	}
	var failed []error
	for _, r := range fresh.roles() {
		if err := takes[r.name](); err != nil {
			failed = append(failed, fmt.Errorf("[%s]: %w", r.name, err))
			continue
		}
		log.Named(r.name).Info("the configuration was read again")
	}
	return errors.Join(failed...)
}

// fixed returns the tables of the program itself, read when it starts and not again, that say something else in fresh.
func (c *configuration) fixed(fresh *configuration) (names []string) {
	told := func(l logTable) logTable { return logTable{orDefault(l.Level, "info"), orDefault(l.Format, "console")} }
	socket := func(t controlTable) string {
		if t.Socket == nil {
			return defaultSocket
		}
		return *t.Socket
	}
	for _, t := range []struct {
		name string
		same bool
	}{
		{"log", told(c.Log) == told(fresh.Log)},
		{"control", socket(c.Control) == socket(fresh.Control)},
		{"metrics", c.Metrics == fresh.Metrics},
	} {
		if !t.same {
			names = append(names, t.name)
		}
	}
	return names
}
