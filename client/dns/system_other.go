//go:build !linux && !darwin && !windows

package dns

import "net/netip"

// SystemResolved returns nil: there is no systemd-resolved on this operating system.
func SystemResolved() Settings { return nil }

const systemFirst = false

func prepareLoopback(netip.Addr) error { return nil }
