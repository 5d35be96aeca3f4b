package dns

import "mipvpn/detect/resolve"

// SystemResolved returns this machine's systemd-resolved.
func SystemResolved() Settings { return &Resolved{Bus: resolve.SystemBus, Link: OwnLink{}} }
