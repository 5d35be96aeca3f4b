//go:build darwin || windows

package hostnet

import (
	"fmt"

	"mipvpn/tun/link"
)

// errNoPermit is the refusal to let plaintext out where the kernel cannot hold the line below the gate (DESIGN §2.4). It wraps
// ErrUnsupported.
var errNoPermit = fmt.Errorf("hostnet: permit plaintext: this system's packet filter cannot end a permit by itself, so only the modes with ESP go: %w", ErrUnsupported)

// unsupportedSettings returns what of the settings systems other than Linux cannot do: agents run on Linux.
func unsupportedSettings(s link.Settings) error {
	switch {
	case s.Taken.IsValid():
		return fmt.Errorf("take the place of %v: %w", s.Taken, ErrUnsupported)
	case s.Forward:
		return fmt.Errorf("forward packets: %w", ErrUnsupported)
	}
	return nil
}
