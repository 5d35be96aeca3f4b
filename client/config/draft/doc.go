// Package draft makes configurations: values of keys, and the key files and certificates that belong beside them, become a commented
// mipvpn.toml.
//
// Purpose: `mipvpn init` and the import of other programs' profiles gather a Draft, value by value; each is checked at once by the rules of
// package config. A Stage then puts all files into place at once: they are written into a folder beside, read back by config.Load, and
// only then moved, the configuration last, so that a full disk, a file system that cannot be written or a mistake changes nothing.
//
// Replace puts tables into a configuration that is there already and leaves its other lines as they are.
//
// Specification: TOML 1.0, and the project's own: files that hold secrets have mode 0600, the configuration 0644, because it holds none.
// Nothing is overwritten unless that is asked for.
//
// Concurrency: a Draft and a Stage are one goroutine's.
//
// Ownership: a Draft owns what is given to it; Wipe clears the secrets.
package draft
