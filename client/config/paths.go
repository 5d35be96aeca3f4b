//go:build !darwin && !windows

package config

const (
	// DefaultPath is where the daemon looks for its configuration.
	DefaultPath = "/etc/mipvpn/mipvpn.toml"
	// DefaultSocket is where the daemon listens for the command line.
	DefaultSocket = "/run/mipvpn/mipvpn.sock"
	// StateDirectory is where the daemon keeps what it has to know after a restart.
	StateDirectory = "/var/lib/mipvpn"
)
