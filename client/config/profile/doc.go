// Package profile has several configurations for one laptop, of which one is in use.
//
// Purpose: beside mipvpn.toml, the profile "default", each file profiles.d/NAME.toml is a whole configuration of its own, for another
// company or another way to reach it. The choice is kept across restarts, in a file of the daemon's.
//
// Specification: the project's own. The choice is a JSON document, {"schema": 1, "chosen": {"/etc/mipvpn/mipvpn.toml": "home"}}: it belongs to
// the base that it was made for, so that daemons with configurations elsewhere do not disturb each other. A choice that cannot be read, or whose
// file is gone, is an error and never another profile: which destinations are the enterprise's depends on it.
//
// Concurrency: a Set has no state of its own; whoever chooses sees to it that nobody else does at the same time.
//
// Ownership: nothing is kept.
package profile
