package main

// The service manager's commands: to have the daemon start with the system and now, to start it, to start it anew, and what is to be said
// about one that cannot be reached.
const (
	enableService  = "launchctl bootstrap system /Library/LaunchDaemons/mipvpn.plist"
	startService   = "launchctl kickstart system/mipvpn"
	restartService = "launchctl kickstart -k system/mipvpn"
	serviceAdvice  = "`launchctl kickstart system/mipvpn` starts it, /var/log/mipvpn.log says why it has ended"
)
