// Package charon starts strongSwan's IKE daemon as the other end of ours.
//
// Purpose: tests of ipsec/interop and the lab's gateway run the charon that Debian and Ubuntu package, in a network
// namespace of the caller's choice and without touching the machine's own strongSwan: a mount namespace of its own shows
// charon the given configuration under /etc and an empty /run, where its PID file and control socket are.
//
// Specification: none of its own; the configuration files are those of strongswan.conf(5) and swanctl.conf(5).
//
// Concurrency: a Daemon may be used by several goroutines at once.
//
// Ownership: Start takes over Options.Dir's contents; Stop ends the process and leaves the files, among them the log.
package charon
