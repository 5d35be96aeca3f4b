package config

const (
	// DefaultPath is where the daemon looks for its configuration.
	DefaultPath = `C:\ProgramData\mipvpn\mipvpn.toml`
	// DefaultSocket is where the daemon listens for the command line.
	DefaultSocket = `C:\ProgramData\mipvpn\mipvpn.sock`
	// StateDirectory is where the daemon keeps what it has to know after a restart.
	StateDirectory = `C:\ProgramData\mipvpn\state`
)
