//go:build !linux

package resolve

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/godbus/dbus/v5"
)

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// SystemBus fails with ErrUnsupported.
func SystemBus(context.Context) (*dbus.Conn, error) {
	return nil, fmt.Errorf("resolve: system bus on %s: %w", runtime.GOOS, ErrUnsupported)
}
