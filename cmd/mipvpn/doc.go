// Command mipvpn is the VPN client: the daemon and the command line that talks to it, in one binary.
//
// Purpose: `mipvpn daemon` reads the configuration, runs the client and answers on a unix socket; the other commands ask
// it. What is printed for people fits on a screen; with --json it is a document with "schema": 1, and events are one
// document a line. A command with --json that fails before it has written its document writes one with the error.
//
// Specification: DESIGN §4, the project's own. Exit codes: 0 done, 1 failed, 2 usage, 3 not connected (status --check, and wait while the client is down), 4 no
// permission, 5 daemon not reachable, 124 timed out.
//
// Concurrency: one command a process; the daemon's goroutines belong to client and client/control.
//
// Ownership: the daemon owns the configuration with its secrets and wipes it at the end.
package main
