// Package debian unpacks packages of a Debian release into a folder, so that tests run programs of other releases than the
// machine's, or programs whose packages would remove others.
//
// Purpose: strongSwan 6 beside the strongSwan 5.9 that is installed, and Libreswan, whose package conflicts with both.
// apt resolves and verifies, with state and cache of its own; nothing is installed, no script of a package is run, and
// the machine's own packages stay as they are. What was unpacked is kept in the user's cache directory.
//
// Specification: apt-get(8), apt.conf(5), dpkg-deb(1). The mirror is the one of the machine's own sources.
//
// Concurrency: Prepare may be called by several goroutines and programs at once; the first one does the work.
//
// Ownership: the folder belongs to this package. Programs are run in it with chroot(8), and write nowhere in it but where
// they mount something of their own.
package debian
