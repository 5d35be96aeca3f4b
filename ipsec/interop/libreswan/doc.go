// Package libreswan starts Libreswan's IKE daemon, pluto, as the other end of ours.
//
// Purpose: tests of ipsec/interop negotiate with a third implementation. Libreswan's Debian package conflicts with
// strongSwan's, so it is run out of a folder (package debian), in a network namespace of the caller's choice, with a mount
// namespace of its own that shows pluto its configuration, an empty certificate database and an empty /run.
//
// Specification: none of its own; the configuration files are those of ipsec.conf(5) and ipsec.secrets(5).
//
// Concurrency: a Daemon may be used by several goroutines at once.
//
// Ownership: Start takes over Options.Dir's contents; Stop ends the process and leaves the files, among them the log.
package libreswan
