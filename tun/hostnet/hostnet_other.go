//go:build !linux && !darwin && !windows

package hostnet

import (
	"fmt"
	"runtime"
	"time"

	"mipvpn/tun/link"
)

// Network is the host's network as far as it is kept here. On this operating system nothing can be.
type Network struct{}

// New returns a Network whose methods fail.
func New(Options) *Network { return &Network{} }

// Apply fails with ErrUnsupported.
func (*Network) Apply(link.Settings) error {
	return fmt.Errorf("hostnet: apply settings on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Load fails with ErrUnsupported.
func (*Network) Load(link.Settings) error {
	return fmt.Errorf("hostnet: load settings on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Restore fails with ErrUnsupported.
func (*Network) Restore() (link.Restored, error) {
	return link.Restored{}, fmt.Errorf("hostnet: put settings back on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Watch fails with ErrUnsupported.
func (*Network) Watch(func()) (stop func(), err error) {
	return nil, fmt.Errorf("hostnet: watch settings on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Cover fails with ErrUnsupported.
func (*Network) Cover([]string) error {
	return fmt.Errorf("hostnet: cover interfaces on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Permit fails with ErrUnsupported.
func (*Network) Permit(int, time.Duration) error {
	return fmt.Errorf("hostnet: permit plaintext on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Forbid fails with ErrUnsupported.
func (*Network) Forbid(int) error {
	return fmt.Errorf("hostnet: forbid plaintext on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Dump fails with ErrUnsupported.
func (*Network) Dump() (string, error) {
	return "", fmt.Errorf("hostnet: read settings on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Line fails with ErrUnsupported.
func (*Network) Line() (Line, error) {
	return Line{}, fmt.Errorf("hostnet: read the kill switch on %s: %w", runtime.GOOS, ErrUnsupported)
}
