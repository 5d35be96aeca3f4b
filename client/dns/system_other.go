//go:build !linux

package dns

// SystemResolved returns nil: there is no systemd-resolved on this operating system.
func SystemResolved() Settings { return nil }
