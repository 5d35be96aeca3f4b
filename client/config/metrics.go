package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
)

// Metrics says where figures for Prometheus are served, table [metrics].
type Metrics struct {
	// Listen is a loopback address with a port, or the absolute path of a unix socket (ParseListen); empty for nowhere.
	Listen string
}

// ErrListen means that a place to listen is neither a loopback address with a port nor an absolute path.
var ErrListen = errors.New("expected a loopback address with a port, or an absolute path")

// vListen says what ParseListen takes.
const vListen = `a loopback address with a port in quotes, such as "127.0.0.1:9464", or the absolute path of a unix socket`

// ParseListen returns the network and the address of a place to listen, for net.Listen: "tcp" with a loopback address and its port, or
// "unix" with an absolute path. The error wraps ErrListen.
func ParseListen(place string) (network, address string, err error) {
	if filepath.IsAbs(place) {
		return "unix", place, nil
	}
	ap, err := netip.ParseAddrPort(place)
	if err != nil || !ap.Addr().IsLoopback() {
		return "", "", fmt.Errorf("listen on %s: %w", shortQuote(place), ErrListen)
	}
	return "tcp", ap.String(), nil
}

// metricsFields are the keys of [metrics].
func metricsFields() []field {
	return []field{
		{key: "metrics.listen", valid: vListen, standard: "the control socket alone tells", about: "where figures for Prometheus are served (docs/observe.md); every local user can read them",
			set: text(107, listens, func(c *Config) *string { return &c.Metrics.Listen })},
	}
}

func listens(place string) bool {
	_, _, err := ParseListen(place)
	return err == nil
}
