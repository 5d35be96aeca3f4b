package tunnel

import (
	"context"
	"os/signal"
	"syscall"
)

// terminated ends when the process is asked to.
func terminated() context.Context {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	return ctx
}
