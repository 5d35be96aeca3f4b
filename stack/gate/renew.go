package gate

import (
	"errors"
	"fmt"
)

// Renew tells the kernel anew what it may let out: on each interface that the gate is open for, until the proof there expires. It is for
// a kernel's half that has been made anew without its permits. It opens nothing that is not open. Errors: the kernel's; those interfaces
// stay shut there.
func (g *Gate) Renew() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now().Boot
	var errs []error
	for _, e := range *g.entries.Load() {
		if !e.proof.Live(now) || g.slept(&e, now) {
			continue
		}
		if err := g.kernel.Permit(e.iface, e.proof.Expires()); err != nil {
			errs = append(errs, fmt.Errorf("gate: interface %d: the kernel: %w", e.iface, err))
		}
	}
	return errors.Join(errs...)
}
