// Package config reads the configuration of mipvpn.
//
// Purpose: one TOML file (/etc/mipvpn/mipvpn.toml) becomes a Config with every value checked. Reading is strict: a key
// that is not known or a value that cannot be is an error with file, line, what was found and what would be valid.
// All errors of a file are told at once, those of lines that are no TOML included, and none that only follows from another. Secrets are never in the file: it names files that hold them, which only their
// owner may read or write (0600).
//
// Specification: TOML 1.0 with schema = 1; durations are Go duration strings. JSONSchema writes what of it JSON Schema (draft 7) can say.
//
// Concurrency: a Config is not changed once loaded and may be shared; Wipe ends that.
//
// Ownership: a Config owns its secrets; Wipe clears them.
package config
