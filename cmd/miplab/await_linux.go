package main

import (
	"context"
	"fmt"
	"time"

	"mipvpn/client/control"
	"mipvpn/cmd/miplab/internal/company"
)

// awaitMode waits until the client is connected in the mode.
func awaitMode(ctx context.Context, c *company.Company, mode string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		if err == nil && s.State == control.StateConnected && s.Mode == mode {
			return nil
		}
		if err := c.Err(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the client did not come to mode %s, it is %s in mode %q: %s", mode, s.State, s.Mode, s.Proof.Reason)
		}
	}
}
