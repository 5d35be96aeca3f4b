//go:build !darwin && !windows

package main

// The service manager's commands: to have the daemon start with the system and now, to start it, to start it anew, and what is to be said
// about one that cannot be reached.
const (
	enableService  = "systemctl enable --now mipvpn.service"
	startService   = "systemctl start mipvpn"
	restartService = "systemctl restart mipvpn"
	serviceAdvice  = "`systemctl start mipvpn` starts it, `journalctl -u mipvpn` says why it has ended"
)
