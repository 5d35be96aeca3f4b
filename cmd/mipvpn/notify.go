package main

import (
	"context"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"mipvpn/client/control"
)

// notify tells the service manager that the daemon is ready, and then, as often as the manager wants it (WatchdogSec), that the client
// still answers. The returned function tells it that the daemon ends. Without a service manager nothing happens.
func notify(ctx context.Context, b control.Backend, log *zap.Logger) (end func()) {
	tell := func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.Warn("the service manager could not be told", zap.String("state", state), zap.Error(err))
		}
	}
	tell(daemon.SdNotifyReady)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		every, err := daemon.SdWatchdogEnabled(false)
		if err != nil || every == 0 {
			return
		}
		tick := time.NewTicker(every / 3)
		defer tick.Stop()
		for {
			asked, over := context.WithTimeout(ctx, every/3)
			if _, err := b.Status(asked); err == nil {
				tell(daemon.SdNotifyWatchdog)
			}
			over()
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		tell(daemon.SdNotifyStopping)
	}
}
