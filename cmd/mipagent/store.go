package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"mipvpn/stack/agent"
	"mipvpn/stack/agent/boltstore"
	"mipvpn/tun/link"
)

// stateDirectory is where state is kept where neither the file nor systemd says otherwise.
const stateDirectory = "/var/lib/mipagent"

// storePath returns the path of the file that keeps a home agent's bindings, "" for none: the one configured, else one in the
// directory that systemd makes for this service, else one in stateDirectory.
func (c *configuration) storePath(t *homeAgentTable, internal bool) string {
	if t.Store != nil {
		if *t.Store == "" || filepath.IsAbs(*t.Store) {
			return *t.Store
		}
		return filepath.Join(c.dir, *t.Store)
	}
	dir := stateDirectory
	if list := filepath.SplitList(os.Getenv("STATE_DIRECTORY")); len(list) > 0 {
		dir = list[0]
	}
	if internal {
		return filepath.Join(dir, "home-agent-internal.db")
	}
	return filepath.Join(dir, "home-agent-external.db")
}

// stored returns a starter of a home agent that keeps its bindings in the file of that path.
func stored(cfg agent.HomeAgentConfig, internal bool, path string) starter {
	return func(h link.Host, log *zap.Logger) (running, error) {
		if filepath.Dir(path) == stateDirectory {
			if err := os.MkdirAll(stateDirectory, 0o700); err != nil {
				return nil, err
			}
		}
		s, err := boltstore.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("store %s: its directory is not there: %w", path, err)
		}
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		own := cfg
		own.Store = s
		a, err := agent.StartHomeAgent(h, own, log)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		return runningHomeAgent{a, internal, s}, nil
	}
}
