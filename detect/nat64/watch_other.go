//go:build !linux

package nat64

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// ErrUnsupported is wrapped by what this operating system cannot do.
var ErrUnsupported = errors.New("not supported on this operating system")

// Watch fails on this operating system.
func Watch(context.Context, int, func([]Advertised)) error {
	return fmt.Errorf("nat64: listen for router advertisements on %s: %w", runtime.GOOS, ErrUnsupported)
}
