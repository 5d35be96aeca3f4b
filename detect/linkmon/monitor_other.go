//go:build !linux && !darwin && !windows

package linkmon

import (
	"fmt"
	"runtime"

	"mipvpn/tun/link"
)

// Monitor reads the state of the interfaces. On this operating system it cannot.
type Monitor struct{}

// New returns a Monitor whose methods fail.
func New() *Monitor { return &Monitor{} }

func unsupported() error {
	return fmt.Errorf("linkmon: watch interfaces on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Snapshot fails with ErrUnsupported.
func (*Monitor) Snapshot() ([]link.Interface, error) { return nil, unsupported() }

// Watch fails with ErrUnsupported.
func (*Monitor) Watch(func()) (stop func(), err error) { return nil, unsupported() }
