//go:build !windows

package main

import "context"

// runService reports that no service manager has started the program: elsewhere that makes no difference.
func runService(func(ctx context.Context, t terminal) int, terminal) (code int, is bool) {
	return 0, false
}
