// Command packages is what `make packages` runs: it makes the .deb and .rpm packages, and archives of static binaries, in dist/.
//
// Purpose: for each architecture the three programs are built without cgo, their manual pages and completions written by themselves and
// from docs, and three packages made of that: mipvpn for laptops, mipagent for the company's side, and miplab to try it all on one
// machine. Each is laid out in a folder first, the tree that a machine gets; what ends up in the .deb is compared with it.
//
// Specification: the Filesystem Hierarchy Standard and what systemd's units, sysusers.d and tmpfiles.d expect. Nothing is written to
// /etc but configuration that a person owns, so that systems whose /usr cannot be changed need no more than the unit files.
//
// Concurrency: one goroutine.
//
// Ownership: dist/ is replaced.
package main
